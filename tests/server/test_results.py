"""The results folder: all that a run says of itself, readable by any other program."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from server.results import dice_by_contrast, history, summarise, versions, write_results
from shared.config.settings import Settings
from shared.course import plan_course
from shared.errors import ResultsError
from shared.metrics.scores import MeanScores
from shared.model.model_file import open_model
from shared.model.network import initial_weights, load_model
from shared.results import MissingTest, read_results
from shared.wire.headers import CenterCard, TestFigures
from tests.support.journals import DICE, ORDER, crop, journal_of, of_method, written
from tests.support.scored import SCORES, case_score


@pytest.fixture
def settings(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "seed": 7})


def test_results_say_what_was_run_and_what_came_out(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, settings)
    assert results.method == "replay"
    assert results.order == ORDER
    assert results.seed == 7
    assert np.allclose(results.R, DICE)
    assert results.acc == pytest.approx((0.4 + 0.65 + 0.8) / 3)
    assert results.learning_accuracy == pytest.approx((0.6 + 0.7 + 0.8) / 3)
    assert results.bwt == pytest.approx(-0.125)
    assert results.bwt_over_k == pytest.approx(-0.25 / 3)
    assert results.bwt_per_center == pytest.approx({"ucsf": -0.2, "amu": -0.05})
    assert results.forgetting == pytest.approx(0.125)


def test_what_was_written_is_what_is_read(tmp_path: Path, settings: Settings) -> None:
    course, journal = plan_course(ORDER, settings.run), journal_of(tmp_path, settings, without=(1, "amu"))
    assert write_results(tmp_path, settings, course, journal) == read_results(tmp_path)


def test_the_settings_in_the_results_run_the_same_again(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, settings)
    assert Settings.from_run_config(results.settings) == settings


def test_the_versions_of_all_that_computes_are_there(tmp_path: Path, settings: Settings) -> None:
    versions = written(tmp_path, settings).versions
    assert versions["torch"] == torch.__version__
    assert versions["flwr"].startswith("1.")
    assert {"python", "wardround", "monai", "numpy", "nibabel"} <= versions.keys()


def test_every_stage_is_listed_with_its_cost_and_its_memory(tmp_path: Path, settings: Settings) -> None:
    listed = written(tmp_path, settings).stages
    assert [(stage.stage, stage.center) for stage in listed] == list(enumerate(ORDER))
    assert [stage.memory_exemplars for stage in listed] == [1, 2, 3]
    sizes = [crop(center).payload.nbytes for center in ORDER]
    assert [stage.memory_bytes for stage in listed] == [sum(sizes[: i + 1]) for i in range(3)]
    first = listed[0]
    assert (first.steps, first.final_loss, first.training_subjects) == (8, 0.25, 2)
    assert (first.training_seconds, first.compute_seconds) == (3.0, 2.0)
    assert (first.evaluating_seconds, first.transit_seconds) == (1.5, 0.25)
    assert (first.sent_bytes, first.received_bytes) == (400, 200)
    assert (first.tests_asked, first.tests_sent_bytes, first.tests_received_bytes) == (3, 900, 30)
    assert first.set_aside == {"cannot be read": 1}


def test_how_often_a_stage_began_again_is_counted_and_noted(tmp_path: Path, settings: Settings) -> None:
    journal = journal_of(tmp_path, settings)
    records = journal.records(plan_course(ORDER, settings.run))
    again = records[1].figures.model_copy(update={"restarts": 2})
    records[1] = replace(records[1], figures=again)
    results = summarise(settings, ORDER, records, history(journal), {}, journal.facts.cards)
    assert [stage.restarts for stage in results.stages] == [0, 2, 0]
    assert results.notes == (
        "stage 2 (amu) began again 2 times with another draw, because it had collapsed (restarts)",
    )


def test_a_stage_that_collapsed_is_named_in_the_notes(tmp_path: Path, settings: Settings) -> None:
    journal = journal_of(tmp_path, settings)
    records = journal.records(plan_course(ORDER, settings.run))
    nothing = {center: figures_with(center, 0.01) for center in ORDER}
    records[1] = replace(records[1], tests=nothing)
    (note,) = summarise(settings, ORDER, records, history(journal), {}, journal.facts.cards).notes
    assert note.startswith("COLLAPSED stage 2 (amu): its model finds next to nothing at any tested center")


def figures_with(center: str, dice: float) -> TestFigures:
    return TestFigures(center=center, cases=(case_score("t", "T2w", dice=dice),), seconds=0.5)


def test_every_test_case_is_listed_and_gives_r_again(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, settings)
    scores = results.test_scores
    assert len(scores) == 3 * 3 * 2
    assert set(scores[0].scores) == set(SCORES)
    for i, row in enumerate(results.R):
        for center, mean in zip(ORDER, row, strict=True):
            cases = [s.dice for s in scores if (s.stage, s.center) == (i, center)]
            assert sum(cases) / len(cases) == pytest.approx(mean)


def test_the_matrix_is_a_table_of_its_own(tmp_path: Path, settings: Settings) -> None:
    written(tmp_path, settings)
    with (tmp_path / "matrix.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["trained_at", *ORDER]
    assert [row[0] for row in rows] == list(ORDER)
    assert np.allclose([[float(cell) for cell in row[1:]] for row in rows], DICE)


@pytest.mark.parametrize("method", ["finetune", "replay", "pooled"])
def test_the_model_of_the_last_stage_can_be_used(tmp_path: Path, settings: Settings, method: str) -> None:
    settings = of_method(settings, method)
    written(tmp_path, settings)
    model = load_model(tmp_path / "model.safetensors")
    last = initial_weights(settings.network, 0 if method == "pooled" else 2)
    assert all(torch.equal(value, last[name]) for name, value in model.state_dict().items())
    assert {path.name for path in tmp_path.iterdir()} == {"journal", "results.json", "matrix.csv", "model.safetensors"}


def test_the_model_s_file_has_the_mean_of_the_last_tests_by_contrast(tmp_path: Path, settings: Settings) -> None:
    written(tmp_path, settings)
    scores = open_model(tmp_path).inference.dice_by_contrast
    assert scores == {"T2w": pytest.approx(np.mean(DICE[-1]))}


def test_scores_by_contrast_count_images_and_means_of_one_contrast() -> None:
    cases = tuple(case_score("s", contrast, dice=dice) for contrast, dice in (("FLAIR", 0.8), ("T2w", 0.1)))
    kept = {"dice": 0.5, **{name: 0.5 for name in SCORES if name != "dice"}}
    mean = MeanScores(subjects=2, images=3, means=kept)
    tests = {"ucsf": TestFigures(center="ucsf", cases=cases, seconds=1)}
    tests |= {center: TestFigures(center=center, mean=mean, seconds=1) for center in ("amu", "karo")}
    cards = {
        center: CenterCard(
            center=center,
            training_subjects=2,
            test_subjects=2,
            contrasts=("FLAIR", "T2w"),
            fingerprint="f",
            test_contrasts=contrasts,
        )
        for center, contrasts in (("amu", ("T2w",)), ("karo", ("FLAIR", "T2w")))
    }
    found = dice_by_contrast(tests, cards)
    assert found == pytest.approx({"FLAIR": 0.8, "T2w": (0.1 + 3 * 0.5) / 4})
    assert dice_by_contrast({"karo": tests["karo"]}, cards) == {}


def test_single_keeps_the_model_of_every_center(tmp_path: Path, settings: Settings) -> None:
    settings = of_method(settings, "single")
    written(tmp_path, settings)
    for index, center in enumerate(ORDER):
        model, weights = (
            load_model(tmp_path / "models" / f"{center}.safetensors"),
            initial_weights(settings.network, index),
        )
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert len(list((tmp_path / "models").iterdir())) == 3


def test_models_that_never_learnt_from_each_other_transfer_nothing(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, of_method(settings, "single"))
    assert results.bwt is None
    assert results.bwt_per_center is None
    assert results.learning_accuracy == pytest.approx(0.7)


def test_pooled_training_has_one_row_and_an_accuracy(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, of_method(settings, "pooled"))
    assert np.allclose(results.R, DICE[:1])
    assert results.acc == pytest.approx(0.3)
    assert results.bwt is None
    assert results.bwt_per_center is None
    assert [stage.center for stage in results.stages] == ["all"]
    assert (tmp_path / "matrix.csv").read_text().splitlines()[1].startswith("all,")


def test_one_center_has_an_accuracy_and_no_transfer(tmp_path: Path, settings: Settings) -> None:
    journal = journal_of(tmp_path, settings)
    first, *_ = journal.records(plan_course(ORDER, settings.run))
    first = replace(first, stage=replace(first.stage, tests=("ucsf",)), tests={"ucsf": first.tests["ucsf"]})
    results = summarise(settings, ("ucsf",), [first], history(journal), {}, journal.facts.cards)
    assert results.acc == pytest.approx(0.6)
    assert results.bwt is None
    assert results.bwt_per_center == {}


def test_a_failed_test_is_null_in_r_and_named(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, of_method(settings, "finetune"), without=(2, "amu"))
    assert results.R[2] == (pytest.approx(0.4), None, pytest.approx(0.8))
    assert results.missing == (MissingTest(stage=2, center="amu", reason="was switched off"),)
    assert results.acc == pytest.approx(0.6)
    assert results.bwt == pytest.approx(0.4 - 0.6), "over the one pair that is known"
    assert results.bwt_per_center == {"ucsf": pytest.approx(-0.2), "amu": None}


def sampled(settings: Settings, others: int) -> Settings:
    return settings.model_copy(update={"run": settings.run.model_copy(update={"tested_others": others})})


def test_cells_that_were_not_asked_for_are_null_and_counted_and_not_missing(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, sampled(settings, 0))
    assert results.R[0] == (pytest.approx(0.6), None, None)
    assert results.R[1] == (None, pytest.approx(0.7), None)
    assert np.allclose(results.R[2], DICE[2])
    assert (results.not_asked, results.missing) == (4, ())
    assert [stage.tests_asked for stage in results.stages] == [1, 1, 3]
    with (tmp_path / "matrix.csv").open(newline="") as file:
        assert [row[1:].count("") for row in csv.reader(file)] == [0, 2, 2, 0]
    (note,) = results.notes
    assert "4 cells of R were not asked for" in note


def test_a_sample_gives_what_needs_the_diagonal_and_the_last_row_and_no_forgetting(
    tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "sample").mkdir()
    (tmp_path / "whole").mkdir()
    sample, whole = written(tmp_path / "sample", sampled(settings, 0)), written(tmp_path / "whole", settings)
    for figure in ("acc", "learning_accuracy", "bwt", "bwt_per_center", "bwt_over_k"):
        assert getattr(sample, figure) == getattr(whole, figure)
    assert sample.forgetting is None and whole.forgetting is not None
    assert whole.not_asked == 0 and whole.notes == ()


def test_a_failed_cell_of_a_sample_is_missing_and_no_more(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, sampled(settings, 0), without=(1, "amu"))
    assert results.R[1] == (None, None, None)
    assert results.missing == (MissingTest(stage=1, center="amu", reason="was switched off"),)
    assert results.not_asked == 4


def test_a_run_without_a_fault_has_one_attempt_and_no_interruption(tmp_path: Path, settings: Settings) -> None:
    told = written(tmp_path, settings).history
    (attempt,) = told.attempts
    assert (attempt.flower_run, attempt.begins, attempt.reason) == (5, "stage 1/3: training at ucsf", None)
    assert told.interruptions == ()
    assert told.extends is None


def test_each_interruption_is_listed_with_its_reason(tmp_path: Path, settings: Settings) -> None:
    journal, course = journal_of(tmp_path, settings), plan_course(ORDER, settings.run)
    journal.attempts.clear()
    journal.add_attempt(1, "stage 1/3: training at ucsf", versions())
    journal.add_attempt(2, "stage 2/3: testing at amu", versions())
    journal.end_attempt("center amu failed")
    journal.add_attempt(3, "stage 3/3: training at milan", versions())
    journal.end_attempt()
    write_results(tmp_path, settings, course, journal)
    first, second = read_results(tmp_path).history.interruptions
    assert first.at == "stage 2/3: testing at amu"
    assert first.stopped is None and "without a word" in first.reason
    assert (second.at, second.reason) == ("stage 3/3: training at milan", "center amu failed")


@pytest.mark.parametrize("blocked", ["results.json", "matrix.csv", "model.safetensors"])
def test_a_file_that_cannot_be_written_is_an_error_of_the_results(
    tmp_path: Path, settings: Settings, blocked: str
) -> None:
    (tmp_path / blocked).mkdir()
    with pytest.raises(ResultsError, match="results cannot be written to") as caught:
        written(tmp_path, settings)
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "results.json").is_file(), "it comes last, and says that all is there"

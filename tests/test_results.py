"""The results folder: all that a run says of itself, readable by any other program."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from server.course import plan_course
from server.results import summarise, write_results
from server.strategy import StageRecord
from shared.errors import ResultsError
from shared.memory import Exemplar, ReplayMemory
from shared.messages import CaseScore, TestFigures, TrainFigures
from shared.network import initial_weights, load_model
from shared.settings import Settings

ORDER = ("ucsf", "amu", "milan")
DICE = [[0.6, 0.2, 0.1], [0.5, 0.7, 0.3], [0.4, 0.65, 0.8]]


@pytest.fixture
def settings(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "seed": 7})


def of_method(settings: Settings, method: str) -> Settings:
    return settings.model_copy(update={"run": settings.run.model_copy(update={"method": method})})


def stages(settings: Settings, loss: float = 0.25) -> list[StageRecord]:
    """The finished stages of a run: two test cases a center, one exemplar a stage."""
    records, memory = [], ReplayMemory()
    for stage in plan_course(ORDER, settings.run):
        image = np.zeros((4, 4, 4), dtype=np.float32)
        crop = Exemplar.encode(image, image, center=stage.center, subject="s", contrast="FLAIR", spacing=4.0)
        memory = memory.with_contribution(stage.center, [crop])
        scores = {
            center: tuple(
                CaseScore(subject=f"t{k}", contrast="T2w", dice=dice + part, soft_dice=0.5, precision=0.4, recall=0.3)
                for k, part in enumerate((-0.1, 0.1))
            )
            for center, dice in zip(ORDER, DICE[stage.index], strict=True)
        }
        tests = {center: TestFigures(center=center, cases=cases, seconds=0.5) for center, cases in scores.items()}
        figures = TrainFigures(
            steps=8, subjects=2, final_loss=loss, seconds=3.0, compute_seconds=2.0, set_aside=("0123456789abcdef",)
        )
        weights = initial_weights(settings.network, stage.index)
        records.append(StageRecord(stage, weights, memory, figures, tests, {}, 1.5, 0.25))
    return records


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def written(folder: Path, settings: Settings, **how: Any) -> dict[str, Any]:
    write_results(folder, settings, ORDER, stages(settings, **how))
    results: dict[str, Any] = json.loads((folder / "results.json").read_text(), parse_constant=no_constant)
    return results


def test_results_say_what_was_run_and_what_came_out(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, settings)
    assert results["method"] == "replay"
    assert results["order"] == list(ORDER)
    assert results["seed"] == 7
    assert np.allclose(results["R"], DICE)
    assert results["acc"] == pytest.approx((0.4 + 0.65 + 0.8) / 3)
    assert results["learning_accuracy"] == pytest.approx((0.6 + 0.7 + 0.8) / 3)
    assert results["bwt"] == pytest.approx(-0.125)
    assert results["bwt_over_k"] == pytest.approx(-0.25 / 3)
    assert results["bwt_per_center"] == pytest.approx({"ucsf": -0.2, "amu": -0.05})
    assert results["forgetting"] == pytest.approx(0.125)


def test_the_settings_in_the_results_run_the_same_again(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, settings)
    assert Settings.from_run_config(results["settings"]) == settings


def test_the_versions_of_all_that_computes_are_there(tmp_path: Path, settings: Settings) -> None:
    versions = written(tmp_path, settings)["versions"]
    assert versions["torch"] == torch.__version__
    assert versions["flwr"].startswith("1.")
    assert {"python", "wardround", "monai", "numpy", "nibabel"} <= versions.keys()


def test_every_stage_is_listed_with_its_cost_and_its_memory(tmp_path: Path, settings: Settings) -> None:
    listed = written(tmp_path, settings)["stages"]
    assert [(stage["stage"], stage["center"]) for stage in listed] == list(enumerate(ORDER))
    assert [stage["memory_exemplars"] for stage in listed] == [1, 2, 3]
    assert [stage["memory_bytes"] for stage in listed] == [r.memory.nbytes for r in stages(settings)]
    first = listed[0]
    assert (first["steps"], first["final_loss"], first["training_subjects"]) == (8, 0.25, 2)
    assert (first["training_seconds"], first["compute_seconds"]) == (3.0, 2.0)
    assert (first["evaluating_seconds"], first["transit_seconds"]) == (1.5, 0.25)
    assert first["set_aside"] == ["0123456789abcdef"]


def test_every_test_case_is_listed_and_gives_r_again(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, settings)
    scores = results["test_scores"]
    assert len(scores) == 3 * 3 * 2
    assert set(scores[0]) == {"stage", "center", "subject", "contrast", "dice", "soft_dice", "precision", "recall"}
    for i, row in enumerate(results["R"]):
        for center, mean in zip(ORDER, row, strict=True):
            cases = [s["dice"] for s in scores if (s["stage"], s["center"]) == (i, center)]
            assert sum(cases) / len(cases) == pytest.approx(mean)


def test_a_number_that_is_none_is_null(tmp_path: Path, settings: Settings) -> None:
    listed = written(tmp_path, settings, loss=math.nan)["stages"]
    assert [stage["final_loss"] for stage in listed] == [None] * 3


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
    last = stages(settings)[-1].weights
    assert all(torch.equal(value, last[name]) for name, value in model.state_dict().items())
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "matrix.csv", "model.safetensors"}


def test_single_keeps_the_model_of_every_center(tmp_path: Path, settings: Settings) -> None:
    settings = of_method(settings, "single")
    written(tmp_path, settings)
    for record in stages(settings):
        model = load_model(tmp_path / "models" / f"{record.stage.center}.safetensors")
        assert all(torch.equal(value, record.weights[name]) for name, value in model.state_dict().items())
    assert len(list((tmp_path / "models").iterdir())) == 3


def test_models_that_never_learnt_from_each_other_transfer_nothing(settings: Settings) -> None:
    single = of_method(settings, "single")
    results = summarise(single, ORDER, stages(single))
    assert results["bwt"] is None
    assert results["bwt_per_center"] is None
    assert results["learning_accuracy"] == pytest.approx(0.7)


def test_pooled_training_has_one_row_and_an_accuracy(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, of_method(settings, "pooled"))
    assert np.allclose(results["R"], DICE[:1])
    assert results["acc"] == pytest.approx(0.3)
    assert results["bwt"] is None
    assert results["bwt_per_center"] is None
    assert [stage["center"] for stage in results["stages"]] == ["all"]
    assert (tmp_path / "matrix.csv").read_text().splitlines()[1].startswith("all,")


def test_one_center_has_an_accuracy_and_no_transfer(settings: Settings) -> None:
    (record,) = [stage for stage in stages(settings) if stage.stage.index == 0]
    alone = StageRecord(
        record.stage, record.weights, record.memory, record.figures, {"ucsf": record.tests["ucsf"]}, {}, 0.0, 0.0
    )
    results = summarise(settings, ("ucsf",), [alone])
    assert results["acc"] == pytest.approx(0.6)
    assert results["bwt"] is None
    assert results["bwt_per_center"] == {}


def test_a_failed_test_is_null_in_r_and_named(tmp_path: Path, settings: Settings) -> None:
    first, second, last = stages(of_method(settings, "finetune"))
    kept = {center: figures for center, figures in last.tests.items() if center != "amu"}
    last = replace(last, tests=kept, missing={"amu": "was switched off"})
    write_results(tmp_path, of_method(settings, "finetune"), ORDER, [first, second, last])
    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=no_constant)
    assert results["R"][2] == [pytest.approx(0.4), None, pytest.approx(0.8)]
    assert results["missing"] == [{"stage": 2, "center": "amu", "reason": "was switched off"}]
    assert results["acc"] == pytest.approx(0.6)
    assert results["bwt"] == pytest.approx(0.4 - 0.6), "over the one pair that is known"
    assert results["bwt_per_center"] == {"ucsf": pytest.approx(-0.2), "amu": None}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "results"
    with pytest.raises(ResultsError, match="results cannot be written to") as caught:
        write_results(folder, settings, ORDER, stages(settings))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("blocked", ["results.json", "matrix.csv", "model.safetensors"])
def test_a_file_that_cannot_be_written_is_an_error_of_the_results(
    tmp_path: Path, settings: Settings, blocked: str
) -> None:
    (tmp_path / blocked).mkdir()
    with pytest.raises(ResultsError, match="results cannot be written to"):
        write_results(tmp_path, settings, ORDER, stages(settings))

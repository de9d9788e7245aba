"""The model card: every number is the run's, and it says whose data it were and what the model is not for."""

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest

from scenarios.inference.model_card import model_card
from scenarios.runner.resume import HowLaunched
from shared.config.settings import CIRCUMSTANCES, Settings
from shared.metrics.scores import Scores, mean_scores
from shared.model.model_file import open_model
from shared.results import CenterScores, ImageScores, MissingTest
from tests.support.journals import DICE, ORDER, of_method, written
from tests.support.scored import case_score


@pytest.fixture
def settings(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "seed": 7})


def card_of(run: Path, settings: Settings, **changed: Any) -> str:
    return model_card(run, written(run, settings).model_copy(update=changed), open_model(run))


def rows(card: str, head: str) -> list[list[str]]:
    """The rows of the table whose first column has this name."""
    lines = card.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def test_the_matrix_and_its_means_are_the_run_s(tmp_path: Path, settings: Settings) -> None:
    card = card_of(tmp_path, settings)
    assert rows(card, "trained at") == [
        [center, *(f"{cell:.3f}" for cell in row)] for center, row in zip(ORDER, DICE, strict=True)
    ]
    assert f"ACC, the mean of the last row: {fmean(DICE[-1]):.3f}" in card
    bwt = fmean(DICE[2][i] - DICE[i][i] for i in range(2))
    assert f"(BWT): {bwt:+.3f}" in card


def test_the_spread_over_subjects_is_that_of_the_last_stage(tmp_path: Path, settings: Settings) -> None:
    spread = {center: figures for center, *figures in rows(card_of(tmp_path, settings), "tested at")}
    for center, dice in zip(ORDER, DICE[-1], strict=True):
        cases = [dice - 0.1, dice + 0.1]
        figures = (min(cases), median(cases), fmean(cases), max(cases))
        assert spread[center] == ["2", *(f"{figure:.3f}" for figure in figures)]


def test_a_model_that_did_not_begin_fresh_says_so_and_claims_nothing_of_what_it_has_seen(
    tmp_path: Path, settings: Settings
) -> None:
    HowLaunched(run_config={}).save(tmp_path)
    fresh = card_of(tmp_path, settings)
    assert "has seen no patient" in fresh and "SHA-256" not in fresh
    (tmp_path / "started").mkdir()
    HowLaunched(run_config={}).save(tmp_path / "started")
    card = card_of(tmp_path / "started", settings.with_changes({"start-digest": "ab" * 32}))
    assert "has seen no patient" not in card
    assert f"not begin with a fresh network, but with the model of SHA-256 `{'ab' * 32}`" in card


def test_a_stage_that_collapsed_or_began_again_is_named(tmp_path: Path, settings: Settings) -> None:
    results = written(tmp_path, settings)
    again = results.stages[0].model_copy(update={"restarts": 1})
    lost = results.model_copy(update={"R": ((0.0, 0.0, 0.01), *results.R[1:]), "stages": (again, *results.stages[1:])})
    card = model_card(tmp_path, lost, open_model(tmp_path))
    assert "**COLLAPSED stage 1 (ucsf): its model finds next to nothing at any tested center" in card
    assert "Stage 1 (ucsf) began again 1 time with another draw, because it had collapsed (restarts)." in card


def test_a_contrast_that_the_model_does_not_find_lesions_in_is_named(tmp_path: Path, settings: Settings) -> None:
    results, model = written(tmp_path, settings), open_model(tmp_path)
    card = model_card(tmp_path, results, model)
    assert "by contrast: T2w 0.617. **No test score of FLAIR is known" in card
    lost = model.inference.model_copy(update={"dice_by_contrast": {"FLAIR": 0.7, "T2w": 0.03}})
    card = model_card(tmp_path, results, replace(model, inference=lost))
    assert "FLAIR 0.700, T2w 0.030. **It finds next to nothing in T2w: not for T2w images.**" in card


def test_every_score_has_its_mean(tmp_path: Path, settings: Settings) -> None:
    means = dict(rows(card_of(tmp_path, settings), "score"))
    assert set(means) == set(Scores.model_fields)
    assert means["dice"] == f"{fmean(DICE[-1]):.3f}" and means["hd95_mm"] == "3.000"


def test_the_data_are_named_with_their_subjects(tmp_path: Path, settings: Settings) -> None:
    assert rows(card_of(tmp_path, settings), "center") == [[center, "2", "2", "T2w"] for center in ORDER]


@pytest.mark.parametrize(
    ("launched", "folder", "said"),
    [
        (HowLaunched(run_config={}), "", "**Simulated patients**"),
        (HowLaunched(run_config={}), "/data/real-hospitals", "`real-hospitals`"),
        (HowLaunched(run_config={}, superlink="study"), "", "Data of the hospitals that joined the run"),
        (None, "", "was not recorded"),
    ],
)
def test_it_says_whose_data_it_were(
    tmp_path: Path, settings: Settings, launched: HowLaunched | None, folder: str, said: str
) -> None:
    results = written(tmp_path, settings)
    if launched is not None:
        launched.save(tmp_path)
    results = results.model_copy(update={"settings": results.settings | {"data-dir": folder}})
    card = model_card(tmp_path, results, open_model(tmp_path))
    assert said in card and "/data" not in card


def test_no_folder_of_whoever_ran_it_is_told(tmp_path: Path, settings: Settings) -> None:
    card = card_of(tmp_path, settings)
    assert str(tmp_path) not in card
    told = set(re.findall(r"^([a-z-]+) = ", card, re.MULTILINE))
    assert told == set(Settings.keys()) - CIRCUMSTANCES


def test_what_it_is_not_for_stands_first(tmp_path: Path, settings: Settings) -> None:
    assert "not for clinical use" in card_of(tmp_path, settings).split("## Data")[0]


def test_centers_that_keep_their_scores_are_named(tmp_path: Path, settings: Settings) -> None:
    mean = mean_scores([case_score("a", dice=0.2), case_score("b", dice=0.4)])
    results = written(tmp_path, settings)
    kept = CenterScores(stage=2, center="milan", subjects=2, images=2, **mean.means)
    told = tuple(image for image in results.test_scores if image.center != "milan")
    results = results.model_copy(update={"mean_scores": (kept,), "test_scores": told})
    card = model_card(tmp_path, results, open_model(tmp_path))
    assert "Their policy keeps the scores of single subjects: milan." in card
    assert ["milan", "2", "2", "not reported"] in rows(card, "center")
    assert dict(rows(card, "score"))["dice"] == f"{fmean([*DICE[-1][:2], 0.3]):.3f}"


@pytest.mark.parametrize("method", ["single", "pooled", "finetune"])
def test_every_method_has_its_card(tmp_path: Path, settings: Settings, method: str) -> None:
    card = card_of(tmp_path, of_method(settings, method))
    assert f"Method `{method}`: " in card
    assert ("(BWT)" in card) == (method == "finetune")
    if method == "pooled":
        assert ["all", "2", "", ""] in rows(card, "center")


def test_evaluators_stand_apart_and_count_in_no_mean(tmp_path: Path, settings: Settings) -> None:
    folders = tmp_path / "own", tmp_path / "beside", tmp_path / "without"
    for folder in folders:
        folder.mkdir()
    own = written(folders[0], settings)
    far = ImageScores(stage=2, center="far", **case_score(subject="f", dice=0.01).model_dump())
    beside = {"evaluators": ("far",), "R_evaluators": ((0.2,), (None,), (0.01,)), "acc_evaluators": 0.01}
    card = card_of(folders[1], settings, **beside, test_scores=(*own.test_scores, far))
    without = card_of(folders[2], settings)
    assert "hospitals whose data no stage was trained on. Mean of the last row: 0.010; it is in none of" in card
    assert [line for line in card.splitlines() if line.count("|") == 3 and line.split()[1] in ORDER] == [
        "| ucsf | 0.200 |",
        "| amu | - |",
        "| milan | 0.010 |",
    ]
    assert rows(card, "center")[-1] == ["far", "never", "1", "FLAIR"]
    assert rows(card, "tested at")[-1][:3] == ["far", "1", "0.010"]
    assert rows(card, "score") == rows(without, "score"), "means over centers are those without evaluators"
    assert "evaluators" not in without.replace("evaluators = ''", "")


def test_cells_that_are_missing_are_told(tmp_path: Path, settings: Settings) -> None:
    missing = [MissingTest(stage=1, center="milan", reason="was switched off")]
    assert "Not tested, and left out of the means: milan after stage 2." in card_of(tmp_path, settings, missing=missing)

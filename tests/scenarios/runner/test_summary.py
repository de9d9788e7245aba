"""What a person reads at the end of a run."""

from pathlib import Path
from typing import Any

import pytest

from scenarios.runner.summary import describe
from shared.errors import ResultsError
from shared.result_notes import collapsed_lines
from shared.results import MissingTest, RunResults, read_results
from tests.support.results import make_results, make_stage

ORDER = ("bwh", "karolinska")


def results(**changes: Any) -> RunResults:
    stages = tuple(make_stage(i, c, training_seconds=10.0, compute_seconds=9.0) for i, c in enumerate(ORDER))
    r = changes.pop("R", [[0.5, 0.25], [0.4, 0.75]])
    return make_results(ORDER, r, **{"acc": 0.575, "bwt": -0.1, "stages": stages} | changes)


def test_the_matrix_stands_as_a_table(tmp_path: Path) -> None:
    lines = describe(results(), tmp_path).splitlines()
    header, first, second = lines[2:5]
    assert header.split() == ["trained", "at", "bwh", "karolinska"]
    assert first.split() == ["bwh", "0.500", "0.250"]
    assert second.split() == ["karolinska", "0.400", "0.750"]
    assert len({len(line) for line in (header, first, second)}) == 1, "columns end together"


def test_the_figures_follow(tmp_path: Path) -> None:
    text = describe(results(), tmp_path)
    assert "ACC  0.575" in text
    assert "BWT  -0.100" in text
    assert "90% of it in forward, backward and step" in text
    assert str(tmp_path / "results.json") in text


def test_what_was_not_learnt_stands_below_the_means(tmp_path: Path) -> None:
    lost = results(R=[[0.05, 0.25], [0.04, 0.75]], bwt=-0.01, learning_accuracy=0.4)
    lines = describe(lost, tmp_path).splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("BWT"))
    assert lines[place + 1].startswith("LA   0.400")
    assert lines[place + 2] == (
        "NOT LEARNT bwh (0.05): test Dice below 0.1 right after its own visit; train longer, or by another recipe. "
        "BWT says nothing of what was never learnt (none is left)"
    )
    assert "without -0.020" in describe(results(R=[[0.05, 0.25], [0.04, 0.75]], bwt_of_learnt=-0.02), tmp_path)
    pooled = make_results(ORDER, [[0.5, 0.0]])
    assert "NOT LEARNT karolinska (0.00): test Dice below 0.1 in the end; train" in describe(
        pooled.model_copy(update={"stages": lost.stages[:1]}), tmp_path
    )
    assert "NOT LEARNT" not in describe(results(), tmp_path)


def test_a_stage_that_collapsed_is_named_once_with_what_to_change(tmp_path: Path) -> None:
    relu = {"activation": "normalised-relu", "carry": "encoder", "restarts": 0}
    lost = results(R=[[0.5, 0.25], [0.03, 0.01]], settings=relu)
    named = collapsed_lines(lost)
    lines = describe(lost.model_copy(update={"notes": (*named, "another")}), tmp_path).splitlines()
    assert [line for line in lines if "COLLAPSED" in line] == named
    assert "COLLAPSED stage 2 (karolinska): its model finds next to nothing" in named[0]
    assert "(test Dice at most 0.03); set restarts = 3, which draws a decoder that collapsed again" in named[0]
    assert "NOTE another" in lines
    assert "COLLAPSED" not in describe(results(), tmp_path)


@pytest.mark.parametrize(
    ("settings", "mend"),
    [
        ({"activation": "normalised-relu", "carry": "encoder", "restarts": 4}, "set restarts = 8"),
        ({"activation": "normalised-relu", "carry": "model"}, "set activation = 'sigmoid'"),
        ({"activation": "sigmoid", "carry": "encoder"}, "lower learning-rate, or train longer"),
        ({}, "lower learning-rate, or train longer"),
    ],
)
def test_what_to_change_follows_from_the_settings(settings: dict[str, Any], mend: str) -> None:
    (line,) = collapsed_lines(results(R=[[0.5, 0.25], [0.03, 0.01]], settings=settings))
    assert f"(test Dice at most 0.03); {mend}" in line


def test_without_transfer_there_is_no_bwt(tmp_path: Path) -> None:
    assert "BWT" not in describe(results(bwt=None), tmp_path)


def test_a_missing_cell_is_a_dash_and_the_means_say_so(tmp_path: Path) -> None:
    gap = MissingTest(stage=1, center="bwh", reason="off")
    text = describe(results(R=[[0.5, 0.25], [None, 0.75]], missing=[gap]), tmp_path)
    assert text.splitlines()[4].split() == ["karolinska", "-", "0.750"]
    assert "leave out cells without a score: bwh after stage 2" in text


def test_a_cell_that_was_not_asked_for_is_a_point_and_no_dash(tmp_path: Path) -> None:
    gap = MissingTest(stage=0, center="bwh", reason="off")
    text = describe(results(R=[[None, None], [0.4, 0.75]], missing=[gap], notes=["1 cell was not asked for"]), tmp_path)
    assert text.splitlines()[3].split() == ["bwh", "-", "."]
    assert "NOTE 1 cell was not asked for" in text


def test_evaluators_stand_apart_with_a_mean_of_their_own(tmp_path: Path) -> None:
    gap = MissingTest(stage=0, center="milan-2", reason="was not there to test")
    beside = {"evaluators": ("milan-2", "ucsf-2"), "R_evaluators": ((None, 0.3), (0.5, 0.25)), "acc_evaluators": 0.375}
    lines = describe(results(**beside, missing=[gap]), tmp_path).splitlines()
    header, first, second = lines[2:5]
    assert header.split() == ["trained", "at", "bwh", "karolinska", "|", "milan-2", "ucsf-2"]
    assert first.split() == ["bwh", "0.500", "0.250", "|", "-", "0.300"]
    assert second.split() == ["karolinska", "0.400", "0.750", "|", "0.500", "0.250"]
    assert len({len(line) for line in (header, first, second)}) == 1, "columns end together"
    said = "NEVER TRAINED AT milan-2, ucsf-2: mean Dice after the last stage 0.375, counted in no other mean"
    assert said in lines and "ACC  0.575   mean Dice over all centers after the last stage" in lines
    away = beside | {"R_evaluators": ((None, None), (None, None)), "acc_evaluators": None}
    assert "after the last stage no score, counted" in describe(results(**away), tmp_path)
    assert "NEVER TRAINED" not in describe(results(), tmp_path)


def test_results_that_are_not_there_or_damaged_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"holds no results\.json"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_bytes(results().to_json()[:20])
    with pytest.raises(ResultsError, match="is damaged"):
        read_results(tmp_path)


def test_what_hospitals_kept_or_withdrew_is_noted(tmp_path: Path) -> None:
    text = describe(results(notes=["per-subject scores not reported by bwh"], withdrawn={"bwh": 2}), tmp_path)
    assert "NOTE per-subject scores not reported by bwh" in text
    assert "NOTE bwh withdrew subjects after their exemplars had left: 2" in text

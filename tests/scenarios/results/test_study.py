"""study.json: what it holds, what it comes to, and how it is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from scenarios.results.study import Costs, Missing, RunEntry, Study, read_study, run_entry, write_study
from shared.errors import ResultsError

ORDER = ("milan", "ucsf")
R = [[0.6, 0.2], [0.5, 0.7]]


def a_study(*runs: RunEntry, **changes: Any) -> Study:
    content = {
        "title": "Continually or from scratch?",
        "created": "2026-01-02T03:04:05+00:00",
        "methods": ("single", "finetune", "replay", "pooled"),
        "seeds": (0, 1),
        "orders": ("descending",),
        "centers": ORDER,
        "settings": {"steps": 8, "device": "auto", "learning-rate": 4e-3, "resume": False},
        "versions": {"torch": "2.13.0"},
        "runs": runs,
    }
    return Study(**content | changes)


def test_a_sequential_run_by_hand() -> None:
    run = run_entry("replay", 1, "descending", ORDER, R)
    assert run.acc == pytest.approx((0.5 + 0.7) / 2)
    assert run.bwt == pytest.approx(0.5 - 0.6)
    assert run.learning_accuracy == pytest.approx((0.6 + 0.7) / 2)
    assert run.name == "replay-descending-seed1"
    assert (run.seconds, run.bytes_moved, run.peak_mb, run.folder) == (None, None, None, "")


def test_the_models_of_single_are_each_center_s_own() -> None:
    """Its last row is one center's model at all centers, which nobody would use."""
    run = run_entry("single", 0, "any", ORDER, R)
    assert run.acc == pytest.approx((0.6 + 0.7) / 2)
    assert run.bwt is None
    assert run.name == "single-seed0"
    known = run_entry("single", 0, "any", ORDER, [[0.6, None], [None, 0.7]])
    assert known.acc == run.acc, "the diagonal is enough"


def test_one_model_of_all_has_one_row() -> None:
    run = run_entry("pooled", 0, "any", ORDER, [[0.4, 0.8]])
    assert run.acc == pytest.approx(0.6)
    assert run.bwt is None and run.learning_accuracy is None


def test_missing_cells_are_left_out_of_the_means() -> None:
    run = run_entry("finetune", 0, "descending", ORDER, [[0.6, 0.2], [None, 0.7]])
    assert run.acc == pytest.approx(0.7)
    assert run.bwt is None
    with pytest.raises(ResultsError, match="finetune-descending-seed0 has no test score"):
        run_entry("finetune", 0, "descending", ORDER, [[0.6, 0.2], [None, None]])


@pytest.mark.parametrize("r", [[[0.6]], [[0.6, 0.2], [0.5]], [[0.6, 0.2]] * 3, [[1.5, 0.2]], []])
def test_a_matrix_of_another_shape_or_range_is_no_run(r: list[list[float]]) -> None:
    good = run_entry("pooled", 0, "any", ORDER, [[0.4, 0.8]]).model_dump()
    with pytest.raises(ValidationError):
        RunEntry.model_validate(good | {"R": r})


def test_the_summary_by_hand() -> None:
    last = {0: 0.5, 1: 0.7}
    runs = [run_entry("replay", seed, "descending", ORDER, [[0.6, 0.2], [last[seed], 0.7]]) for seed in last]
    single = run_entry("single", 0, "any", ORDER, R)
    summary = a_study(*runs, single).summary
    assert list(summary) == ["single", "replay"], "in the order of the methods; one without a run is not there"
    replay = summary["replay"]
    assert replay.runs == 2
    assert replay.acc.values == pytest.approx((0.6, 0.7))
    assert replay.acc.mean == pytest.approx(0.65)
    assert replay.acc.sd == pytest.approx(0.1 / 2**0.5), "divided by n - 1"
    assert replay.bwt is not None and replay.bwt.values == pytest.approx((-0.1, 0.1))
    assert replay.acc_is == "mean of the last row of R"
    assert summary["single"].acc_is == "mean of the diagonal of R"
    assert summary["single"].bwt is None
    assert summary["single"].acc.sd is None, "one value has no spread"


def test_intransigence_is_measured_against_pooled_training_of_the_same_seed() -> None:
    runs = [run_entry("replay", seed, "random-0", ORDER, R) for seed in (0, 1)]
    pooled = run_entry("pooled", 1, "any", ORDER[::-1], [[0.8, 0.9]])
    study = a_study(*runs, pooled)
    assert study.intransigence(runs[0]) is None, "no pooled run of its seed"
    assert study.intransigence(runs[1]) == pytest.approx(((0.9 - 0.6) + (0.8 - 0.7)) / 2), "center by center"
    assert study.intransigence(pooled) is None
    found = study.summary["replay"].intransigence
    assert found is not None and found.values == pytest.approx((0.2,))
    assert a_study(*runs).summary["replay"].intransigence is None


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    costs = Costs(folder="runs/x", seconds=61.5, training_seconds=30.25, bytes_moved=10**9, peak_mb=900.5)
    study = a_study(
        run_entry("replay", 0, "random-2", ORDER, [[0.6, None], [0.5, 1 / 3]], costs),
        missing=(Missing(method="replay", seed=1, order_name="random-2", reason="the disk was full"),),
    )
    path = write_study(tmp_path, study)
    assert read_study(tmp_path) == study
    content = json.loads(path.read_text())
    assert content["format"] == 1
    (run,) = content["runs"]
    assert {"method", "seed", "order", "R", "acc", "bwt"} <= run.keys()
    assert run["R"] == [[0.6, None], [0.5, 1 / 3]]
    assert content["summary"]["replay"]["acc"]["values"] == [run["acc"]]
    assert content["missing"][0]["reason"] == "the disk was full"


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"holds no study\.json: give the folder that 'wardround compare' wrote"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "is damaged"),
        ('{"format": 2}', "has format 2, but this Wardround reads 1"),
        ('{"format": 1}', r"is damaged \(title: Field required"),
    ],
)
def test_what_is_no_study_is_refused_with_the_mend(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(ResultsError, match=words):
        read_study(tmp_path)


def test_half_a_study_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path, a_study(run_entry("replay", 0, "descending", ORDER, R)))
    path.write_text(path.read_text()[:200])
    with pytest.raises(ResultsError, match="is damaged"):
        read_study(tmp_path)

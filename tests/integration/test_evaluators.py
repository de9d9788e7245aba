"""Evaluators: they test every model, none is trained on their data, and no other number hangs on them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error

from scenarios.runner.resume import plan_evaluation, plan_resume
from scenarios.runner.summary import describe
from scenarios.simulation.clientapp import app as client
from shared.errors import CenterError, SettingsError
from shared.results import read_results
from tests.support.cut_runs import CENTERS, CutGrid, PowerCut, extension, go_on, lasting, start
from tests.support.joined import Study

FAR = "montp"
OTHER = "milan-2"
KEYS = ("evaluators", "R_evaluators", "acc_evaluators")
AWAY = {100 + len(CENTERS)}
"""The node of the first evaluator, where each hospital has a node of its own."""


def without(results: dict[str, Any], evaluators: tuple[str, ...]) -> dict[str, Any]:
    """What a run computed beside what its evaluators measured."""
    left = {key: value for key, value in results.items() if key not in KEYS}
    left["settings"] = results["settings"] | {"evaluators": ""}
    left["test_scores"] = [one for one in results["test_scores"] if one["center"] not in evaluators]
    left["stages"] = [stage | {"tests_asked": None} for stage in results["stages"]]
    return left


@dataclass
class Coming(CutGrid):
    """A runtime over one node a hospital, of which some come only after so many trainings."""

    after: int = 0

    def get_node_ids(self) -> Iterable[int]:
        there = self.trains >= self.after
        return [node for node in self.nodes if there or node not in self.absent]


def each_at_its_node(config: dict[str, Any], after: int) -> Coming:
    """All hospitals, the first evaluator coming after so many trainings."""
    grid = Coming.simulated(client, config, nodes=len(CENTERS) + 1)
    grid.absent, grid.after = AWAY, after
    return grid


def test_a_run_with_evaluators_computes_what_it_computes_without(
    config: dict[str, Any], uncut: dict[str, Any], tmp_path: Path
) -> None:
    start(config | {"evaluators": f"{FAR},{OTHER}"}, tmp_path / "run")
    results = read_results(tmp_path / "run")
    assert lasting(tmp_path / "run")["R"] == uncut["R"], "to the last bit"
    assert without(lasting(tmp_path / "run"), (FAR, OTHER)) == without(uncut, ())
    assert results.evaluators == (FAR, OTHER) and len(results.R_evaluators) == 3
    cells = [cell for row in results.R_evaluators for cell in row]
    assert all(cell is not None and 0 <= cell <= 1 for cell in cells)
    assert results.acc_evaluators == pytest.approx(sum(cells[-2:]) / 2)
    tested = {image.subject for image in results.final_images if image.center == FAR}
    assert len(tested) == int(config["phantom-minimum"]), "on all of its subjects"
    assert [stage.tests_asked for stage in results.stages] == [5, 5, 5]
    assert f"NEVER TRAINED AT {FAR}, {OTHER}" in describe(results, tmp_path)


@pytest.mark.parametrize("method", ["fedavg", *(pytest.param(m, marks=pytest.mark.slow) for m in ("single", "pooled"))])
def test_every_course_is_tested_by_the_evaluators_and_unchanged(
    config: dict[str, Any], tmp_path: Path, method: str
) -> None:
    config |= {"method": method, "centers": ",".join(CENTERS[:2]), "rounds": 3}
    start(config, tmp_path / "plain")
    start(config | {"evaluators": FAR}, tmp_path / "run")
    assert without(lasting(tmp_path / "run"), (FAR,)) == without(lasting(tmp_path / "plain"), ())
    rows = read_results(tmp_path / "run").R_evaluators
    assert len(rows) == (2 if method == "single" else 1) and all(row[0] is not None for row in rows)


def test_a_sample_of_tests_leaves_out_no_evaluator(config: dict[str, Any], tmp_path: Path) -> None:
    start(config | {"evaluators": FAR, "tested-others": 0}, tmp_path / "run")
    results = read_results(tmp_path / "run")
    assert results.R[0][1:] == (None, None) and results.not_asked == 4
    assert all(row[0] is not None for row in results.R_evaluators)


def test_an_evaluator_changes_no_bit_of_a_run_that_seals(config: dict[str, Any], tmp_path: Path) -> None:
    config |= {"sealing": "on", "centers": ",".join(CENTERS[:2]), "cache-dir": str(tmp_path / "cache")}
    start(config, tmp_path / "plain")
    start(config | {"evaluators": FAR}, tmp_path / "run")
    assert without(lasting(tmp_path / "run"), (FAR,)) == without(lasting(tmp_path / "plain"), ())


def test_an_evaluator_that_is_away_is_missed_and_asked_again_once_it_is_there(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config |= {"evaluators": FAR, "wait-seconds": 0.5}
    start(config, tmp_path / "run", each_at_its_node(config, after=9))
    said, results = capsys.readouterr().out, read_results(tmp_path / "run")
    assert f"did not come within 0.5 s: {FAR}; going on without their tests" in said
    assert f"no score: center {FAR} was not there to test" in said
    assert (results.R_evaluators, results.acc_evaluators) == (((None,),) * 3, None)
    assert [(cell.stage, cell.center) for cell in results.missing] == [(stage, FAR) for stage in range(3)]
    assert all(cell is not None for row in results.R for cell in row)
    go_on(plan_evaluation(tmp_path / "run", FAR))
    filled = read_results(tmp_path / "run")
    assert (filled.R, filled.missing) == (results.R, ())
    start(config, tmp_path / "whole")
    assert filled.R_evaluators == read_results(tmp_path / "whole").R_evaluators


def test_an_evaluator_that_comes_later_tests_from_then_on(config: dict[str, Any], tmp_path: Path) -> None:
    config |= {"evaluators": FAR, "wait-seconds": 0.5}
    start(config, tmp_path / "run", each_at_its_node(config, after=2))
    column = [row[0] for row in read_results(tmp_path / "run").R_evaluators]
    assert column[0] is None and None not in column[1:]


def test_an_evaluator_that_fails_ends_nothing(config: dict[str, Any], tmp_path: Path) -> None:
    """Its data cannot be read any more after the roll call."""
    data = tmp_path / "data"
    plain = config | {"centers": ",".join(CENTERS[:2]), "evaluators": FAR, "cache-dir": str(tmp_path / "cache")}
    start(plain, tmp_path / "made")
    (made,) = (tmp_path / "cache" / "hospitals").iterdir()
    made.rename(data)
    config = plain | {"data-dir": str(data), "cache-dir": str(tmp_path / "empty")}
    grid = CutGrid.simulated(client, config, nodes=3)
    answer = grid._handle

    def broken(message: Any) -> Any:
        if message.metadata.message_type == "train":
            for image in (data / FAR).glob("sub-*/anat/*.nii.gz"):
                image.write_bytes(b"")
        return answer(message)

    grid._handle = broken  # type: ignore[method-assign]
    start(config, tmp_path / "run", grid)
    results = read_results(tmp_path / "run")
    assert all(cell is not None for row in results.R for cell in row)
    assert results.R_evaluators == ((None,), (None,)) and {cell.center for cell in results.missing} == {FAR}


@pytest.mark.parametrize(
    ("code", "later"), [(2, [False, False]), pytest.param(5, [True, True], marks=pytest.mark.slow)]
)
def test_an_evaluator_that_is_lost_while_it_tests_keeps_nobody_waiting_for_hours(
    config: dict[str, Any], tmp_path: Path, code: int, later: list[bool]
) -> None:
    config |= {"evaluators": FAR, "wait-seconds": 0.5, "patience-minutes": 60.0}
    grid = CutGrid.simulated(client, config, nodes=len(CENTERS) + 1)
    (node,) = AWAY
    grid.errors = {(node, "evaluate", 0): Error(code, "gone")}
    answer = grid._handle

    def leaving(message: Any) -> Any:
        if message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == node and code == 5:
            grid.absent = AWAY
        return answer(message)

    grid._handle = leaving  # type: ignore[method-assign]
    started = time.monotonic()
    start(config, tmp_path / "run", grid)
    assert time.monotonic() - started < 60
    column = [row[0] for row in read_results(tmp_path / "run").R_evaluators]
    assert column[0] is None and [cell is None for cell in column[1:]] == later


def test_an_extended_run_is_that_of_all_and_its_evaluator_cannot_be_trained_at(
    config: dict[str, Any], tmp_path: Path
) -> None:
    start(config | {"evaluators": FAR}, tmp_path / "all")
    start(config | {"evaluators": FAR, "centers": ",".join(CENTERS[:2])}, tmp_path / "parent")
    go_on(extension(tmp_path / "parent", CENTERS[2], tmp_path / "longer"))
    assert lasting(tmp_path / "longer") == lasting(tmp_path / "all")
    with pytest.raises(SettingsError, match=f"{FAR} is an evaluator of the run in .*: begin a new run with it in"):
        extension(tmp_path / "parent", FAR, tmp_path / "other")


@pytest.mark.parametrize(("cut", "moment"), [(2, "between"), pytest.param(4, "after", marks=pytest.mark.slow)])
def test_a_run_that_was_cut_off_asks_its_evaluators_too(
    config: dict[str, Any], tmp_path: Path, cut: int, moment: Any
) -> None:
    config |= {"evaluators": FAR}
    start(config, tmp_path / "whole")
    grid = CutGrid.simulated(client, config, nodes=2)
    grid.cut, grid.moment = cut, moment
    with pytest.raises(PowerCut):
        start(config, tmp_path / "run", grid)
    go_on(plan_resume(tmp_path / "run", []))
    assert lasting(tmp_path / "run") == lasting(tmp_path / "whole")


# Deployed


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def test_a_hospital_whose_policy_lets_it_test_only_is_an_evaluator(study: Study) -> None:
    study.write_site("elsewhere", role="evaluate", share_exemplars=False)
    study.keys.pop("elsewhere")
    results = study.run(study.wire(centers="grace,mercy", evaluators="elsewhere"))
    assert results.order == ("grace", "mercy") and results.evaluators == ("elsewhere",)
    assert all(row[0] is not None for row in results.R_evaluators)
    assert len({image.subject for image in results.final_images if image.center == "elsewhere"}) == 5
    assert study.audited("elsewhere", "received", "train request") == []
    assert len(study.audited("elsewhere", "sent", "test scores of each image")) == 2


def test_an_evaluator_that_only_trains_refuses_and_ends_nothing(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    study.write_site("elsewhere", role="train", share_exemplars=False)
    results = study.run(study.wire(centers="grace,mercy", evaluators="elsewhere"))
    assert "evaluator elsewhere: its policy lets it train only, so that it will refuse" in capsys.readouterr().out
    assert results.R_evaluators == ((None,), (None,))
    assert ["has the role train, and it was asked to evaluate" in cell.reason for cell in results.missing] == [True] * 2


def test_means_over_too_few_subjects_stay_at_the_evaluator(study: Study) -> None:
    images = study.root / "elsewhere" / "images"
    for name in ("bellamy", "cholmondeley", "devereux", "eastwood"):
        for folder in images.rglob(f"sub-elsewhere{name}"):
            folder.rename(study.root / f"{name}-{folder.parent.name}")
    study.write_site("elsewhere", role="evaluate", share_exemplars=False, report_subject_scores=False)
    results = study.run(study.wire(centers="grace,mercy", evaluators="elsewhere"))
    assert results.R_evaluators == ((None,), (None,))
    assert "has 1 subject to test on, and its policy reports means over 5 or more alone" in results.missing[0].reason


def test_a_center_with_few_test_subjects_trains_and_tells_no_mean(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    study.write_site("mercy", report_subject_scores=False)
    study.write_site("elsewhere", role="evaluate", share_exemplars=False, report_subject_scores=False)
    results = study.run(study.wire(centers="grace,mercy", evaluators="elsewhere"))
    assert [[cell is None for cell in row] for row in results.R] == [[False, True]] * 2
    assert all(row[0] is not None for row in results.R_evaluators), "five subjects are enough"
    said = "has 2 subjects to test on, and its policy reports means over 5 or more alone (least-test-subjects)"
    assert {(cell.center, cell.reason) for cell in results.missing} == {("mercy", said)}
    told = capsys.readouterr().out
    assert told.index(f"mercy {said}: it trains, and its cells of R stay open") < told.index("training at grace")
    assert not study.audited("mercy", "sent", "mean test scores")


def test_what_is_wrong_with_an_evaluator_s_node_is_said_and_ends_nothing(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    study.toml("elsewhere").write_text("nonsense")
    results = study.run(study.wire(centers="grace,mercy", evaluators="elsewhere"))
    assert "evaluator elsewhere: node 203 " in capsys.readouterr().out
    assert results.R_evaluators == ((None,), (None,)) and None not in results.R[1]


def test_a_center_that_only_tests_is_told_to_be_an_evaluator(study: Study) -> None:
    study.write_site("elsewhere", role="evaluate", share_exemplars=False)
    with pytest.raises(CenterError, match="lets it test only: name it in evaluators instead of centers"):
        study.run(study.wire())

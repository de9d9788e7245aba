"""Whole runs in this process, cut off at every message: they go on, and end as if nothing had been."""

from itertools import product
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from flwr.app import Error
from flwr.common.constant import ErrorCode

from scenarios.runner.resume import plan_evaluation, plan_resume
from scenarios.simulation.clientapp import app as client
from server.journal.journal import Journal
from shared.errors import CenterError, ResultsError
from shared.results import read_results
from tests.support.cut_runs import (
    CENTERS,
    MESSAGES,
    CutGrid,
    Moment,
    PowerCut,
    cut_off,
    files_in,
    go_on,
    lasting,
    start,
)

BY_DEFAULT = [(0, "between"), (3, "after"), (4, "before"), (6, "between")]
"""The roll call, a training whose reply is lost, the tests before they are sent, and the last ones."""


def test_a_run_depends_on_nothing_but_its_settings(
    config: dict[str, Any], uncut: dict[str, Any], tmp_path: Path
) -> None:
    start(config, tmp_path)
    assert lasting(tmp_path) == uncut
    assert len({stage["final_loss"] for stage in uncut["stages"]}) == 3, "or equality proved little"
    assert len({case["soft_dice"] for case in uncut["test_scores"]}) > 2


@pytest.mark.parametrize(
    ("cut", "moment"),
    [
        pytest.param(*cut, marks=[] if cut in BY_DEFAULT else [pytest.mark.slow])
        for cut in (
            *product(range(MESSAGES), ("before", "after")),
            # Where there is more than one reply: the roll call and the tests.
            *product(range(0, MESSAGES, 2), ("between",)),
        )
    ],
)
def test_a_run_cut_off_at_any_message_ends_as_if_nothing_had_been(
    config: dict[str, Any],
    uncut: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cut: int,
    moment: Moment,
) -> None:
    first = cut_off(config, tmp_path, cut, moment)
    going = plan_resume(tmp_path, [])
    assert going.remains
    second = go_on(going)
    assert lasting(tmp_path) == uncut
    trained = capsys.readouterr().out.count("step 3/3")
    assert trained == 3, "each stage once"
    # The round that was under way: its train message may have to come again, and is then answered from disk.
    again = cut in (1, 3, 5) and moment == "after"
    assert first.trains + second.trains == 3 + again
    history = read_results(tmp_path).history
    assert len(history.interruptions) == (cut > 0)
    assert all("PowerCut" in interruption.reason for interruption in history.interruptions)


def test_scores_that_came_before_the_cut_are_not_asked_for_again(config: dict[str, Any], tmp_path: Path) -> None:
    cut_off(config, tmp_path, 2, "between")
    going = plan_resume(tmp_path, [])
    tested = set(Journal.open(tmp_path).row(0).tests)
    assert len(tested) == 1
    assert going.remains == f"stage 1/3: testing at {', '.join(c for c in CENTERS if c not in tested)}"
    grid = go_on(going)
    assert sum(message.metadata.message_type == "evaluate" for message in grid.sent) == 9 - 1


def test_a_run_cut_off_at_every_message_in_turn_comes_to_its_end(
    config: dict[str, Any], uncut: dict[str, Any], tmp_path: Path
) -> None:
    """Every attempt calls the roll, sends once more, and is cut off when it would again."""
    cut_off(config, tmp_path, 2, "before")
    cuts = 1
    while (going := plan_resume(tmp_path, [])).remains:
        try:
            go_on(going, cut=2, moment="before")
        except PowerCut:
            cuts += 1
            assert cuts < MESSAGES, "no attempt came further"
    assert lasting(tmp_path) == uncut
    assert len(read_results(tmp_path).history.interruptions) == cuts


def test_a_run_may_go_on_under_other_circumstances(config: dict[str, Any], tmp_path: Path) -> None:
    cut_off(config, tmp_path, 6, "before")
    go_on(plan_resume(tmp_path, ["wait-seconds=3"]))
    assert read_results(tmp_path).settings["wait-seconds"] == 3


def test_a_center_that_fails_to_train_stops_the_run_by_its_name_and_nothing_is_lost(
    config: dict[str, Any], uncut: dict[str, Any], tmp_path: Path
) -> None:
    grid = CutGrid.simulated(client, config, nodes=2)
    grid.errors[(101, "train", 0)] = Error(ErrorCode.LOAD_CLIENT_APP_EXCEPTION, "it burns")
    with pytest.raises(CenterError, match=f"center ucsf failed at train: it burns .*wardround resume {tmp_path}"):
        start(config, tmp_path, grid)
    assert go_on(plan_resume(tmp_path, [])).trains == 2
    assert lasting(tmp_path) == uncut
    (interruption,) = read_results(tmp_path).history.interruptions
    assert "it burns" in interruption.reason and interruption.at == "stage 2/3: training at ucsf"


def test_a_finished_run_has_nothing_left_to_do(finished: Path) -> None:
    assert plan_resume(finished, []).remains == ""


def test_results_that_were_lost_are_written_again_from_the_journal(
    finished: Path, uncut: dict[str, Any], tmp_path: Path
) -> None:
    copytree(finished, tmp_path, dirs_exist_ok=True)
    for name in ("results.json", "matrix.csv", "model.safetensors"):
        (tmp_path / name).unlink()
    grid = go_on(plan_resume(tmp_path, []))
    assert grid.sent == [], "no hospital is needed for that"
    assert lasting(tmp_path) == uncut


def test_a_stage_damaged_on_disk_is_done_again_and_comes_out_the_same(
    finished: Path, uncut: dict[str, Any], tmp_path: Path
) -> None:
    copytree(finished, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "journal" / "stage-001" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    going = plan_resume(tmp_path, [])
    assert str(path) in going.damaged[0]
    assert go_on(going).trains == 2
    assert lasting(tmp_path) == uncut


# A cell that is missing


def failing_test(config: dict[str, Any]) -> CutGrid:
    """The node of ucsf fails its second test, which is of stage 2."""
    grid = CutGrid.simulated(client, config, nodes=2)
    grid.errors[(101, "evaluate", 1)] = Error(ErrorCode.LOAD_CLIENT_APP_EXCEPTION, "it burns")
    return grid


def test_a_score_that_is_missing_is_filled_in_later(
    config: dict[str, Any], uncut: dict[str, Any], tmp_path: Path
) -> None:
    start(config, tmp_path, failing_test(config))
    results = read_results(tmp_path)
    expected = [list(row) for row in uncut["R"]]
    expected[1][1] = None
    assert [list(row) for row in results.R] == expected
    (cell,) = results.missing
    assert (cell.stage, cell.center) == (1, "ucsf") and "it burns" in cell.reason
    assert plan_resume(tmp_path, []).remains == "", "a run with a gap is finished"
    grid = go_on(plan_evaluation(tmp_path, "ucsf"))
    assert [(m.metadata.message_type, m.metadata.dst_node_id) for m in grid.sent if m.metadata.dst_node_id == 101] == [
        ("query.roll_call", 101),
        ("evaluate", 101),
    ]
    assert not [m for m in grid.sent if m.metadata.message_type == "train"]
    assert lasting(tmp_path) == uncut


def test_filling_a_gap_may_be_cut_off_as_well(config: dict[str, Any], uncut: dict[str, Any], tmp_path: Path) -> None:
    start(config, tmp_path, failing_test(config))
    with pytest.raises(PowerCut):
        go_on(plan_evaluation(tmp_path, "ucsf"), cut=1)
    go_on(plan_evaluation(tmp_path, "ucsf"))
    assert lasting(tmp_path) == uncut


# Two at once, and what is there already


def test_two_runs_never_share_a_folder(config: dict[str, Any], finished: Path) -> None:
    before, computed = files_in(finished), read_results(finished).R
    with pytest.raises(ResultsError, match="is not empty"):
        start(config, finished)
    assert files_in(finished).keys() == before.keys()
    assert computed == read_results(finished).R

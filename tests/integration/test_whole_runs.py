"""Whole runs in this process, cut off at every message: they go on, and end as if nothing had been."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode

import server.app
from scenarios.runner.resume import Continuation, HowLaunched, plan_evaluation, plan_extension, plan_resume
from scenarios.simulation.clientapp import app as client
from server.journal.journal import Journal
from shared.config.settings import Settings
from shared.errors import CenterError, ResultsError, SettingsError
from shared.paths import LOCK
from shared.results import read_results
from tests.support.fakes import FakeGrid

CENTERS = ("milan", "ucsf", "amu")
MESSAGES = 7
"""Times that a run of three stages sends: the roll call, and a train and a test round each."""

Moment = Literal["before", "after", "between"]


class PowerCut(BaseException):
    """The coordinator ends, here and now."""


@dataclass
class CutGrid(FakeGrid):
    """A runtime whose coordinator is cut off at the n-th time (from 0) that it sends.

    Before the messages are sent; after they were worked off, their replies unread; or between
    the first reply and the others.
    """

    cut: int | None = None
    moment: Moment = "before"
    pushes: int = 0
    trains: int = 0
    _read: bool = False

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        here = self.pushes == self.cut
        if here and self.moment == "before":
            raise PowerCut
        self.trains += sum(message.metadata.message_type == "train" for message in messages)
        keys = super().push_messages(messages)
        self.pushes += 1
        if here and self.moment == "after":
            raise PowerCut
        return keys

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        if self.cut is None or self.pushes != self.cut + 1:
            return super().pull_messages(message_ids)
        if self._read:
            raise PowerCut
        self._read = True
        return super().pull_messages(list(message_ids)[:1])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The networks here are too small to be shared out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(run_config: dict[str, Any]) -> dict[str, Any]:
    """The smoke scenario, smaller still; its learning rate makes up for its few steps."""
    tiny = {"features": 2, "steps": 3, "batch-size": 2, "window-overlap": 0.0, "learning-rate": 0.05, "device": "cpu"}
    return run_config | tiny | {"order": "given", "centers": ",".join(CENTERS)}


def start(config: dict[str, Any], folder: Path, grid: CutGrid | None = None) -> CutGrid:
    """Run from the beginning, as the command line does."""
    config = config | {"output-dir": str(folder)}
    folder.mkdir(exist_ok=True)
    HowLaunched(run_config=config).save(folder)
    grid = grid or CutGrid.simulated(client, config, nodes=2)
    grid.run_config = config
    server.app.app(grid, Context(1, 1, {}, RecordDict(), config))
    return grid


def go_on(going: Continuation, cut: int | None = None, moment: Moment = "before") -> CutGrid:
    """Go on as planned, perhaps to the next cut."""
    config = going.settings.to_run_config() | {"output-dir": str(going.folder)}
    grid = CutGrid.simulated(client, config, nodes=2)
    grid.cut, grid.moment = cut, moment
    server.app.app(grid, Context(2, 1, {}, RecordDict(), config))
    return grid


def extension(folder: Path, center: str, output: Path) -> Continuation:
    """An extension by a simulated hospital, which makes its data when it is asked."""
    return plan_extension(folder, center, output, lambda settings, launched: None)


def cut_off(config: dict[str, Any], folder: Path, cut: int, moment: Moment) -> CutGrid:
    """Run to the cut."""
    grid = CutGrid.simulated(client, config, nodes=2)
    grid.cut, grid.moment = cut, moment
    with pytest.raises(PowerCut):
        start(config, folder, grid)
    assert not (folder / "results.json").exists()
    return grid


def lasting(folder: Path) -> dict[str, Any]:
    """What a run computed: its results without costs, history, and where they were written."""
    results = read_results(folder).model_dump(mode="json")
    del results["history"]
    for key in ("output-dir", "resume"):
        del results["settings"][key]
    results["stages"] = timeless(results["stages"])
    results["model"] = (folder / "model.safetensors").read_bytes()
    results["matrix"] = (folder / "matrix.csv").read_text()
    return results


def timeless(part: Any) -> Any:
    """A part of results without the seconds that anything took, and the messages that it took.

    (How many a run needs hangs on its interruptions; how long one is, on the digits of its times.)
    """
    costs = ("_seconds", "sent_bytes", "received_bytes")
    if isinstance(part, dict):
        return {key: timeless(value) for key, value in part.items() if not key.endswith(costs)}
    return [timeless(value) for value in part] if isinstance(part, list) else part


@pytest.fixture
def undisturbed(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run computes that nothing happens to; run once."""
    if not _kept:
        folder = tmp_path_factory.mktemp("undisturbed")
        assert start(config, folder).pushes == MESSAGES
        _kept.update(lasting(folder))
    return _kept


_kept: dict[str, Any] = {}


def test_a_run_depends_on_nothing_but_its_settings(
    config: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    start(config, tmp_path)
    assert lasting(tmp_path) == undisturbed
    cells = [cell for row in undisturbed["R"] for cell in row]
    assert len({case["soft_dice"] for case in undisturbed["test_scores"]}) == len(cells), "or equality proved little"


@pytest.mark.parametrize(
    ("cut", "moment"),
    [
        *product(range(MESSAGES), ("before", "after")),
        # Where there is more than one reply: the roll call and the tests.
        *product(range(0, MESSAGES, 2), ("between",)),
    ],
)
def test_a_run_cut_off_at_any_message_ends_as_if_nothing_had_been(
    config: dict[str, Any],
    undisturbed: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cut: int,
    moment: Moment,
) -> None:
    first = cut_off(config, tmp_path, cut, moment)
    going = plan_resume(tmp_path, [])
    assert going.remains
    second = go_on(going)
    assert lasting(tmp_path) == undisturbed
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
    config: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
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
    assert lasting(tmp_path) == undisturbed
    assert len(read_results(tmp_path).history.interruptions) == cuts


def test_a_run_may_go_on_under_other_circumstances(config: dict[str, Any], tmp_path: Path) -> None:
    cut_off(config, tmp_path, 6, "before")
    go_on(plan_resume(tmp_path, ["wait-seconds=3"]))
    assert read_results(tmp_path).settings["wait-seconds"] == 3


def test_a_center_that_fails_to_train_stops_the_run_by_its_name_and_nothing_is_lost(
    config: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    grid = CutGrid.simulated(client, config, nodes=2)
    grid.errors[(101, "train", 0)] = Error(ErrorCode.LOAD_CLIENT_APP_EXCEPTION, "it burns")
    with pytest.raises(CenterError, match=f"center ucsf failed at train: it burns .*wardround resume {tmp_path}"):
        start(config, tmp_path, grid)
    assert go_on(plan_resume(tmp_path, [])).trains == 2
    assert lasting(tmp_path) == undisturbed
    (interruption,) = read_results(tmp_path).history.interruptions
    assert "it burns" in interruption.reason and interruption.at == "stage 2/3: training at ucsf"


def test_a_finished_run_has_nothing_left_to_do(config: dict[str, Any], tmp_path: Path) -> None:
    start(config, tmp_path)
    assert plan_resume(tmp_path, []).remains == ""


def test_results_that_were_lost_are_written_again_from_the_journal(
    config: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    start(config, tmp_path)
    for name in ("results.json", "matrix.csv", "model.safetensors"):
        (tmp_path / name).unlink()
    grid = go_on(plan_resume(tmp_path, []))
    assert grid.sent == [], "no hospital is needed for that"
    assert lasting(tmp_path) == undisturbed


def test_a_stage_damaged_on_disk_is_done_again_and_comes_out_the_same(
    config: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    start(config, tmp_path)
    path = tmp_path / "journal" / "stage-001" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    going = plan_resume(tmp_path, [])
    assert str(path) in going.damaged[0]
    assert go_on(going).trains == 2
    assert lasting(tmp_path) == undisturbed


# A cell that is missing


def failing_test(config: dict[str, Any]) -> CutGrid:
    """The node of ucsf fails its second test, which is of stage 2."""
    grid = CutGrid.simulated(client, config, nodes=2)
    grid.errors[(101, "evaluate", 1)] = Error(ErrorCode.LOAD_CLIENT_APP_EXCEPTION, "it burns")
    return grid


def test_a_score_that_is_missing_is_filled_in_later(
    config: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    start(config, tmp_path, failing_test(config))
    results = read_results(tmp_path)
    expected = [list(row) for row in undisturbed["R"]]
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
    assert lasting(tmp_path) == undisturbed


def test_filling_a_gap_may_be_cut_off_as_well(
    config: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    start(config, tmp_path, failing_test(config))
    with pytest.raises(PowerCut):
        go_on(plan_evaluation(tmp_path, "ucsf"), cut=1)
    go_on(plan_evaluation(tmp_path, "ucsf"))
    assert lasting(tmp_path) == undisturbed


# One more hospital


@pytest.fixture
def parent(config: dict[str, Any], tmp_path: Path) -> Path:
    """A finished run of two centers."""
    folder = tmp_path / "parent"
    start(config | {"centers": ",".join(CENTERS[:2])}, folder)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK
    }


def test_a_run_that_is_extended_equals_the_run_of_all_and_trains_only_the_new_center(
    undisturbed: dict[str, Any], parent: Path, tmp_path: Path
) -> None:
    before = files_in(parent)
    grid = go_on(extension(parent, CENTERS[2], tmp_path / "longer"))
    assert grid.trains == 1
    assert sum(message.metadata.message_type == "evaluate" for message in grid.sent) == 2 + 3
    longer = lasting(tmp_path / "longer")
    assert longer["R"] == undisturbed["R"], "to the last bit"
    assert longer == undisturbed
    assert files_in(parent) == before, "the run that was extended stays as it is"
    extends = read_results(tmp_path / "longer").history.extends
    assert extends is not None and extends.run == read_results(parent).history.run


@pytest.mark.parametrize(("cut", "moment"), [(0, "after"), (1, "after"), (2, "before"), (3, "after"), (4, "between")])
def test_an_extension_cut_off_at_any_message_ends_as_if_nothing_had_been(
    undisturbed: dict[str, Any], parent: Path, tmp_path: Path, cut: int, moment: Moment
) -> None:
    with pytest.raises(PowerCut):
        go_on(extension(parent, CENTERS[2], tmp_path / "longer"), cut, moment)
    go_on(plan_resume(tmp_path / "longer", []))
    assert lasting(tmp_path / "longer") == undisturbed


def test_an_extension_can_be_extended(config: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path) -> None:
    start(config | {"centers": CENTERS[0]}, tmp_path / "one")
    go_on(extension(tmp_path / "one", CENTERS[1], tmp_path / "two"))
    go_on(extension(tmp_path / "two", CENTERS[2], tmp_path / "three"))
    assert lasting(tmp_path / "three") == undisturbed


# Two at once, and what is there already


def test_two_runs_never_share_a_folder(config: dict[str, Any], tmp_path: Path) -> None:
    start(config, tmp_path)
    before, computed = files_in(tmp_path), read_results(tmp_path).R
    with pytest.raises(ResultsError, match="is not empty"):
        start(config, tmp_path)
    assert files_in(tmp_path).keys() == before.keys()
    assert computed == read_results(tmp_path).R


# Every other method

CUTS: dict[str, list[tuple[int, Moment]]] = {
    "single": [(4, "between")],
    "finetune": [(4, "between")],
    "pooled": [(2, "between")],
    "lwf": [(3, "before"), (3, "after"), (4, "between")],
    "ewc": [(1, "after"), (2, "between"), (3, "before"), (3, "after"), (4, "between"), (5, "after")],
    # The roll call, three rounds, and one round of tests.
    "fedavg": list(product(range(5), get_args(Moment))),
}


@pytest.fixture(scope="module")
def whole_runs() -> dict[str, dict[str, Any]]:
    """What an undisturbed run of each method computes; each is run once."""
    return {}


@pytest.mark.parametrize(("method", "cut", "moment"), [(method, *cut) for method, cuts in CUTS.items() for cut in cuts])
def test_every_method_survives_a_cut(
    config: dict[str, Any],
    whole_runs: dict[str, dict[str, Any]],
    tmp_path: Path,
    method: str,
    cut: int,
    moment: Moment,
) -> None:
    config = config | {"method": method, "rounds": 3}
    assert Settings.from_run_config(config).run.method == method
    if method not in whole_runs:
        start(config, tmp_path / "whole")
        whole_runs[method] = lasting(tmp_path / "whole")
    cut_off(config, tmp_path / "cut", cut, moment)
    go_on(plan_resume(tmp_path / "cut", []))
    assert lasting(tmp_path / "cut") == whole_runs[method]


def test_a_round_goes_on_with_the_centers_that_had_not_answered(config: dict[str, Any], tmp_path: Path) -> None:
    config = config | {"method": "fedavg", "rounds": 3}
    cut_off(config, tmp_path, 2, "between")
    going = plan_resume(tmp_path, [])
    assert going.remains == "round 2/3: training at all centers at once"
    assert go_on(going).trains == 2 + 3
    assert not list((tmp_path / "journal").glob("round-*")), "an average takes the place of its parts"
    results = read_results(tmp_path)
    (stage,) = results.stages
    assert len(results.R) == 1
    assert {image.stage for image in results.test_scores} == {stage.stage} == {0}, "the row of R"
    assert (tmp_path / "matrix.csv").read_text().splitlines()[1].startswith("all,")
    assert stage.steps == 3 * 3, "as many as a sequential run takes"
    assert [part.round for part in stage.rounds] == [0, 1, 2]
    steps = [{center: at.steps for center, at in part.centers.items()} for part in stage.rounds]
    assert steps == [dict.fromkeys(CENTERS, 1)] * 3


@pytest.mark.parametrize("method", ["lwf", "ewc"])
def test_what_holds_a_model_is_there_when_its_run_is_extended(
    config: dict[str, Any], tmp_path: Path, method: str
) -> None:
    config = config | {"method": method}
    start(config, tmp_path / "whole")
    start(config | {"centers": ",".join(CENTERS[:2])}, tmp_path / "parent")
    assert go_on(extension(tmp_path / "parent", CENTERS[2], tmp_path / "longer")).trains == 1
    assert lasting(tmp_path / "longer") == lasting(tmp_path / "whole")


def test_a_run_of_rounds_cannot_be_extended(config: dict[str, Any], tmp_path: Path) -> None:
    start(config | {"method": "fedavg", "rounds": 1}, tmp_path / "run")
    with pytest.raises(SettingsError, match="a fedavg run cannot be extended: one more center would have had its part"):
        extension(tmp_path / "run", "nih", tmp_path / "longer")
    assert not (tmp_path / "longer").exists()

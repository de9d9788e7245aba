"""Working off a study with workers of the test's own: skip, go on, fail, stop."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scenarios.study.collect import NOT_YET, collect
from scenarios.study.executor import StudyProgress, StudyWork, seconds_left, seconds_of_methods
from scenarios.study.plan import Cell, StudyPlan, Wish, new_plan
from scenarios.study.run_folder import Attempt, CellFolder, CellRecord
from scenarios.study.worker import Ending, Task
from shared.clock import utc_now
from tests.conftest import ROOT
from tests.support.results import COUNTED, make_results, make_stage

CENTERS = ["milan", "ucsf", "amu"]


@dataclass
class FakeRun:
    """A run that ends at its n-th poll; before that it leaves a journal, after it results."""

    task: Task
    cell: Cell
    polls: int
    fails: bool
    stopped: bool = False
    killed: bool = False

    def poll(self) -> Ending | None:
        self.polls -= 1
        if self.stopped or self.killed:
            return Ending(143, 1.5)
        if self.polls > 0:
            return None
        if self.fails:
            return Ending(1, 2.0, 900.0, "the disk is full")
        write_results(self.task.folder.run, self.cell)
        return Ending(0, 60.0, 2000.0)

    def stop(self) -> None:
        self.stopped = True

    def kill(self) -> None:
        self.killed = True


@dataclass
class FakeWorkers:
    """Workers that note what they are given."""

    cells: dict[str, Cell]
    slots: int = 2
    failing: set[str] = field(default_factory=set)
    started: list[tuple[str, str]] = field(default_factory=list)
    runs: list[FakeRun] = field(default_factory=list)
    most: int = 0

    def start(self, task: Task) -> FakeRun:
        name = task.folder.name
        self.started.append((name, task.folder.command(1, 1, None)[4]))
        (task.folder.run / "journal").mkdir(parents=True, exist_ok=True)
        (task.folder.run / "journal" / "run.json").touch()
        self.runs.append(FakeRun(task, self.cells[name], polls=2, fails=name in self.failing))
        self.most = max(self.most, sum(run.polls > 0 for run in self.runs))
        return self.runs[-1]


@dataclass
class Heard:
    """A watch that remembers."""

    said: list[str] = field(default_factory=list)
    at_tick: Callable[[], None] = lambda: None

    def started(self, cell: Cell, going_on: bool) -> None:
        self.said.append(f"{cell.name} {'goes on' if going_on else 'begins'}")

    def ended(self, cell: Cell, ending: Ending) -> None:
        self.said.append(f"{cell.name} {'failed' if ending.code else 'finished'}")

    def tick(self) -> None:
        self.at_tick()


def write_results(run: Path, cell: Cell, **changes: Any) -> None:
    rows = 1 if cell.method == "pooled" else 3
    counted = dict.fromkeys(COUNTED, 1000)
    stages = [make_stage(i, c, training_seconds=10.0, **counted) for i, c in enumerate(CENTERS[:rows])]
    results = make_results(
        CENTERS,
        [[0.5, 0.25, 0.0]] * rows,
        method=cell.method,
        seed=cell.seed,
        stages=stages,
        settings=cell.settings.to_run_config(),
        versions={"torch": "2"},
    )
    run.mkdir(parents=True, exist_ok=True)
    (run / "model.safetensors").write_bytes(b"x" * 1000)
    (run / "results.json").write_text(json.dumps(results.model_dump(mode="json") | changes))


@pytest.fixture
def plan() -> StudyPlan:
    wish = Wish(methods=("replay", "pooled"), seeds=(0, 1), scenario=ROOT / "scenarios" / "smoke.toml")
    return new_plan(wish, 1, utc_now)


def work(
    folder: Path, plan: StudyPlan, workers: FakeWorkers | None = None, heard: Heard | None = None
) -> tuple[StudyProgress, FakeWorkers, Heard]:
    """Everything that a study in `folder` lacks, as `run_study` puts it together."""
    cells = plan.cells()
    workers = workers or FakeWorkers({cell.name: cell for cell in cells})
    heard = heard or Heard()
    waiting = [cell for cell in cells if CellFolder(folder, cell.name).state != "finished"]
    for cell in waiting:
        CellFolder(folder, cell.name).prepare(cell)
    progress = StudyProgress(cells, workers.slots, waiting)

    def task(cell: Cell) -> Task:
        return Task(CellFolder(folder, cell.name), 1, 1)

    StudyWork(progress, workers, task, heard, lambda: None).all()
    return progress, workers, heard


def test_every_run_is_done_once_and_no_more_at_once_than_slots(tmp_path: Path, plan: StudyPlan) -> None:
    progress, workers, _ = work(tmp_path, plan)
    assert sorted(name for name, _ in workers.started) == sorted(cell.name for cell in plan.cells())
    assert workers.most == 2
    assert (progress.done, progress.failed, progress.running) == (4, {}, {})
    record = CellFolder(tmp_path, "pooled-seed0").read_record()
    assert (record.seconds, record.peak_mb, len(record.attempts)) == (60.0, 2000.0, 1)


def test_what_is_finished_is_not_run_again(tmp_path: Path, plan: StudyPlan) -> None:
    work(tmp_path, plan)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    progress, workers, _ = work(tmp_path, plan)
    assert workers.started == []
    assert progress.done == 4
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_failed_run_is_told_and_the_rest_goes_on(tmp_path: Path, plan: StudyPlan) -> None:
    workers = FakeWorkers({cell.name: cell for cell in plan.cells()}, failing={"replay-descending-seed0"})
    progress, _, heard = work(tmp_path, plan, workers)
    assert progress.failed == {"replay-descending-seed0": "the disk is full"}
    assert "replay-descending-seed0 failed" in heard.said
    assert progress.done == 3
    study = collect(tmp_path, plan, progress.failed)
    assert [(run.name, run.reason) for run in study.missing] == [("replay-descending-seed0", "the disk is full")]

    progress, workers, heard = work(tmp_path, plan)
    assert workers.started == [("replay-descending-seed0", "resume")], "the same command does what is missing"
    assert heard.said == ["replay-descending-seed0 goes on", "replay-descending-seed0 finished"]
    assert collect(tmp_path, plan, progress.failed).missing == ()
    record = CellFolder(tmp_path, "replay-descending-seed0").read_record()
    assert record.seconds == 62.0, "both attempts count"
    assert progress.seconds.get("replay") is None, "but they do not tell how long a run takes"


def test_a_run_that_cannot_be_started_is_a_failed_one(tmp_path: Path, plan: StudyPlan) -> None:
    class Broken(FakeWorkers):
        def start(self, task: Task) -> FakeRun:
            raise OSError("no more processes")

    progress, _, _ = work(tmp_path, plan, Broken({}))
    assert len(progress.failed) == 4
    assert "no more processes" in progress.failed["pooled-seed1"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interruption_stops_what_runs(tmp_path: Path, plan: StudyPlan, interrupt: type[BaseException]) -> None:
    workers = FakeWorkers({cell.name: cell for cell in plan.cells()})

    def now() -> None:
        raise interrupt

    with pytest.raises(interrupt):
        work(tmp_path, plan, workers, Heard(at_tick=now))
    assert len(workers.runs) == 2 and all(run.stopped and not run.killed for run in workers.runs)
    (attempt,) = CellFolder(tmp_path, workers.started[0][0]).read_record().attempts
    assert (attempt.code, attempt.seconds) == (143, 1.5)
    _, again, _ = work(tmp_path, plan)
    assert [how for _, how in again.started] == ["resume", "resume", "run", "run"]


def test_a_run_that_does_not_end_by_itself_is_killed(
    tmp_path: Path, plan: StudyPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenarios.study.executor.GRACE", 0.2)
    workers = FakeWorkers({cell.name: cell for cell in plan.cells()}, slots=1)

    class Deaf(FakeRun):
        def stop(self) -> None:
            self.polls = 10**6

    def deaf(task: Task) -> FakeRun:
        workers.runs.append(Deaf(task, workers.cells[task.folder.name], polls=10**6, fails=False))
        return workers.runs[-1]

    monkeypatch.setattr(workers, "start", deaf)

    def now() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, plan, workers, Heard(at_tick=now))
    assert [run.killed for run in workers.runs] == [True]


def test_times_of_an_attempt_that_nobody_saw_end_are_unknown() -> None:
    seen, unseen = Attempt(started="", seconds=5.0, peak_mb=7.0), Attempt(started="")
    assert CellRecord(attempts=(seen, seen)).seconds == 10.0
    assert CellRecord(attempts=(unseen, seen)).seconds is None
    assert CellRecord(attempts=(unseen, seen)).peak_mb == 7.0
    assert CellRecord().seconds is None


# What is collected


def test_the_study_holds_what_the_runs_found(tmp_path: Path, plan: StudyPlan) -> None:
    work(tmp_path, plan)
    study = collect(tmp_path, plan, {})
    assert [run.name for run in study.runs] == [cell.name for cell in plan.cells()]
    replay = study.runs[1]
    assert replay.R == ((0.5, 0.25, 0.0),) * 3
    assert (replay.acc, replay.bwt) == (0.25, 0.0)
    assert replay.folder == "runs/replay-descending-seed0" and (tmp_path / replay.folder).is_dir()
    assert (replay.seconds, replay.training_seconds, replay.peak_mb) == (60.0, 30.0, 2000.0)
    assert replay.bytes_moved == 3 * 4 * 1000
    assert study.runs[0].bytes_moved is None, "pooled training would move the images"
    assert study.settings["steps"] == 8 and "seed" not in study.settings
    assert study.versions == {"torch": "2"}


def test_what_was_not_run_is_missing(tmp_path: Path, plan: StudyPlan) -> None:
    study = collect(tmp_path, plan, {})
    assert study.runs == () and study.summary == {}
    assert {run.reason for run in study.missing} == {NOT_YET}


def test_results_of_another_run_or_damaged_ones_are_not_taken_for_ours(tmp_path: Path, plan: StudyPlan) -> None:
    work(tmp_path, plan)
    cell = plan.cells()[0]
    place = CellFolder(tmp_path, cell.name)
    write_results(place.run, cell, settings=cell.settings.to_run_config() | {"steps": 9, "device": "cpu"})
    (missing,) = collect(tmp_path, plan, {}).missing
    assert "holds another run (steps = 9 there, 8 in the plan)" in missing.reason
    write_results(place.run, cell, stages=[{}], R=[[2.0]])
    (missing,) = collect(tmp_path, plan, {}).missing
    assert "is damaged (" in missing.reason
    (place.run / "results.json").write_text("{")
    (missing,) = collect(tmp_path, plan, {}).missing
    assert "is damaged" in missing.reason


def test_versions_that_differ_are_both_named(tmp_path: Path, plan: StudyPlan) -> None:
    work(tmp_path, plan)
    cell = plan.cells()[-1]
    write_results(CellFolder(tmp_path, cell.name).run, cell, versions={"torch": "3"})
    assert collect(tmp_path, plan, {}).versions == {"torch": "2 and 3"}


# How long it takes


def progress_of(
    plan: StudyPlan, running: dict[str, float], waiting: int, slots: int, **seconds: list[float]
) -> StudyProgress:
    cells = plan.cells()
    by_name = {cell.name: cell for cell in cells}
    rest = [cell for cell in cells if cell.name not in running][:waiting]
    progress = StudyProgress(cells, slots, rest, seconds=seconds)
    progress.running = {name: (by_name[name], begun) for name, begun in running.items()}
    return progress


def test_before_any_run_has_finished_nobody_knows(plan: StudyPlan) -> None:
    assert seconds_left(progress_of(plan, {"pooled-seed0": 0.0}, 3, 1), now=10.0) is None


def test_runs_of_the_same_method_tell_how_long_one_takes(plan: StudyPlan) -> None:
    progress = progress_of(plan, {"replay-descending-seed0": 100.0}, 0, 1, replay=[60.0, 80.0], pooled=[10.0])
    assert seconds_left(progress, now=130.0) == pytest.approx(70 - 30)
    assert seconds_left(progress, now=500.0) == 0.0, "one that takes longer than the others may end at any time"


def test_the_rest_is_shared_by_the_slots(plan: StudyPlan) -> None:
    waiting = progress_of(plan, {}, 4, 2, replay=[60.0], pooled=[20.0])
    assert seconds_left(waiting, now=0.0) == pytest.approx((60 + 20 + 60 + 20) / 2)
    unknown = progress_of(plan, {}, 4, 2, pooled=[20.0])
    assert seconds_left(unknown, now=0.0) == pytest.approx(4 * 20 / 2), "methods train the same number of steps"
    last = progress_of(plan, {"replay-descending-seed0": 0.0}, 0, 2, replay=[60.0])
    assert seconds_left(last, now=0.0) == 60.0, "one run is not shared"


def test_runs_of_earlier_commands_count(plan: StudyPlan) -> None:
    replay, pooled = plan.cells()[1], plan.cells()[0]
    one_go = CellRecord(attempts=(Attempt(started="", seconds=60.0),))
    twice = CellRecord(attempts=(Attempt(started="", seconds=60.0), Attempt(started="", seconds=1.0)))
    assert seconds_of_methods([(replay, one_go), (replay, one_go), (pooled, twice)]) == {"replay": [60.0, 60.0]}

"""Working off a study's runs, as many at once as the workers take; one that fails stops no other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from scenarios.processes.tree import signals_wait
from scenarios.study.plan import Cell
from scenarios.study.run_folder import Attempt, CellRecord
from scenarios.study.worker import GRACE, NAP, Ending, Running, Task, Workers
from shared.clock import Clock, utc_now
from shared.errors import WardroundError

INTERRUPTED = "interrupted"


@dataclass
class StudyProgress:
    """How far a study has come; whoever shows it reads it at any time."""

    cells: tuple[Cell, ...]
    """All runs of the study."""
    slots: int
    waiting: list[Cell]
    running: dict[str, tuple[Cell, float]] = field(default_factory=dict)
    """By name, with the time of the monotonic clock when it began."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reasons, by name."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By method, the wall times of runs that were done in one go."""
    begun: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """How many runs are finished, those of earlier commands included."""
        return len(self.cells) - len(self.waiting) - len(self.running) - len(self.failed)


class Watch(Protocol):
    """Who is told what happens."""

    def started(self, cell: Cell, going_on: bool) -> None:
        """A run began, or goes on."""

    def ended(self, cell: Cell, ending: Ending) -> None:
        """A run finished or failed."""

    def tick(self) -> None:
        """Some time has passed."""


@dataclass
class StudyWork:
    """A study's runs and who does them."""

    progress: StudyProgress
    workers: Workers
    task: Callable[[Cell], Task]
    watch: Watch
    keep: Callable[[], object]
    """Called when a run has ended: what was found is kept at once."""
    now: Clock = utc_now
    _running: dict[str, tuple[Cell, Running, list[Attempt]]] = field(default_factory=dict)

    def all(self) -> None:
        """Do every run that waits.

        When this is left, by Ctrl-C or a signal too, nothing of the study is running.
        """
        try:
            while self.progress.waiting or self._running:
                while self.progress.waiting and len(self._running) < self.workers.slots:
                    self._start(self.progress.waiting.pop(0))
                self._look()
                self.watch.tick()
                if self._running:
                    time.sleep(NAP)
        finally:
            with signals_wait():
                self._stop()

    def _start(self, cell: Cell) -> None:
        task = self.task(cell)
        going_on = task.folder.state == "begun"
        attempts = [*task.folder.read_record().attempts, Attempt(started=self.now().isoformat(timespec="seconds"))]
        self.watch.started(cell, going_on)
        self.progress.running[cell.name] = cell, time.monotonic()
        try:
            # Noted first: should nobody be left to see its end, its times are known to be unknown.
            task.folder.note(attempts)
            self._running[cell.name] = cell, self.workers.start(task), attempts
        except (OSError, WardroundError) as error:
            self._end(cell, Ending(1, 0.0, reason=f"it could not be started: {error}"))

    def _look(self) -> None:
        for cell, running, attempts in list(self._running.values()):
            if (ending := running.poll()) is not None:
                del self._running[cell.name]
                self._note(cell, attempts, ending)
                self._end(cell, ending)

    def _note(self, cell: Cell, attempts: Sequence[Attempt], ending: Ending) -> None:
        *earlier, last = attempts
        took = {"seconds": ending.seconds, "peak_mb": ending.peak_mb, "code": ending.code, "machine": ending.machine}
        self.task(cell).folder.note([*earlier, last.model_copy(update=took)])

    def _end(self, cell: Cell, ending: Ending) -> None:
        del self.progress.running[cell.name]
        if ending.code != 0:
            self.progress.failed[cell.name] = ending.reason
        elif one_go := _one_go(self.task(cell).folder.read_record()):
            self.progress.seconds.setdefault(cell.method, []).append(one_go)
        self.watch.ended(cell, ending)
        self.keep()

    def _stop(self) -> None:
        """Ask what still runs to end, wait, and end what did not."""
        for _, running, _ in self._running.values():
            running.stop()
        deadline = time.monotonic() + GRACE
        while self._running:
            for cell, running, attempts in list(self._running.values()):
                ending = running.poll()
                if ending is None and time.monotonic() > deadline:
                    running.kill()
                    ending = running.poll() or Ending(1, GRACE)
                if ending is not None:
                    del self._running[cell.name]
                    del self.progress.running[cell.name]
                    self.progress.failed[cell.name] = INTERRUPTED
                    self._note(cell, attempts, ending)
            time.sleep(NAP / 3)


def seconds_of_methods(records: Sequence[tuple[Cell, CellRecord]]) -> dict[str, list[float]]:
    """What finished runs of earlier commands took, by method, as far as they were done in one go."""
    seconds: dict[str, list[float]] = {}
    for cell, record in records:
        if one_go := _one_go(record):
            seconds.setdefault(cell.method, []).append(one_go)
    return seconds


def seconds_left(progress: StudyProgress, now: float) -> float | None:
    """How long the rest takes, judged by finished runs; None as long as there is none.

    All methods train the same number of steps (shared by the runs' settings), so that the mean
    of all methods stands for one that has not finished yet.
    """
    if not progress.seconds:
        return None
    means = {method: sum(values) / len(values) for method, values in progress.seconds.items()}
    overall = sum(means.values()) / len(means)
    rest = [max(means.get(cell.method, overall) - (now - begun), 0.0) for cell, begun in progress.running.values()]
    longest = max(rest, default=0.0)
    work = sum(rest) + sum(means.get(cell.method, overall) for cell in progress.waiting)
    return max(longest, work / max(1, progress.slots))


def _one_go(record: CellRecord) -> float | None:
    return record.seconds if len(record.attempts) == 1 else None

"""Showing how a study goes: one display at a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scenarios.study.executor import Progress, Watch, seconds_left
from scenarios.study.plan import Cell
from scenarios.study.run_folder import CellFolder
from scenarios.study.worker import Ending, last_line

Result = Callable[[Cell], str]
"""What a finished run reached, in a few words."""


@contextmanager
def watching(progress: Progress, folder: Path, result: Result, console: Console) -> Iterator[Watch]:
    """Whoever watches a study, as long as the block lasts."""
    if not console.is_terminal:
        yield PlainWatch(progress, result, console)
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield LiveWatch(progress, folder, result, live)


class PlainWatch:
    """A line for each run that begins or ends."""

    def __init__(self, progress: Progress, result: Result, console: Console) -> None:
        self._progress, self._result, self._console = progress, result, console

    def started(self, cell: Cell, going_on: bool) -> None:
        """A run began, or goes on."""
        self._say(f"{cell.name}: {'goes on' if going_on else 'begins'}")

    def ended(self, cell: Cell, ending: Ending) -> None:
        """A run finished or failed."""
        progress = self._progress
        ended = progress.done + len(progress.failed)
        self._say(f"[{ended}/{len(progress.cells)}] {how_it_ended(cell, ending, self._result)}; {time_left(progress)}")

    def tick(self) -> None:
        """Nothing is said of time that passes."""

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


class LiveWatch:
    """A display that is drawn anew as time passes; lines of finished runs stay above it."""

    def __init__(self, progress: Progress, folder: Path, result: Result, live: Live) -> None:
        self._progress, self._folder, self._result, self._live = progress, folder, result, live

    def started(self, cell: Cell, going_on: bool) -> None:
        """A run began, or goes on: the display shows it."""
        self.tick()

    def ended(self, cell: Cell, ending: Ending) -> None:
        """A run finished or failed."""
        style = "red" if ending.code else ""
        self._live.console.print(Text(how_it_ended(cell, ending, self._result), style=style))
        self.tick()

    def tick(self) -> None:
        """Draw it anew."""
        self._live.update(display(self._progress, self._folder, time.monotonic()))


def display(progress: Progress, folder: Path, now: float) -> RenderableType:
    """How far a study is, what runs and what each run says, and how long it will take."""
    total = len(progress.cells)
    counts = f"{progress.done}/{total} done, {len(progress.running)} running"
    if progress.failed:
        counts += f", {len(progress.failed)} failed"
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=total, completed=progress.done + len(progress.failed), width=30)
    head.add_row(bar, counts, f"{_clock(now - progress.begun)} elapsed", time_left(progress, now))
    runs = Table.grid(padding=(0, 2), expand=True)
    runs.add_column(no_wrap=True)
    runs.add_column(justify="right", no_wrap=True)
    # Alone gives way where the terminal is narrow.
    runs.add_column(no_wrap=True, overflow="ellipsis", style="dim", ratio=1)
    for name, (_, begun) in progress.running.items():
        line = last_line(CellFolder(folder, name).log) or "starting"
        runs.add_row(Text(name), _clock(now - begun), Text(line))
    return Group(runs, head)


def how_it_ended(cell: Cell, ending: Ending, result: Result) -> str:
    """A finished or failed run in one line."""
    if ending.code:
        return f"{cell.name}: failed: {ending.reason}"
    return f"{cell.name}: {result(cell)}, {_clock(ending.seconds)}"


def time_left(progress: Progress, now: float | None = None) -> str:
    """The time left, in words."""
    if not progress.waiting and not progress.running:
        return "all ended"
    seconds = seconds_left(progress, time.monotonic() if now is None else now)
    if seconds is None:
        return "estimating the time left"
    return f"about {_clock(seconds)} left" if seconds >= 1 else "about to end"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))

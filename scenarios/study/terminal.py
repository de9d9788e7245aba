"""A study as a person reads it: how it goes, one display at a terminal and plain lines elsewhere, and what it found."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from scenarios.results.runs import entry_of
from scenarios.results.study import STUDY, MeanSd, Study
from scenarios.study.executor import StudyProgress, Watch, seconds_left
from scenarios.study.plan import Cell
from scenarios.study.run_folder import CellFolder
from scenarios.study.worker import Ending, last_line
from shared.methods import spec_of
from shared.results import RunResults

Result = Callable[[Cell], str]
"""What a finished run reached, in a few words."""


@contextmanager
def watching(progress: StudyProgress, folder: Path, result: Result, console: Console) -> Iterator[Watch]:
    """Whoever watches a study, as long as the block lasts."""
    if not console.is_terminal:
        yield PlainWatch(progress, result, console)
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield LiveWatch(progress, folder, result, live)


class PlainWatch:
    """A line for each run that begins or ends."""

    def __init__(self, progress: StudyProgress, result: Result, console: Console) -> None:
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

    def __init__(self, progress: StudyProgress, folder: Path, result: Result, live: Live) -> None:
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


def display(progress: StudyProgress, folder: Path, now: float) -> RenderableType:
    """How far a study is, what runs and what each run says, and how long it will take."""
    # What a run says alone gives way where the terminal is narrow.
    narrow = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    says = TextColumn("{task.fields[says]}", style="dim", markup=False, table_column=narrow)
    name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    runs = Progress(name, TimeElapsedColumn(), says, expand=True, get_time=lambda: now)
    for run, (_, begun) in progress.running.items():
        task = runs.add_task(run, says=last_line(CellFolder(folder, run).log) or "starting")
        runs.tasks[task].start_time = begun
    counts = f"{progress.done}/{len(progress.cells)} done, {len(progress.running)} running"
    if progress.failed:
        counts += f", {len(progress.failed)} failed"
    columns = BarColumn(30), TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("{task.fields[left]}")
    whole = Progress(*columns, get_time=lambda: now)
    ended, left = progress.done + len(progress.failed), f"elapsed  {time_left(progress, now)}"
    task = whole.add_task(counts, total=len(progress.cells), completed=ended, left=left)
    whole.tasks[task].start_time = progress.begun
    return Group(runs, whole)


def how_it_ended(cell: Cell, ending: Ending, result: Result) -> str:
    """A finished or failed run in one line."""
    if ending.code:
        return f"{cell.name}: failed: {ending.reason}"
    return f"{cell.name}: {result(cell)}, {_clock(ending.seconds)}"


def time_left(progress: StudyProgress, now: float | None = None) -> str:
    """The time left, in words."""
    if not progress.waiting and not progress.running:
        return "all ended"
    seconds = seconds_left(progress, time.monotonic() if now is None else now)
    if seconds is None:
        return "estimating the time left"
    return f"about {_clock(seconds)} left" if seconds >= 1 else "about to end"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def describe_run(cell: Cell, results: RunResults) -> str:
    """ACC and BWT of one run, in a few words. Raises `ResultsError` where its scores are missing."""
    run = entry_of(results, cell.order_name)
    said = [f"ACC {run.acc:.3f}"]
    said += [f"BWT {run.bwt:+.3f}"] if run.bwt is not None else []
    said += [f"evaluators {run.acc_evaluators:.3f}"] if run.acc_evaluators is not None else []
    return ", ".join(said)


def describe_study(study: Study, folder: Path) -> str:
    """What each method reached, mean and standard deviation over its runs, and what is missing.

    Intransigence only where pooled training was run with a seed of another method, evaluators where there were any.
    """
    pooled = any(summary.intransigence for summary in study.summary.values())
    evaluated = any(run.evaluators for run in study.runs)
    further = [*(["intransigence"] if pooled else []), *(["evaluators"] if evaluated else [])]
    rows = [("method", "runs", "ACC", "BWT", "learning accuracy", *further)]
    for method, summary in study.summary.items():
        cells = [_spread(summary.acc, ""), _spread(summary.bwt, "+"), _spread(summary.learning_accuracy, "")]
        cells += [_spread(summary.intransigence, "+")] if pooled else []
        cells += [_spread(summary.acc_evaluators, "")] if evaluated else []
        rows.append((method, str(summary.runs), *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["Mean and standard deviation over the runs of each method:", ""]
    lines += ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [
        "",
        "ACC  mean test Dice over all centers of the last model; for single, of each center's own",
        "BWT  backward transfer; below zero, the model forgot",
        *(["intransigence  pooled training minus learning accuracy; above zero, less was learnt"] if pooled else []),
    ]
    if evaluated:
        lines.append("evaluators  mean test Dice of the last model at the centers where none was trained")
    lines += [f"NOTE {run.name} is missing: {run.reason}" for run in study.missing]
    gaps = [run.name for run in study.runs if not spec_of(run.method).fresh and run.gaps]
    if gaps:
        lines.append(f"NOTE the means leave out cells without a score, in {', '.join(gaps)}")
    lines += ["", f"study   {folder / STUDY}"]
    return "\n".join(lines)


def _spread(spread: MeanSd | None, sign: str) -> str:
    if spread is None:
        return "-"
    mean = f"{spread.mean:{sign}.3f}"
    return mean if spread.sd is None else f"{mean} ± {spread.sd:.3f}"

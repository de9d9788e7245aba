"""The command `wardround bench`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.benchmark.targets import FIGURES, NAMES, choose
from scenarios.cli.common import say, write_json
from shared.paths import writable_folder

if TYPE_CHECKING:
    from scenarios.benchmark.runner import Benchmark


def bench(
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help=f"Measure only these: {NAMES}.  (default: all)",
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write figures and details here.")] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Tiny sizes, to see that all is measured; the numbers mean nothing."),
    ] = False,
) -> None:
    """Measure how fast Wardround is on this machine, as ratios of two things that are timed alternately.

    Takes a quarter of an hour on two cores, which nothing else should use meanwhile.
    """
    figures = choose(only)
    if to is not None:
        writable_folder(to.absolute().parent, "folder of the JSON file")
    # What brings in torch and Flower takes seconds, which --help and a wrong name need not wait for.
    from scenarios.benchmark.runner import measure

    done: Benchmark | None = None
    say(f"measuring {figures[0].name}")
    with tempfile.TemporaryDirectory(prefix="wardround-bench-") as name:
        for number, (figure, done) in enumerate(measure(figures, Path(name), quick), start=1):
            say(f"{figure.name} {done.figures[figure.name].value:.3f}: {done.figures[figure.name].detail}")
            if to is not None:
                write_json(to, done.to_json())
            if number < len(figures):
                say(f"measuring {figures[number].name}")
    if done is not None:
        _show(done)


def _show(done: "Benchmark") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "measured", "target", "what it means")
    for figure in FIGURES:
        if figure.name not in done.figures:
            continue
        value = done.figures[figure.name].value
        style = "" if done.quick else "green" if figure.met(value) else "yellow"
        shown = f"[{style}]{value:.3f}[/{style}]" if style else f"{value:.3f}"
        table.add_row(
            f"{figure.letter or ' '}  {figure.name}", shown, f"{figure.bound} {figure.target:g}", figure.meaning
        )
    memory = Table("peak_rss_mb", "process")
    for process, megabytes in sorted(done.peak_rss_mb.items(), key=lambda item: -item[1]):
        memory.add_row(f"{megabytes:.0f}", process)
    console = Console()
    console.print(table)
    console.print(memory)
    machine = done.machine
    console.print(f"{machine.processor}, {machine.cores} cores, trained on {machine.device}", highlight=False)
    if done.quick:
        console.print("[bold]quick: these numbers mean nothing[/bold]")

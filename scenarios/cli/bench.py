"""The command `wardround bench`."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.benchmark.targets import DEVICE_FIGURES, NAMES, Figure, choose, choose_of_device, names_of
from scenarios.cli.common import say, write_json
from shared.config.groups import DEVICE
from shared.errors import SettingsError
from shared.paths import writable_folder

if TYPE_CHECKING:
    from scenarios.benchmark.runner import Benchmark


def bench(
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help=f"Measure only these: {NAMES}; with --device: {names_of(DEVICE_FIGURES)}.  (default: all)",
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write figures and details here.")] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Tiny sizes, to see that all is measured; the numbers mean nothing."),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="cuda|cpu",
            help="Measure this device instead: a step, a stage, a test and the start of a run of the paper's size.",
        ),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="With --device: also run the paper's scenario, from its data to its end."),
    ] = False,
) -> None:
    """Measure how fast Wardround is on this machine, as ratios of two things that are timed alternately.

    Takes a quarter of an hour on two cores, which nothing else should use meanwhile. With --device it tells times
    of the paper's size instead, which takes minutes on a GPU and hours on a CPU.
    """
    if device is None and paper:
        raise SettingsError("--paper runs the paper's scenario on a device: name it, as in --device cuda")
    figures = choose(only) if device is None else choose_of_device(only, paper)
    if to is not None:
        writable_folder(to.absolute().parent, "folder of the JSON file")
    if device is not None:
        _check_device(device)
    done: Benchmark | None = None
    say(f"measuring {figures[0].name}")
    with tempfile.TemporaryDirectory(prefix="wardround-bench-") as name:
        for number, (figure, done) in enumerate(_measured(figures, device, Path(name), quick), start=1):
            say(f"{figure.name} {done.figures[figure.name].value:.3f}: {done.figures[figure.name].detail}")
            if to is not None:
                write_json(to, done.to_json())
            if number < len(figures):
                say(f"measuring {figures[number].name}")
    if done is not None:
        _show(done, figures)


def _check_device(device: str) -> None:
    """Raise `SettingsError` where there is no such device."""
    if device == "auto" or not re.match(DEVICE, device):
        raise SettingsError(f"--device {device!r} is no device: write cuda, cuda:1 or cpu")
    import torch

    if device != "cpu" and not torch.cuda.is_available():
        raise SettingsError(f"--device {device}: PyTorch finds no CUDA here; mend its driver, or measure --device cpu")


def _measured(
    figures: tuple[Figure, ...], device: str | None, folder: Path, quick: bool
) -> "Iterator[tuple[Figure, Benchmark]]":
    # What brings in torch and Flower takes seconds, which --help and a wrong name need not wait for.
    if device is None:
        from scenarios.benchmark.runner import measure

        return measure(figures, folder, quick)
    from scenarios.benchmark.on_device import measure_device

    return measure_device(figures, device, folder, quick)


def _show(done: "Benchmark", figures: tuple[Figure, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "measured", "target", "what it means")
    for figure in figures:
        if figure.name not in done.figures:
            continue
        value = done.figures[figure.name].value
        style = "" if done.quick else {True: "green", False: "yellow", None: ""}[figure.met(value)]
        number = f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"
        target = "" if figure.target is None else f"{figure.bound} {figure.target:g}"
        shown = f"[{style}]{number}[/{style}]" if style else number
        table.add_row(f"{figure.letter or ' '}  {figure.name}", shown, target, figure.meaning)
    console = Console()
    console.print(table)
    if done.peak_rss_mb:
        memory = Table("peak_rss_mb", "process")
        for process, megabytes in sorted(done.peak_rss_mb.items(), key=lambda item: -item[1]):
            memory.add_row(f"{megabytes:.0f}", process)
        console.print(memory)
    machine = done.machine
    console.print(f"{machine.processor}, {machine.cores} cores, trained on {machine.device}", highlight=False)
    if done.quick:
        console.print("[bold]quick: these numbers mean nothing[/bold]")

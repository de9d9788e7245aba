"""The command `wardround simulate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.cli.common import on_terminal, progress_bar, say
from shared.errors import SettingsError
from shared.text import quoted

if TYPE_CHECKING:
    from scenarios.simulation.dataset import Simulation
    from shared.phantoms.centers import CenterProfile

SCALE, LEAST = 0.2, 4
"""Of the eight centers, as in a run: of the paper's numbers of subjects, and no fewer than these."""


def simulate(
    output: Annotated[Path, typer.Option(metavar="DIR", help="New or empty folder for the hospitals.")],
    scale: Annotated[
        float | None,
        typer.Option(help=f"Factor on each center's number of subjects.  (default: {SCALE}, or 1 with a file)"),
    ] = None,
    spacing: Annotated[float, typer.Option(metavar="MM", help="In-plane voxel size; thick slices are thicker.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Seed of the simulation; another seed gives other patients.")] = 0,
    centers: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.toml or NAMES",
            help="A file that describes hospitals, such as scenarios/centers/example.toml, or some of the eight: "
            "bwh,milan.  (default: the eight)",
        ),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Number of processes.  (default: one per core)")] = None,
) -> None:
    """Write simulated hospitals as BIDS data sets, with a contact sheet of each and a table of their lesions.

    DIR gets a folder, a picture CENTER.png and, in summary.csv, a line for each center. Time and disk are said
    before it begins. What was interrupted goes on by the same command; a folder that simulate did not make is
    left alone. A run takes the hospitals by -c data-dir=DIR.
    """
    from scenarios.simulation.dataset import check_space, cost_of, simulating
    from scenarios.simulation.summary import draw_sheet, summarise, table, write_summary

    wanted = _simulation(output.absolute(), scale, spacing, seed, centers)
    with simulating(wanted):
        cost = cost_of(wanted)
        there = wanted.all_subjects - cost.subjects
        say(f"{wanted.all_subjects} subjects of {len(wanted.centers)} hospitals, of which {there} are there")
        jobs = jobs or cost.jobs
        if cost.subjects:
            seconds = cost.seconds * cost.jobs / jobs
            say(
                f"making {cost.subjects}: about {_duration(seconds)} with {jobs} processes on cores of their own, "
                f"{cost.nbytes / 1e6:.0f} MB"
            )
            check_space(wanted, cost)
        _make(wanted, jobs, cost.subjects)
        for center in wanted.centers:
            draw_sheet(wanted.folder / center.name, wanted.folder / f"{center.name}.png")
        rows = summarise(wanted)
        path = write_summary(rows, wanted.folder)
    say("\n" + "\n".join(table(rows)))
    say(f"\nsee {path} and {wanted.folder}/*.png; run them: wardround run {_how_to_run(wanted)}")


def _simulation(output: Path, scale: float | None, spacing: float, seed: int, centers: str | None) -> "Simulation":
    """What was asked for. Raises `SettingsError`."""
    from scenarios.simulation.dataset import Simulation
    from shared.phantoms.settings import PhantomSettings

    described = centers is not None and centers.endswith(".toml")
    chosen = _described(Path(centers)) if centers is not None and described else _named(centers)
    # Whoever gives a number of subjects means that number.
    settings = PhantomSettings(
        spacing=spacing,
        scale=scale if scale is not None else 1.0 if described else SCALE,
        minimum_subjects=1 if described else LEAST,
        seed=seed,
    )
    return Simulation(output, chosen, settings)


def _described(path: Path) -> "tuple[CenterProfile, ...]":
    from scenarios.simulation.center_config import read_centers

    return read_centers(path)


def _named(centers: str | None) -> "tuple[CenterProfile, ...]":
    from shared.phantoms.centers import CENTERS, profile

    names = list(CENTERS) if centers is None else [name.strip() for name in centers.split(",") if name.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        wrong = f"names {twice[0]} twice" if twice else "names no center"
        raise SettingsError(f"--centers {centers} {wrong}: give names such as bwh,milan, or a .toml file")
    return tuple(profile(name) for name in names)


def _make(wanted: "Simulation", jobs: int, missing: int) -> None:
    """Make what is missing, with a bar on a terminal and now and then a line elsewhere."""
    from scenarios.simulation.dataset import make_all

    watched = on_terminal()
    with progress_bar("making patients", missing) as show:

        def hear(center: "CenterProfile", done: int, total: int) -> None:
            show(done, center.title)
            if not watched and (done % 20 == 0 or done == total):
                say(f"made {done} of {total}")

        make_all(wanted, jobs, hear)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _how_to_run(wanted: "Simulation") -> str:
    names = ",".join(center.name for center in wanted.centers)
    return f"-c data-dir={quoted(wanted.folder)} -c centers={names} -c spacing={wanted.settings.spacing:g}"

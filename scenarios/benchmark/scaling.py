"""What grows with the number of hospitals, and how: one run each with the first 4, 8, ... of a scenario's.

    python -m scenarios.benchmark.scaling 4 8 16 32 64 --output scaling

runs them one after another, keeps each run with its log under `scaling/`, and prints the tables
of scenarios/benchmark/SCALING.md. Runs that are there already are not done again.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict

from client.hospital.center import open_hospital
from scenarios.processes.resources import watch
from scenarios.run_config import load_settings
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from shared.errors import LaunchError, WardroundError
from shared.paths import JOURNAL, cache_folder
from shared.results import read_results

SCENARIO = Path("scenarios/sixtyfour.toml")


class Measured(BaseModel):
    """What a run of so many hospitals took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    centers: int
    stage_seconds: tuple[float, ...]
    """Wall time of each stage but the first, which imports torch, and the last, which tests at all: training,
    tests, all messages, the journal."""
    stage_cpu: tuple[float, ...]
    """CPU seconds of all processes in the same time."""
    tests: int
    beside_computing: tuple[float, ...]
    """Seconds of each of these stages' training that were not spent in forward, backward and step: messages, unpacking,
    reading, decoding the memory. What is computed is the same in each stage."""
    train_mb: tuple[float, ...]
    """Of each stage, to its center and back; 1 MB is 1e6 bytes."""
    tests_mb: tuple[float, ...]
    journal_mb: float
    peak_mb: dict[str, float]

    @property
    def growth(self) -> float:
        """Time beside computing of the last of these stages over the first, both on the line through all of them."""
        return line_ratio(self.beside_computing)


def line_ratio(values: Sequence[float]) -> float:
    """The last over the first value of the least-squares line; NaN for fewer than three."""
    if len(values) < 3:
        return float("nan")
    at = np.arange(len(values))
    slope, start = np.polyfit(at, values, 1)
    return float((start + slope * at[-1]) / start)


def power(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The b of the least-squares a * size ** b: 0 where nothing grows, 1 for a line, 2 for a square."""
    slope, _ = np.polyfit(np.log(sizes), np.log(values), 1)
    return float(slope)


def prepare(centers: Sequence[str], settings: Settings) -> None:
    """Make the hospitals and prepare their volumes, which each of them does once, so that no stage pays for it."""
    for center in centers:
        site = simulated_site(center, settings)
        hospital = open_hospital(site, cache_folder(settings.data.cache_dir), settings)
        hospital.open((*hospital.training, *hospital.test))


def measure(centers: int, output: Path, changes: Sequence[str]) -> Measured:
    """Run the first `centers` of the scenario, unless that was done, and say what it took. Raises `LaunchError`."""
    known = output / f"{centers}.json"
    if known.is_file():
        return Measured.model_validate_json(known.read_bytes())
    settings = load_settings(SCENARIO, changes, None)
    names = settings.run.centers[:centers]
    prepare(names, settings)
    run, log = output / str(centers), output / f"{centers}.log"
    command = [sys.executable, "-m", "scenarios.cli.main", "run", str(SCENARIO), "--output", str(run)]
    for change in [*changes, f"centers={','.join(names)}"]:
        command += ["-c", change]
    code, watched = watch(command, log)
    if code:
        raise LaunchError(f"the run of {centers} hospitals failed, with code {code}: look at {log}")
    ends = [(run / JOURNAL / f"stage-{i:03d}" / "row.json").stat().st_mtime for i in range(centers)]
    cpu = [watched.cpu_at(end) for end in ends]
    stages: list[dict[str, Any]] = read_results(run)["stages"]
    measured = Measured(
        centers=centers,
        stage_seconds=tuple(np.diff(ends)[:-1].tolist()),
        stage_cpu=tuple(np.diff(cpu)[:-1].tolist()),
        tests=sum(stage["tests_asked"] for stage in stages),
        beside_computing=tuple(
            stage["transit_seconds"] + stage["training_seconds"] - stage["compute_seconds"] for stage in stages[1:-1]
        ),
        train_mb=tuple((stage["sent_bytes"] + stage["received_bytes"]) / 1e6 for stage in stages),
        tests_mb=tuple((stage["tests_sent_bytes"] + stage["tests_received_bytes"]) / 1e6 for stage in stages),
        journal_mb=sum(path.stat().st_size for path in (run / JOURNAL).rglob("*") if path.is_file()) / 1e6,
        peak_mb=watched.peak_mb,
    )
    known.write_text(measured.model_dump_json(indent=1))
    return measured


TOTALS: Mapping[str, Callable[[Measured], float]] = {
    "seconds a stage (mean)": lambda run: float(np.mean(run.stage_seconds)),
    "CPU seconds a stage (mean)": lambda run: float(np.mean(run.stage_cpu)),
    "seconds of it beside computing, in training (median)": lambda run: float(np.median(run.beside_computing)),
    "the same, last stage over first": lambda run: run.growth,
    "tests": lambda run: run.tests,
    "MB of the largest training message pair": lambda run: max(run.train_mb),
    "MB to and from training, all stages": lambda run: sum(run.train_mb),
    "MB to and from tests, all stages": lambda run: sum(run.tests_mb),
    "journal, MB": lambda run: run.journal_mb,
}
"""What is tabled of each run."""


def table(runs: Sequence[Measured]) -> str:
    """A line for each figure, a column for each run, and by which power of the number of hospitals it grows."""
    sizes = [run.centers for run in runs]
    kinds = sorted({kind for run in runs for kind in run.peak_mb})
    figures = dict(TOTALS)
    figures |= {f"peak MB, {kind}": lambda run, kind=kind: run.peak_mb.get(kind, 0.0) for kind in kinds}  # type: ignore[misc]
    lines = [
        "| | " + " | ".join(f"{size} hospitals" for size in sizes) + " | grows as K to the |",
        "|---|" + "---|" * (len(sizes) + 1),
    ]
    for name, of in figures.items():
        values = [of(run) for run in runs]
        exponent = f"{power(sizes, values):.2f}" if len(sizes) > 1 and all(value > 0 for value in values) else ""
        lines.append(f"| {name} | " + " | ".join(f"{value:.4g}" for value in values) + f" | {exponent} |")
    return "\n".join(lines)


def main(
    sizes: Annotated[list[int], typer.Argument(min=2, help="Numbers of hospitals.")],
    output: Annotated[Path, typer.Option(help="Folder of the runs; those that are there are not done again.")],
    change: Annotated[list[str] | None, typer.Option("-c", metavar="KEY=VALUE", help="As of wardround run.")] = None,
) -> None:
    """Run a scenario with more and more hospitals, and print what grows."""
    output.mkdir(parents=True, exist_ok=True)
    try:
        runs = [measure(size, output, change or []) for size in sorted(sizes)]
    except WardroundError as error:
        print(f"wardround: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(table(runs))


if __name__ == "__main__":
    typer.run(main)

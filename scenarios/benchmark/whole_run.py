"""Figures of whole runs: (d), a run against plain PyTorch, and (e), what replay costs over eight hospitals.

Each run is a command of its own; what comes before its first training is told apart.
"""

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch

from client.evaluation.inference import evaluate
from client.training.plan import plan_stage
from client.training.sampler import Source
from client.training.trainer import train
from scenarios.benchmark.fixtures import Bedside, hushed
from scenarios.benchmark.harness import Conditions, Turns, by_turns, timed
from scenarios.processes.resources import watched
from scenarios.run_config import toml_lines
from shared.config.settings import Settings
from shared.cores import cores_here
from shared.errors import LaunchError
from shared.metrics.scores import mean_score
from shared.model.device import choose_device
from shared.model.network import initial_weights
from shared.results import RunResults, read_results
from shared.seeds import derive_seed

FIRST = "stage 1/"
"""Begins the line that a run says when it sends the first train message."""

STEP = re.compile(r"[^ ]+: step \d+/")
"""Begins the line that a hospital says of its training, the first time after a twentieth of its steps."""

SHOWN = 15
"""Lines of a failed run that are shown."""

METHODS = ("replay", "finetune")
STEPS = 60
"""Of a stage when replay is compared: a quarter of the default, so that two runs of each method take minutes."""

Matrix = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class WholeRun:
    """What a run took and reached."""

    seconds: float
    """From the command's start to its end."""
    startup: float
    """Of them before the first train message."""
    results: RunResults
    peak_mb: Mapping[str, float]
    """Resident memory by process."""
    first_step: float | None = None
    """Seconds before the first word of a step."""


def run_whole(
    settings: Settings, folder: Path, cpus: int | None = None, clock: Callable[[], float] = time.perf_counter
) -> WholeRun:
    """Run a scenario into `folder`, which is new; `cpus` are those of all hospitals together, if not as by default.

    Raises `LaunchError` with its last lines where it fails.
    """
    folder.mkdir(parents=True)
    scenario = folder / "scenario.toml"
    scenario.write_text(toml_lines(settings.to_run_config()), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "scenarios.cli", "run", str(scenario), "--output", str(folder / "run")]
    if cpus is not None:
        command += ["--cpus", str(cpus), "--cores", str(cpus)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    begun = clock()
    first, first_step, heard = None, None, list[str]()
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            with watched(process.pid) as seen:
                assert process.stdout is not None
                for line in process.stdout:
                    heard.append(line.rstrip())
                    if first is None and line.startswith(FIRST):
                        first = clock()
                    if first_step is None and STEP.match(line):
                        first_step = clock() - begun
                code = process.wait()
            seconds = clock() - begun
        finally:
            if process.poll() is None:
                process.terminate()  # the command then ends all that it started
    if code != 0 or first is None:
        raise LaunchError("\n".join(["a run of the benchmark failed:", *heard[-SHOWN:]]))
    return WholeRun(seconds, first - begun, read_results(folder / "run"), seen.peak_mb, first_step)


@dataclass(frozen=True)
class ReplayCost:
    """Whole runs with replay (first) and with fine-tuning (second)."""

    turns: Turns
    centers: int
    steps: int

    @property
    def value(self) -> float:
        """How many times as long as fine-tuning a run with replay takes."""
        return self.turns.ratio

    @property
    def detail(self) -> str:
        """What it was made from."""
        replay, finetune = (statistics.median(seconds) for seconds in (self.turns.first, self.turns.second))
        return f"{replay:.1f} s against {finetune:.1f} s, {self.centers} centers, {self.steps} steps a stage"


def measure_replay_cost(conditions: Conditions) -> ReplayCost:
    """Run both methods over the same hospitals by turns, each from the command to its end."""
    settings = {name: conditions.settings(method=name, steps=conditions.size(STEPS, 4)) for name in METHODS}
    cpus = min(2, cores_here())
    numbers = count()

    def whole(method: str) -> float:
        run = run_whole(settings[method], conditions.folder / f"{method}-{next(numbers)}", cpus)
        conditions.peak_mb(run.peak_mb)
        return run.seconds

    run = settings["replay"].run
    for center in run.centers:  # volumes are prepared in the first run of all, which would else be longer
        hospital = Bedside(center, settings["replay"], conditions.folder / "state").open()
        hospital.open(hospital.training + hospital.test)
    turns = by_turns(lambda: whole("replay"), lambda: whole("finetune"), conditions.size(2, 1))
    return ReplayCost(turns, len(run.centers), settings["replay"].training.steps)


@dataclass(frozen=True)
class FlowerOverhead:
    """Whole runs without their start (first), and the plain loop (second)."""

    turns: Turns
    startups: tuple[float, ...]
    """Seconds of each run before its first train message."""
    apart: float
    """The largest difference between a cell of the run's R and of the plain loop's: 0 where both did the same."""

    @property
    def value(self) -> float:
        """How many times as long as the plain loop the run took, from its first train message on."""
        return self.turns.ratio

    @property
    def startup(self) -> float:
        """Median seconds from the command to the first train message."""
        return statistics.median(self.startups)

    @property
    def detail(self) -> str:
        """What it was made from."""
        run, plain = (statistics.median(seconds) for seconds in (self.turns.first, self.turns.second))
        whole = run + self.startup
        return (
            f"{run:.1f} s after {self.startup:.1f} s of start-up, plain {plain:.1f} s; as a whole {whole / plain:.2f}; "
            f"R differs by {self.apart:g}"
        )


def measure_flower_overhead(conditions: Conditions) -> FlowerOverhead:
    """Fine-tune over three hospitals by `wardround run` and by a loop that calls the same functions, by turns.

    Both have the same cores and threads, and the same volumes, which were prepared before.
    """
    settings = conditions.settings(method="finetune", order="given", centers="milan,ucsf,amu")
    cpus = min(2, cores_here())
    runs: list[WholeRun] = []
    matrices: list[Matrix] = []
    numbers = count()

    def whole() -> float:
        runs.append(run_whole(settings, conditions.folder / f"overhead-{next(numbers)}", cpus))
        conditions.peak_mb(runs[-1].peak_mb)
        return runs[-1].seconds - runs[-1].startup

    def plain() -> float:
        with threads(cpus):
            return timed(lambda: matrices.append(plain_course(bedsides, settings)))()

    bedsides = [Bedside(center, settings, conditions.folder / "state") for center in settings.run.centers]
    for bedside in bedsides:
        hospital = bedside.open()
        with hushed():
            hospital.open(hospital.training + hospital.test)
    turns = by_turns(whole, plain, conditions.size(2, 1))
    return FlowerOverhead(turns, tuple(run.startup for run in runs), _apart(runs[-1].results.R, matrices[-1]))


def plain_course(bedsides: Sequence[Bedside], settings: Settings) -> Matrix:
    """Sequential fine-tuning without any message: R."""
    device, patch = choose_device(settings.training.device), settings.training.patch_size
    weights = initial_weights(settings.network, derive_seed(settings.run.seed, "network"))
    matrix: list[list[float | None]] = []
    for stage, bedside in enumerate(bedsides):
        sources = [Source.of_volume(volume, patch, margin=settings.training.margin) for _, volume in bedside.training()]
        seed = derive_seed(settings.run.seed, "train", stage, bedside.center)
        weights = train(weights, plan_stage(sources, [], settings), settings, seed, device).weights
        row: list[float | None] = []
        for tested in bedsides:
            hospital = tested.open()
            volumes = [volume for _, volume in hospital.open(hospital.test)[0]]
            scores = evaluate(weights, volumes, settings, device)
            row.append(mean_score("dice", (score.rounded().dice for score in scores)))
        matrix.append(row)
    return matrix


def _apart(one: Matrix, other: Matrix) -> float:
    cells = [(a, b) for row, others in zip(one, other, strict=True) for a, b in zip(row, others, strict=True)]
    return max(abs(a - b) for a, b in cells if a is not None and b is not None)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """With so many threads for PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

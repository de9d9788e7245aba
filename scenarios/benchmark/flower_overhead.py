"""Figure (d): a whole run, against the same training and tests in plain PyTorch."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from statistics import fmean

import torch

from client.evaluation.inference import evaluate
from client.training.sampler import Source
from client.training.trainer import plan_stage, train
from scenarios.benchmark.conditions import Conditions
from scenarios.benchmark.fixtures import Bedside, hushed
from scenarios.benchmark.harness import Turns, by_turns, timed
from scenarios.benchmark.whole_run import WholeRun, run_whole
from scenarios.processes.resources import cores_here
from shared.config.settings import Settings
from shared.model.device import choose_device
from shared.model.network import initial_weights
from shared.seeds import derive_seed

Matrix = list[list[float | None]]


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
    return FlowerOverhead(turns, tuple(run.startup for run in runs), _apart(runs[-1].results["R"], matrices[-1]))


def plain_course(bedsides: Sequence[Bedside], settings: Settings) -> Matrix:
    """Sequential fine-tuning without any message: R."""
    device, patch = choose_device(settings.training.device), settings.training.patch_size
    weights = initial_weights(settings.network, derive_seed(settings.run.seed, "network"))
    matrix: Matrix = []
    for stage, bedside in enumerate(bedsides):
        sources = [Source.of_volume(volume, patch, device) for _, volume in bedside.training()]
        seed = derive_seed(settings.run.seed, "train", stage, bedside.center)
        weights = train(weights, plan_stage(sources, [], settings), settings, seed, device).weights
        row: list[float | None] = []
        for tested in bedsides:
            hospital = tested.open()
            volumes = [volume for _, volume in hospital.open(hospital.test)[0]]
            row.append(fmean(scores.dice for scores in evaluate(weights, volumes, settings, device)))
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

"""Whether bfloat16 costs any Dice: the same short trainings in it and in float32, each in a process of its own.

In its own process, since what was compiled or captured in one precision would go on in it.
"""

import multiprocessing
import statistics
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from client.evaluation.inference import evaluate
from client.training.plan import plan_stage
from client.training.sampler import Source
from client.training.trainer import train
from scenarios.benchmark.fixtures import Bedside
from scenarios.benchmark.harness import Conditions
from shared.config.settings import Settings
from shared.model.device import choose_device
from shared.model.network import initial_weights
from shared.seeds import derive_seed

SEEDS = 3


@dataclass(frozen=True)
class PrecisionGap:
    """Mean test Dice of trainings that differ in nothing but their precision, seed by seed."""

    half: tuple[float, ...]
    """As a run trains and tests on this device."""
    single: tuple[float, ...]
    """In float32 throughout, TF32 off."""
    steps: int

    @property
    def value(self) -> float:
        """How far apart the two means over the seeds are."""
        return abs(statistics.fmean(self.half) - statistics.fmean(self.single))

    @property
    def detail(self) -> str:
        """What it was made from."""
        half, single = (" ".join(f"{dice:.3f}" for dice in found) for found in (self.half, self.single))
        return f"test Dice after {self.steps} steps: {half} as it runs, {single} in float32"


def measure_precision(conditions: Conditions, device: str) -> PrecisionGap:
    """Train the default recipe at one hospital from three seeds, in both precisions."""
    settings = conditions.settings(centers="amu" if conditions.quick else "bwh", device=device)
    seeds = tuple(range(conditions.size(SEEDS, 1)))
    Bedside(settings.run.centers[0], settings, conditions.folder / "state").open()  # its data are made here, once
    found = []
    for full in (False, True):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as alone:
            config = settings.to_run_config()
            found.append(alone.submit(dice_of_seeds, config, conditions.folder / "state", seeds, full).result())
    half, single = found
    return PrecisionGap(half, single, settings.training.steps)


def dice_of_seeds(
    config: dict[str, str | int | float | bool], state: Path, seeds: tuple[int, ...], full: bool
) -> tuple[float, ...]:
    """The mean test Dice that the run-config's first center reaches from each seed; `full`: in float32 throughout."""
    with in_float32() if full else nullcontext():
        return tuple(_dice(Settings.from_run_config(config | {"seed": seed}), state) for seed in seeds)


def _dice(settings: Settings, state: Path) -> float:
    hospital = Bedside(settings.run.centers[0], settings, state).open()
    training, test = ([volume for _, volume in hospital.open(cases)[0]] for cases in (hospital.training, hospital.test))
    device, seed = choose_device(settings.training.device), settings.run.seed
    patch, margin = settings.training.patch_size, settings.training.margin
    sources = [Source.of_volume(volume, patch, margin=margin) for volume in training]
    weights = initial_weights(settings.network, derive_seed(seed, "network"))
    trained = train(weights, plan_stage(sources, [], settings), settings, derive_seed(seed, "train"), device)
    return statistics.fmean(score.dice for score in evaluate(trained.weights, test, settings, device))


@contextmanager
def in_float32() -> Iterator[None]:
    """Without the lower precision that trainings and tests take on CUDA, and without TF32."""

    def off(device_type: str, *words: object, **options: object) -> torch.autocast:
        return as_it_was(device_type, enabled=False)

    as_it_was = torch.autocast
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.autocast = off  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        torch.autocast = as_it_was  # type: ignore[misc]
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before

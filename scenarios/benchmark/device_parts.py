"""The parts of the paper's scenario, each timed alone on one device: a step, a stage, a test, the start of a run.

They are measured on one small hospital of the paper's scenario, with the functions that a run calls.
"""

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from client.data.inventory import Case
from client.data.preprocessing import Volume
from client.evaluation.inference import evaluate
from client.training.losses import loss_of
from client.training.plan import plan_stage
from client.training.sampler import Source
from client.training.trainer import Progress, train
from scenarios.benchmark.fixtures import Bedside, StageTime, do_stage, made_up_memory
from scenarios.benchmark.harness import Conditions
from scenarios.benchmark.whole_run import run_whole
from scenarios.run_config import app_folder, load_settings
from shared.config.settings import Settings
from shared.metrics.scores import Scores, mean_score
from shared.model.device import choose_device
from shared.model.network import initial_weights, network_with, scores_of
from shared.model.weights import Weights

Volumes = Sequence[tuple[Case, Volume]]

CENTER = "amu"
"""The smallest hospital of the paper."""

STEPS = 300
"""Of a training whose steps are timed, the first twentieth of which warms up."""

EPOCHS = 60
"""Of the stage that is timed: with the memory of seven hospitals 2,220 steps or so, where the paper's has 150."""

MEMORY_CENTERS, EXEMPLARS = 7, 20
"""Before the paper's last stage."""

TESTS = 24
"""Volumes that are tested in one go."""

QUICK: dict[str, str | int | float] = {
    "centers": "milan,ucsf,amu",
    "spacing": 4.0,
    "phantom-scale": 0.02,
    "phantom-minimum": 3,
    "features": 2,
    "epochs": 2,
    "batch-size": 2,
    "patches-per-volume": 2,
    "patch-size": 16,
    "exemplar-mm": 64.0,
    "memory-subjects": 2,
}
"""What a quick benchmark changes in the paper's scenario; its numbers mean nothing."""


def paper_settings(conditions: Conditions, device: str, **changes: str | int | float) -> Settings:
    """The paper's scenario on a device, with some keys of the run-config changed."""
    paper = load_settings(app_folder() / "scenarios" / "paper.toml", [], None)
    own = {key.replace("_", "-"): value for key, value in changes.items()}
    return paper.with_changes({**(QUICK if conditions.quick else {}), "device": device, **own})


def hospital_volumes(settings: Settings, folder: Path) -> tuple[Volumes, Volumes]:
    """The volumes of the small hospital, made and prepared where they are missing: to train on, and all."""
    hospital = Bedside(CENTER, settings, folder / "state").open()
    training = hospital.open(hospital.training)[0]
    return training, [*training, *hospital.open(hospital.test)[0]]


@dataclass(frozen=True)
class StepTime:
    """Training steps between a stage's first report and its last."""

    norm: str
    steps: int
    seconds: float
    """Of all of them."""
    before: float
    """Seconds from the training's start to its first report: compiling and capturing are among them."""
    gpu_mb: float
    """The most of the GPU's memory that tensors took, in units of 1e6 bytes; 0 on a CPU."""

    @property
    def value(self) -> float:
        """Milliseconds of a step."""
        return 1000 * self.seconds / self.steps

    @property
    def detail(self) -> str:
        """What it was made from."""
        return (
            f"{self.steps} steps with {self.norm} norm in {self.seconds:.2f} s, {self.before:.1f} s to the first "
            f"report; {self.gpu_mb:.0f} MB of the GPU's memory"
        )


def measure_step(settings: Settings, volumes: Volumes, steps: int) -> tuple[StepTime, Weights]:
    """Train on the volumes for about so many steps."""
    device, patch = choose_device(settings.training.device), settings.training.patch_size
    sources = [Source.of_volume(volume, patch, margin=settings.training.margin) for _, volume in volumes]
    an_epoch = plan_stage(sources, [], settings.with_changes({"epochs": 1})).steps
    settings = settings.with_changes({"epochs": -(-steps // an_epoch)})
    reports: list[tuple[int, float]] = []

    def report(progress: Progress) -> None:
        reports.append((progress.step, time.perf_counter()))

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begun = time.perf_counter()
    weights = initial_weights(settings.network, 0)
    trained = train(weights, plan_stage(sources, [], settings), settings, 0, device, report)
    (first, early), (last, late) = reports[0], reports[-1]
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else 0.0
    return StepTime(settings.network.norm, last - first, late - early, early - begun, peak), trained.weights


@dataclass(frozen=True)
class ProductShare:
    """A training step's arithmetic against the best matrix product of this device."""

    step_gflop: float
    """Of forward and backward."""
    step_seconds: float
    product_tflops: float
    """In bfloat16 on CUDA, in float32 on a CPU."""
    edge: int

    @property
    def value(self) -> float:
        """The step's FLOP/s over the product's."""
        return self.step_gflop / self.step_seconds / 1000 / self.product_tflops

    @property
    def detail(self) -> str:
        """What it was made from."""
        return (
            f"{self.step_gflop / self.step_seconds / 1000:.2f} of {self.product_tflops:.2f} TFLOP/s "
            f"({self.step_gflop:.0f} GFLOP a step, matrices of {self.edge})"
        )


def measure_product(settings: Settings, step: StepTime, edges: Sequence[int]) -> ProductShare:
    """Multiply matrices of several sizes, ten times each after two that warm up."""
    device = choose_device(settings.training.device)
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    best = (0.0, 0)
    for edge in edges:
        one, other = (torch.randn(edge, edge, device=device, dtype=kind) for _ in range(2))
        seconds = [_product(one, other) for _ in range(12)][2:]
        best = max(best, (2 * edge**3 / statistics.median(seconds) / 1e12, edge))
    return ProductShare(step_gflop(settings), step.seconds / step.steps, *best)


def _product(one: torch.Tensor, other: torch.Tensor) -> float:
    _wait(one.device)
    begun = time.perf_counter()
    torch.mm(one, other)
    _wait(one.device)
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_gflop(settings: Settings) -> float:
    """GFLOP of forward and backward of a training step, as PyTorch counts those of its convolutions.

    Counted of one patch: all have the same.
    """
    network = network_with(initial_weights(settings.network, 0), settings.network, torch.device("cpu")).train()
    images = torch.randn(1, 1, *(settings.training.patch_size,) * 3)
    with FlopCounterMode(display=False) as counter:
        loss_of(network, scores_of(network, images), torch.zeros_like(images)).backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops() * settings.training.patches) / 1e9


@dataclass(frozen=True)
class StageShare:
    """A whole stage at the small hospital, from message to reply, with the memory of seven others."""

    stage: StageTime
    steps: int

    @property
    def value(self) -> float:
        """The share of its time in forward, backward and step."""
        return self.stage.compute_seconds / self.stage.seconds

    @property
    def beside(self) -> float:
        """Seconds of the stage that are no computing."""
        return self.stage.seconds - self.stage.compute_seconds

    @property
    def detail(self) -> str:
        """What it was made from."""
        return f"{self.stage.compute_seconds:.2f} s of {self.stage.seconds:.2f} s, {self.steps} steps"


def measure_stage(conditions: Conditions, settings: Settings, volumes: Volumes) -> StageShare:
    """Do a stage of the paper's replay, cut short and once, after a shorter one that warms up."""
    memory = made_up_memory(volumes, settings, MEMORY_CENTERS, conditions.size(EXEMPLARS, 2))
    weights = initial_weights(settings.network, settings.run.seed)

    def stage(epochs: int) -> StageShare:
        bedside = Bedside(CENTER, settings.with_changes({"epochs": epochs, "restarts": 0}), conditions.folder / "state")
        taken = do_stage(bedside, weights, memory)
        images = len(volumes) + sum(len(one.exemplars) for one in memory)
        return StageShare(taken, epochs * -(-images // settings.training.batch_size))

    stage(1)
    return stage(conditions.size(EPOCHS, 2))


@dataclass(frozen=True)
class EvaluationTime:
    """Test volumes that were segmented and scored, as a run does it after a stage."""

    norm: str
    volumes: int
    seconds: float
    dice: float
    """Mean of the scores: how much a network finds makes some scores slower."""

    @property
    def value(self) -> float:
        """Milliseconds a volume."""
        return 1000 * self.seconds / self.volumes

    @property
    def detail(self) -> str:
        """What it was made from."""
        return f"{self.volumes} volumes in {self.seconds:.2f} s with {self.norm} norm, mean Dice {self.dice:.2f}"


def measure_evaluation(settings: Settings, weights: Weights, volumes: Volumes, count: int) -> EvaluationTime:
    """Test a network on so many volumes at once, the same ones in turn, after two that warm up."""
    device = choose_device(settings.training.device)
    several = [volume for _, volume in itertools.islice(itertools.cycle(volumes), count)]
    evaluate(weights, several[:2], settings, device)
    begun = time.perf_counter()
    scores: list[Scores] = evaluate(weights, several, settings, device)
    seconds = time.perf_counter() - begun
    dice = mean_score("dice", (score.dice for score in scores))
    return EvaluationTime(settings.network.norm, len(several), seconds, dice)


@dataclass(frozen=True)
class FirstStep:
    """How long a whole run takes to its first training step, with everything in place that a run before it left."""

    seconds: float
    message: float
    """Seconds to the first train message."""
    whole: float
    """Seconds of the run, which has one short stage."""

    @property
    def value(self) -> float:
        """Seconds from the command to the first report of a step."""
        return self.seconds

    @property
    def detail(self) -> str:
        """What it was made from."""
        return f"{self.message:.1f} s to the first train message; the whole run, of one short stage, {self.whole:.1f} s"


def measure_first_step(conditions: Conditions, settings: Settings) -> FirstStep:
    """Train at the small hospital alone by `wardround run`, twice; the second counts.

    As long as the paper does: what is compiled or captured may hang on how many steps follow. A hospital first tells
    of its steps after a twentieth of them, which is 15.
    """
    changes: dict[str, str | int] = {
        "centers": CENTER,
        "epochs": conditions.size(150, 2),
        "method": "finetune",
        "restarts": 0,
    }
    short = settings.with_changes(changes)
    for name in ("start-cold", "start-warm"):
        run = run_whole(short, conditions.folder / name)
    assert run.first_step is not None
    return FirstStep(run.first_step, run.startup, run.seconds)

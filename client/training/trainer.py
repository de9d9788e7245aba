"""One stage of training: the visiting model learns from this center's volumes and the memory."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from client.training.captured import CapturedSteps
from client.training.eager import EagerSteps
from client.training.methods.base import Method
from client.training.plan import Plan
from shared.config.groups import TrainingSettings
from shared.config.settings import Settings
from shared.errors import TrainingError
from shared.model.network import LesionNet, network_with
from shared.model.weights import Weights


@dataclass(frozen=True)
class Progress:
    """Where a stage is."""

    step: int
    steps: int
    loss: float
    seconds_left: float


@dataclass(frozen=True)
class Trained:
    """What a stage reached and what it cost."""

    network: LesionNet
    """As it was trained, on its device."""
    weights: Weights
    """Its own, as they travel."""
    steps: int
    final_loss: float
    """With the method's penalty, where it has one."""
    seconds: float
    compute_seconds: float


STATE = {"network", "steps", "method", "torch", "losses", "computing", "seconds"}
"""What a checkpoint holds."""


class Checkpoints(Protocol):
    """Where a stage's training can be put down and taken up again."""

    def load(self) -> dict[str, Any] | None:
        """What was saved last, or nothing."""

    def due(self) -> bool:
        """Whether it is time to save."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state: tensors, numbers and strings in dictionaries and lists."""


class Steps(Protocol):
    """Training steps, and where they are."""

    block: int
    """Steps that are best taken at once."""
    computing: float
    """Seconds in forward, backward and optimiser."""

    def take(self, count: int, ahead: int) -> list[float]:
        """The losses of the next `count` steps; so many as `ahead` are known to come after them."""

    def state_dict(self) -> dict[str, Any]:
        """What the next steps depend on beside the network and the method."""

    def load_state_dict(self, state: dict[str, Any], taken: int) -> None:
        """Go on where another one was after so many steps."""


def steps_of(
    network: LesionNet, method: Method, plan: Plan, options: TrainingSettings, random: np.random.Generator
) -> Steps:
    """Those of a stage, by the device that the network is on."""
    if next(network.parameters()).is_cuda:
        return CapturedSteps(network, method, plan, options, random)
    return EagerSteps(network, method, plan, options, random)


def train(
    weights: Weights,
    plan: Plan,
    settings: Settings,
    seed: int,
    device: torch.device,
    report: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Checkpoints | None = None,
    method: Method | None = None,
) -> Trained:
    """Train from `weights` as planned, by `method` or without any hold; `report` hears of it about twenty times.

    Where `checkpoints` holds a state, the training goes on from there, and ends with the same
    weights as one that was never interrupted. Raises `TrainingError` where the loss is no
    longer a number.
    """
    started = time.perf_counter()
    method = method or Method()
    network = network_with(weights, settings.network, device).train()
    torch.manual_seed(seed)
    steps = steps_of(network, method, plan, settings.training, np.random.default_rng(seed))
    losses: list[float] = []
    earlier = 0.0
    every = max(1, plan.steps // 20)
    saved = checkpoints.load() if checkpoints else None
    if saved is not None:
        network.load_state_dict(saved["network"])
        losses = saved["losses"]
        steps.load_state_dict(saved["steps"], len(losses))
        method.load_state_dict(saved["method"])
        torch.set_rng_state(saved["torch"])
        earlier = saved["computing"]
        started -= saved["seconds"]
    while len(losses) < plan.steps:
        count = _next(len(losses), plan.steps, every, steps.block)
        done = len(losses) + count
        losses += steps.take(count, _next(done, plan.steps, every, steps.block))
        _check(losses, count, plan, settings, method)
        if checkpoints and done < plan.steps and checkpoints.due():
            checkpoints.save(
                {
                    "network": network.state_dict(),
                    "steps": steps.state_dict(),
                    "method": method.state_dict(),
                    "torch": torch.get_rng_state(),
                    "losses": losses,
                    "computing": earlier + steps.computing,
                    "seconds": time.perf_counter() - started,
                }
            )
        if done % every == 0 or done == plan.steps:
            spent = time.perf_counter() - started
            report(Progress(done, plan.steps, float(np.mean(losses[-every:])), spent / done * (plan.steps - done)))
    final = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    tail = losses[-max(1, plan.steps // 10) :]
    seconds = time.perf_counter() - started
    return Trained(network, final, plan.steps, float(np.mean(tail)), seconds, earlier + steps.computing)


def _next(done: int, steps: int, every: int, block: int) -> int:
    """How many steps are taken at once after those done: up to the next report at most."""
    return min(block, every - done % every, steps - done)


def _check(losses: Sequence[float], count: int, plan: Plan, settings: Settings, method: Method) -> None:
    """Raise `TrainingError` where one of the last `count` losses is no number."""
    for step in range(len(losses) - count, len(losses)):
        if not math.isfinite(losses[step]):
            weight = f", or what holds the model ({', '.join(method.weighed_by)})" if method.weighed_by else ""
            raise TrainingError(
                f"the loss became {losses[step]} at step {step + 1} of {plan.steps}: lower learning-rate "
                f"({settings.training.learning_rate:g}){weight}"
            )

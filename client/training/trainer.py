"""One stage of training: the visiting model learns from this center's volumes and the memory."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from client.training.losses import loss_of, scores_of
from client.training.methods.base import Method
from client.training.optimisers import Optimisation
from client.training.sampler import Patches, PatchSampler, Recipe, Stratum
from shared.config.groups import Deal
from shared.config.settings import Settings
from shared.errors import TrainingError
from shared.model.network import LesionNet, network_with
from shared.model.weights import Weights


@dataclass(frozen=True)
class Plan:
    """What a stage will do, known before it starts."""

    own: tuple[Patches, ...]
    past: tuple[Stratum, ...]
    """Exemplars that share their part of each batch, drawn from in a fixed share; empty in `paper` mode."""
    recipe: Recipe
    steps: int
    steps_per_epoch: int
    before: int = 0
    after: int = 0
    """Steps of the center's earlier and later rounds, over which the learning rate follows its schedule."""


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


def plan_stage(
    own: Sequence[Patches],
    memory: Sequence[Sequence[Patches]],
    settings: Settings,
    contrasts: int = 1,
    rounds: int = 1,
    round_: int = 0,
) -> Plan:
    """Decide how batches are drawn and how many steps are taken, all of them or those of one of equal rounds.

    `balanced` replay keeps the number of steps and gives `replay-share` of each batch to the
    memory. `paper` merges the memory into the training set, which lengthens the stage by as
    much as it grows the set. `contrasts` counts the center's, for each of which `steps` are taken;
    pooled training those of all its centers.
    """
    training = settings.training
    volumes = len(own)
    past = dealt(memory, settings.memory.replay_deal)
    if settings.memory.replay_mode == "paper":
        own = [*own, *(source for center in memory for source in center)]
        past = ()
    replayed = round(training.patches * settings.memory.replay_share) if past else 0
    per_epoch = math.ceil(len(own) / training.batch_size)
    # Epochs over a pooled set count everybody's volumes by themselves; steps must be told.
    steps = training.epochs * per_epoch
    if training.steps:
        steps = math.ceil(training.steps * len(own) / volumes) * contrasts
    recipe = Recipe(
        patches=training.patches,
        patches_per_volume=training.patches_per_volume,
        patch_size=training.patch_size,
        lesion_share=training.lesion_share,
        replayed=min(replayed, training.patches - 1),
    )
    steps //= rounds
    return Plan(tuple(own), past, recipe, steps, per_epoch, before=steps * round_, after=steps * (rounds - round_ - 1))


def dealt(memory: Sequence[Sequence[Patches]], deal: Deal) -> tuple[Stratum, ...]:
    """The memory, given by center, as those among whom its part of a batch is shared: the centers, or the contrasts."""
    if deal == "centers":
        return tuple((tuple(center),) for center in memory if center)
    contrasts = sorted({exemplar.contrast for center in memory for exemplar in center})
    parts = [[tuple(one for one in center if one.contrast == contrast) for center in memory] for contrast in contrasts]
    return tuple(tuple(center for center in part if center) for part in parts)


STATE = {"network", "optimisation", "sampler", "method", "torch", "losses", "computing", "seconds"}
"""What a checkpoint holds."""


class Checkpoints(Protocol):
    """Where a stage's training can be put down and taken up again."""

    def load(self) -> dict[str, Any] | None:
        """What was saved last, or nothing."""

    def due(self) -> bool:
        """Whether it is time to save."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state: tensors, numbers and strings in dictionaries and lists."""


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
    options = settings.training
    optimisation = Optimisation(
        network, options, plan.before + plan.steps + plan.after, plan.steps_per_epoch, plan.before
    )
    sampler = PatchSampler(plan.own, plan.past, plan.recipe, np.random.default_rng(seed))
    torch.manual_seed(seed)
    losses: list[float] = []
    computing = 0.0
    every = max(1, plan.steps // 20)
    saved = checkpoints.load() if checkpoints else None
    if saved is not None:
        network.load_state_dict(saved["network"])
        optimisation.load_state_dict(saved["optimisation"])
        sampler.restore(saved["sampler"])
        method.load_state_dict(saved["method"])
        torch.set_rng_state(saved["torch"])
        losses = saved["losses"]
        computing = saved["computing"]
        started -= saved["seconds"]
    for step in range(len(losses) + 1, plan.steps + 1):
        batch = sampler.batch()
        begun = time.perf_counter()
        scores = scores_of(network, batch.images)
        loss = loss_of(network, scores, batch.labels, options.loss, options.dice_over)
        penalty = method.penalty(network, batch, scores)
        if penalty is not None:
            loss = loss + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        method.adjust_gradients(network, batch)
        optimisation.step()
        method.after_step(network, step)
        losses.append(loss.item())
        computing += time.perf_counter() - begun
        if not math.isfinite(losses[-1]):
            weight = f", or what holds the model ({', '.join(method.weighed_by)})" if method.weighed_by else ""
            raise TrainingError(
                f"the loss became {losses[-1]} at step {step} of {plan.steps}: lower learning-rate "
                f"({options.learning_rate:g}){weight}"
            )
        if checkpoints and step < plan.steps and checkpoints.due():
            checkpoints.save(
                {
                    "network": network.state_dict(),
                    "optimisation": optimisation.state_dict(),
                    "sampler": sampler.state(),
                    "method": method.state_dict(),
                    "torch": torch.get_rng_state(),
                    "losses": losses,
                    "computing": computing,
                    "seconds": time.perf_counter() - started,
                }
            )
        if step % every == 0 or step == plan.steps:
            spent = time.perf_counter() - started
            report(Progress(step, plan.steps, float(np.mean(losses[-every:])), spent / step * (plan.steps - step)))
    final = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    tail = losses[-max(1, plan.steps // 10) :]
    return Trained(network, final, plan.steps, float(np.mean(tail)), time.perf_counter() - started, computing)

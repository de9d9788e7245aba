"""A stage that collapsed, found by the center's own training patches, and begun again with another draw.

With the normalised ReLU of SoftSeg a network whose scores are nowhere positive answers zero everywhere, and no
gradient leads out of it (a dead ReLU: Lu et al. 2020, Dying ReLU and Initialization). A decoder, or a network, that is
drawn afresh for a stage may begin there, or fall there in its first steps. What was drawn afresh is drawn again then;
patches, batches and steps stay as they were. A model that came whole has nothing that could be drawn again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from client.data.lesions import LESION
from client.training.methods.base import Method
from client.training.sampler import Patches, PatchSampler, Recipe
from client.training.trainer import Checkpoints, Trained
from shared.config.settings import Settings
from shared.log import say
from shared.model.network import LesionNet, carry_over, initial_weights, scores_of, soft_segmentation
from shared.model.weights import Weights
from shared.seeds import derive_seed
from shared.wire.headers import TrainTask

COLLAPSED = 0.01
"""Mean Dice of a trained network over its center's own patches with lesion, below which the stage collapsed."""

BATCHES = 8
"""Batches of patches that it is measured on."""

KEPT = {"restarts", "earlier_seconds", "earlier_compute_seconds"}
"""What a checkpoint holds of the attempts, beside the state of the training."""


@dataclass(frozen=True)
class Attempted:
    """A training, and what the attempts before it took, which collapsed."""

    trained: Trained
    method: Method
    recipe: Recipe
    restarts: int = 0
    earlier_seconds: float = 0.0
    earlier_compute_seconds: float = 0.0


@dataclass
class _Kept:
    """The checkpoints of one attempt; `Checkpoints` of client/training/trainer.py."""

    checkpoints: Checkpoints
    state: dict[str, Any] | None
    """Of this attempt's last checkpoint, where it was interrupted; not of an earlier attempt's."""
    about: dict[str, Any]
    """What is kept of the attempts."""

    def load(self) -> dict[str, Any] | None:
        return self.state

    def due(self) -> bool:
        return self.checkpoints.due()

    def save(self, state: dict[str, Any]) -> None:
        self.checkpoints.save(state | self.about)


def attempt_until_learnt(
    attempt: Callable[[Weights, Checkpoints], Attempted],
    came: Weights,
    own: Sequence[Patches],
    task: TrainTask,
    settings: Settings,
    checkpoints: Checkpoints,
) -> Attempted:
    """The first attempt that does not collapse, or the last one that `restarts` allows; aloud where one does.

    `came` are the weights that came, `own` the center's volumes. Where `checkpoints` holds a state, the attempt that
    it is of goes on.
    """
    state = checkpoints.load()
    about: dict[str, Any] = dict.fromkeys(sorted(KEPT), 0)
    if state is not None:
        about = {name: state.pop(name, 0) for name in about}
    while True:
        weights = weights_of_attempt(came, task, settings, about["restarts"])
        found = replace(attempt(weights, _Kept(checkpoints, state, about)), **about)
        if not _begins_again(found, own, task, settings):
            return found
        state = None
        about = {
            "restarts": found.restarts + 1,
            "earlier_seconds": found.earlier_seconds + found.trained.seconds,
            "earlier_compute_seconds": found.earlier_compute_seconds + found.trained.compute_seconds,
        }


def _begins_again(found: Attempted, own: Sequence[Patches], task: TrainTask, settings: Settings) -> bool:
    """Whether an attempt collapsed, and another is left."""
    seed = derive_seed(settings.run.seed, "collapse", task.stage, task.center)
    dice = dice_on_own(found.trained.network, own, found.recipe, seed)
    if not dice < COLLAPSED:  # NaN where there is no lesion to find
        return False
    said = f"{task.center}: stage {task.stage + 1} collapsed (Dice {dice:.3f} on its own training patches)"
    drawn, most = what_is_drawn(task, settings), settings.training.restarts
    if not drawn:
        say(f"{said} and goes on: the model came whole, so that there is nothing to draw again")
        return False
    if found.restarts >= most:
        say(f"{said} with each of {most + 1} draws of the {drawn} and goes on: raise restarts ({most})")
        return False
    say(f"{said}: beginning it again with another draw of the {drawn} ({found.restarts + 1} of at most {most})")
    return True


def what_is_drawn(task: TrainTask, settings: Settings) -> str:
    """What of the model that a stage begins with was drawn for it, and may be drawn again; empty: nothing.

    Nothing either where centers train at once and their models are averaged: those must begin alike. Nor where a
    network that would be fresh is a model that was given (`start`).
    """
    if settings.run.spec.course == "rounds":
        return ""
    if task.stage == 0 or settings.run.spec.fresh:
        return "" if settings.run.start_digest else "network"
    return "decoder" if settings.run.carry == "encoder" else ""


def weights_of_stage(came: Weights, task: TrainTask, settings: Settings) -> Weights:
    """What a stage starts from: what came, with carry `encoder` under a decoder that is drawn for the stage."""
    if what_is_drawn(task, settings) != "decoder":
        return came
    return carry_over(came, "encoder", settings.network, derive_seed(settings.run.seed, "decoder", task.stage))


def weights_of_attempt(came: Weights, task: TrainTask, settings: Settings, restarts: int) -> Weights:
    """What an attempt starts from: the first one from what came, each later one with another draw."""
    what = what_is_drawn(task, settings)
    if not restarts or not what:
        return came
    seed = derive_seed(settings.run.seed, what, task.stage, restarts)
    if what == "network":
        return initial_weights(settings.network, seed)
    return carry_over(came, "encoder", settings.network, seed)


def dice_on_own(network: LesionNet, own: Sequence[Patches], recipe: Recipe, seed: int) -> float:
    """Mean Dice at 0.5 over random patches around the lesions of a center's own volumes; NaN where none has lesion."""
    recipe = replace(recipe, replayed=0, lesion_share=1.0)
    sampler = PatchSampler(own, (), recipe, np.random.default_rng(seed))
    device = next(network.parameters()).device
    found: list[float] = []
    with torch.no_grad():
        for _ in range(BATCHES):
            batch = sampler.batch(device)
            soft = soft_segmentation(scores_of(network, batch.images), network.settings.activation)
            mine, true = soft >= LESION, batch.labels >= LESION
            both, all_mine, all_true = (part.sum(dim=(1, 2, 3, 4)) for part in (mine & true, mine, true))
            dice = 2 * both / (all_mine + all_true).clamp_min(1)
            found += dice[all_true > 0].tolist()
    return float(np.mean(found)) if found else float("nan")

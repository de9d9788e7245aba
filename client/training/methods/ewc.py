"""Consolidation: parameters that earlier centers depend on are held where they were.

Elastic weight consolidation (Kirkpatrick et al. 2017, eq. 3) in its online form (Schwarz et al.
2018), in which a stage costs the same however many centers came before:

    penalty = lambda / 2 * sum_i F_i (theta_i - theta*_i)^2

theta* is the model that came, and F one running importance, F = decay * F_before + F_here: the
diagonal of the Fisher information, as the mean of squared gradients over a center's own patches
at the end of its stage. Each patch is squared by itself: the square of a batch's mean gradient
would shrink as the batch grows (van de Ven 2025, arXiv:2502.11756). The gradients are those of the
training's loss, a Dice loss, which is no log-likelihood; so F says how much the loss depends on a
parameter, on a scale of its own.

F, like the model, is computed from patients' images, and like the model holds no image.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from client.training.losses import loss_of, scores_of
from client.training.sampler import PatchSampler, Recipe, Source
from shared.config.settings import Loss, Settings
from shared.model.network import LesionNet, network_with
from shared.model.weights import Weights
from shared.wire.messages import TrainRequest

BATCHES = 16
"""Batches of patches that a center's importance is measured on: a fifteenth of a default stage."""


@dataclass(frozen=True, eq=False)
class Consolidation:
    """What moving away from the anchor costs, by each parameter's importance."""

    anchor: Mapping[str, Tensor]
    importance: Mapping[str, Tensor]
    weight: float

    def __call__(self, network: LesionNet, images: Tensor, scores: Tensor) -> Tensor:
        """The penalty; it depends on the network's parameters alone."""
        costs = [
            (self.importance[name] * (value - self.anchor[name]).square()).sum()
            for name, value in network.named_parameters()
        ]
        return self.weight / 2 * torch.stack(costs).sum()


def consolidation(request: TrainRequest, settings: Settings, device: torch.device) -> Consolidation | None:
    """What holds the training near the model that came; nothing at the first center, where nothing is known yet."""
    if request.importance is None:
        return None
    anchor = {name: value.to(device) for name, value in request.weights.items()}
    importance = {name: value.to(device) for name, value in request.importance.items()}
    return Consolidation(anchor, importance, settings.retention.ewc_weight)


def updated_importance(before: Weights | None, here: Weights, decay: float) -> Weights:
    """The running importance after one more center."""
    return here if before is None else {name: decay * before[name] + value for name, value in here.items()}


def importance_here(
    weights: Weights, own: Sequence[Source], recipe: Recipe, settings: Settings, seed: int, device: torch.device
) -> Weights:
    """How much the loss on a center's own patches depends on each parameter; the seed draws the patches."""
    network = network_with(weights, settings.network, device).train()
    sampler = PatchSampler(own, (), replace(recipe, replayed=0), np.random.default_rng(seed))
    return mean_squared_gradients(network, (sampler.batch() for _ in range(BATCHES)), settings.training.loss)


def mean_squared_gradients(
    network: LesionNet, batches: Iterable[tuple[Tensor, Tensor]], kind: Loss = "dice"
) -> Weights:
    """The squared gradient of each patch's loss, by parameter, averaged over the patches of all batches."""
    parameters = dict(network.named_parameters())
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    patches = 0
    for images, labels in batches:
        for k in range(len(images)):
            loss = loss_of(network, scores_of(network, images[k : k + 1]), labels[k : k + 1], kind)
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            for name, gradient in zip(parameters, gradients, strict=True):
                total[name] += gradient.square()
            patches += 1
    return {name: (value / patches).cpu().contiguous() for name, value in total.items()}

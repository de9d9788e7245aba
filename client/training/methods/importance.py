"""What methods have in common that hold each parameter where it was by how much earlier centers depend on it.

    penalty = strength * sum_i W_i (theta_i - theta*_i)^2

theta* is the model that came, and W one running importance, W = decay * W_before + W_here, in which a
stage costs the same however many centers came before (Schwarz et al. 2018). How W_here is measured makes the
method; each of a center's own patches is measured by itself at the end of its stage, since the gradient of a
batch's mean would shrink as the batch grows (van de Ven 2025, arXiv:2502.11756).

W, like the model, is computed from patients' images, and like the model holds no image.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from client.training.methods.base import Method
from client.training.sampler import Batch, Patches, PatchSampler, Recipe
from shared.model.network import LesionNet
from shared.model.weights import State, Weights
from shared.seeds import derive_seed
from shared.wire.messages import TrainRequest

BATCHES = 16
"""Batches of patches that a center's importance is measured on: a fifteenth of a default stage."""

Measure = Callable[[LesionNet, Tensor, Tensor], Tensor]
"""From the network, one image and its label, each (1, 1, D, H, W), to the number whose gradient is looked at."""


@dataclass(frozen=True, eq=False)
class Anchor:
    """Where the parameters were when the model came, and how important each is."""

    weights: Mapping[str, Tensor]
    importance: Mapping[str, Tensor]

    @classmethod
    def of(cls, request: TrainRequest, device: torch.device) -> "Anchor | None":
        """The anchor of a stage; none at the first center, where nothing is known yet."""
        if "importance" not in request.state:
            return None
        importance = {name: value.to(device) for name, value in request.state["importance"].items()}
        return cls({name: value.to(device) for name, value in request.weights.items()}, importance)

    def cost(self, network: LesionNet) -> Tensor:
        """The squares of how far the parameters have moved, weighed by their importance, summed up."""
        costs = [
            (self.importance[name] * (value - self.weights[name]).square()).sum()
            for name, value in network.named_parameters()
        ]
        return torch.stack(costs).sum()


@dataclass(frozen=True, eq=False)
class Anchored(Method):
    """A method that holds the parameters at the anchor."""

    anchor: Anchor | None
    strength: float
    decay: float
    """What is left of the importance after each further center."""
    seed: int
    """Draws the patches that the importance is measured on."""

    def penalty(self, network: LesionNet, batch: Batch, scores: Tensor) -> Tensor | None:
        """It depends on the network's parameters alone."""
        return self.strength * self.anchor.cost(network) if self.anchor else None

    def measured(self, network: LesionNet, batches: Iterable[Batch]) -> Weights:
        """A center's own importance of each parameter, from batches of its patches."""
        raise NotImplementedError

    def after_training(self, network: LesionNet, own: Sequence[Patches], recipe: Recipe) -> State:
        """The running importance after this center."""
        sampler = PatchSampler(own, (), replace(recipe, replayed=0), np.random.default_rng(self.seed))
        device = next(network.parameters()).device
        here = self.measured(network, (sampler.batch(device) for _ in range(BATCHES)))
        return {"importance": running(self.anchor.importance if self.anchor else None, here, self.decay)}


def importance_seed(run_seed: int, request: TrainRequest) -> int:
    """What draws the patches that a stage's importance is measured on."""
    return derive_seed(run_seed, "importance", request.task.stage, request.task.center)


def running(before: Mapping[str, Tensor] | None, here: Weights, decay: float) -> Weights:
    """The running importance after one more center."""
    return here if before is None else {name: decay * before[name].cpu() + value for name, value in here.items()}


def mean_over_patches(
    network: LesionNet, batches: Iterable[Batch], measure: Measure, size: Callable[[Tensor], Tensor]
) -> Weights:
    """The gradient of each patch's measure, by parameter, its `size` averaged over the patches of all batches."""
    parameters = dict(network.named_parameters())
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    patches = 0
    for batch in batches:
        for k in range(len(batch.images)):
            measured = measure(network, batch.images[k : k + 1], batch.labels[k : k + 1])
            gradients = torch.autograd.grad(measured, list(parameters.values()))
            for name, gradient in zip(parameters, gradients, strict=True):
                total[name] += size(gradient)
            patches += 1
    return {name: (value / patches).detach().cpu().contiguous() for name, value in total.items()}

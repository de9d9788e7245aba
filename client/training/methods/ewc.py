"""Elastic weight consolidation: parameters that earlier centers depend on are held where they were.

Kirkpatrick et al. 2017, eq. 3, in its online form (Schwarz et al. 2018):

    penalty = lambda / 2 * sum_i F_i (theta_i - theta*_i)^2

F is the diagonal of the Fisher information, as the mean of squared gradients over a center's own patches.
The gradients are those of the training's loss, a Dice loss, which is no log-likelihood; so F says how much
the loss depends on a parameter, on a scale of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from client.training.losses import loss_of
from client.training.methods.importance import Anchor, Anchored, importance_seed, mean_over_patches
from client.training.sampler import Batch
from shared.config.groups import Loss
from shared.config.settings import Settings
from shared.model.network import LesionNet, scores_of
from shared.model.weights import Weights
from shared.wire.messages import TrainRequest


@dataclass(frozen=True, eq=False)
class EWC(Anchored):
    """Online EWC."""

    loss: Loss

    weighed_by = ("ewc-weight",)

    @classmethod
    def begin(cls, request: TrainRequest, settings: Settings, device: torch.device) -> Self:
        """Held at the model that came, by the importance that came with it."""
        return cls(
            anchor=Anchor.of(request, device),
            strength=settings.ewc.ewc_weight / 2,
            decay=settings.ewc.ewc_decay,
            seed=importance_seed(settings.run.seed, request),
            loss=settings.training.loss,
        )

    def measured(self, network: LesionNet, batches: Iterable[Batch]) -> Weights:
        """The diagonal of the Fisher information, by each patch's loss."""
        return mean_over_patches(network, batches, self._loss, torch.square)

    def _loss(self, network: LesionNet, image: Tensor, label: Tensor) -> Tensor:
        return loss_of(network, scores_of(network, image), label, self.loss)

"""Learning without Forgetting: the training is held near what the model that came answers on the same patches.

In Li & Hoiem 2016 a frozen copy of the incoming model, the teacher, sees the patches of each batch, and
the student pays for every voxel on which it answers otherwise. Nothing but the model travels.

Li & Hoiem compare class probabilities by cross-entropy, which one soft segmentation lacks, and
which counts mostly the background. The distance here is the Dice loss with squares in its
denominator (Milletari et al. 2016, V-Net), which for two answers p and q is

    sum (p - q)^2 / (sum p^2 + sum q^2 + 1), over all voxels of the batch

Where both answers are 0 or 1 it is the Dice loss of the training, smoothed alike. Unlike that one
it is zero where two soft answers agree, and nowhere else; and it is flat there, so that the
training is drawn back by as much as it has moved, and free to begin. It lies in [0, 1) as the loss
does, needs no temperature, and serves both activations. A weight of 1 is Li & Hoiem's.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from client.training.losses import distance
from client.training.methods.base import Method
from client.training.sampler import Batch
from shared.config.settings import Settings
from shared.model.network import LesionNet, network_with, scores_of, soft_segmentation
from shared.wire.messages import TrainRequest


@dataclass(frozen=True, eq=False)
class LwF(Method):
    """The weighted distance between the answers of student and teacher."""

    teacher: LesionNet | None
    """The model that came; none at the first center, whose fresh network knows nothing to be held to."""
    weight: float

    weighed_by = ("distillation-weight",)

    @classmethod
    def begin(cls, request: TrainRequest, settings: Settings, device: torch.device) -> Self:
        """The teacher is the model that came."""
        teacher = None
        if request.task.stage:
            teacher = network_with(request.weights, settings.network, device).eval().requires_grad_(False)
        return cls(teacher, settings.lwf.distillation_weight)

    def penalty(self, network: LesionNet, batch: Batch, scores: Tensor) -> Tensor | None:
        """The distance between both answers to the batch, over all of its voxels."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            theirs = soft_segmentation(scores_of(self.teacher, batch.images), self.teacher.settings.activation)
        return self.weight * distance(soft_segmentation(scores, network.settings.activation), theirs)

"""Distillation: the training is held near what the model that came answers on the same patches.

Learning without Forgetting (Li & Hoiem 2016): a frozen copy of the incoming model, the teacher,
sees the patches of each batch, and the student pays for every voxel on which it answers otherwise.
Nothing but the model travels.

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

import torch
from monai.losses.dice import DiceLoss
from torch import Tensor

from client.training.losses import scores_of
from shared.config.settings import Settings
from shared.model.network import LesionNet, network_with, soft_segmentation
from shared.wire.messages import TrainRequest

_dice = DiceLoss(batch=True, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0)


@dataclass(frozen=True, eq=False)
class Distillation:
    """The weighted distance between the answers of student and teacher."""

    teacher: LesionNet
    weight: float

    def __call__(self, network: LesionNet, images: Tensor, scores: Tensor) -> Tensor:
        """`scores` are what `network` gives for `images`, both (B, 1, D, H, W)."""
        with torch.no_grad():
            theirs = soft_segmentation(scores_of(self.teacher, images), self.teacher.settings.activation)
        return self.weight * distance(soft_segmentation(scores, network.settings.activation), theirs)


def distillation(request: TrainRequest, settings: Settings, device: torch.device) -> Distillation:
    """What holds the training near the answers of the model that came."""
    teacher = network_with(request.weights, settings.network, device).eval().requires_grad_(False)
    return Distillation(teacher, settings.retention.distillation_weight)


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Between two soft segmentations of one shape, over all of their voxels; in [0, 1)."""
    apart: Tensor = _dice(one, other)
    return apart

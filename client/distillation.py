"""Distillation: the training is held near what the model that came answers on the same patches.

Learning without Forgetting (Li & Hoiem 2016): a frozen copy of the incoming model, the teacher,
sees the patches of each batch, and the student pays for every voxel on which it answers otherwise.
Nothing but the model travels.

Li & Hoiem compare class probabilities by cross-entropy, which one soft segmentation lacks, and
which counts mostly the background. The distance here is a Dice semimetric loss (Wang et al. 2023,
arXiv:2303.16296, the first of their two), made for soft labels and for distillation:

    |p - q| / (|p| + |q| + 1), with |.| the sum over all voxels of the batch

Where both answers are 0 or 1 it is the Dice loss of the training, smoothed alike; unlike that one,
it is zero where two soft answers agree, and nowhere else. So it lies in [0, 1) as the loss does,
needs no temperature, and serves both activations. A weight of 1 is Li & Hoiem's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from client.steps import scores_of
from shared.messages import TrainRequest
from shared.network import LesionNet, network_with, soft_segmentation
from shared.settings import Settings


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
    return (one - other).abs().sum() / (one.sum() + other.sum() + 1)

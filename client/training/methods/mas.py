"""Memory aware synapses: parameters that the answers of earlier centers' model depend on are held where they were.

Aljundi et al. 2018 (ECCV, eq. 2 to 4):

    penalty = lambda * sum_i Omega_i (theta_i - theta*_i)^2

Omega_i is how much a small change of theta_i changes what the network answers: the mean, over a center's
own patches, of |d g / d theta_i|, where g is the squared L2 norm of the answer. It needs no label. The answer
here is the soft segmentation of a patch, its norm taken as a mean over voxels, so that lambda does not hang on
the size of a patch. Over centers, Omega is added up, as in the paper, or decays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from client.training.methods.importance import Anchor, Anchored, importance_seed, mean_over_patches
from client.training.sampler import Batch
from shared.config.settings import Settings
from shared.model.network import LesionNet, scores_of, soft_segmentation
from shared.model.weights import Weights
from shared.wire.messages import TrainRequest


@dataclass(frozen=True, eq=False)
class MAS(Anchored):
    """Memory aware synapses."""

    weighed_by = ("mas-weight",)

    @classmethod
    def begin(cls, request: TrainRequest, settings: Settings, device: torch.device) -> Self:
        """Held at the model that came, by the importance that came with it."""
        return cls(
            anchor=Anchor.of(request, device),
            strength=settings.mas.mas_weight,
            decay=settings.mas.mas_decay,
            seed=importance_seed(settings.run.seed, request),
        )

    def measured(self, network: LesionNet, batches: Iterable[Batch]) -> Weights:
        """How much each patch's answer depends on each parameter."""
        return mean_over_patches(network, batches, _squared_norm, torch.abs)


def _squared_norm(network: LesionNet, image: Tensor, label: Tensor) -> Tensor:
    return soft_segmentation(scores_of(network, image), network.settings.activation).square().mean()

"""Dark experience replay: exemplars carry what the model that chose them answered, and are to be answered so again.

DER++ (Buzzega et al. 2020, eq. 6) adds to replay, which trains on exemplars by their labels, a distance from the
answer that was given when the exemplar was stored:

    loss = loss of fresh and replayed patches by their labels + alpha * distance from the stored answers

Buzzega et al. store logits and take their mean squared error. One soft segmentation has no classes to weigh
against each other, and its logits are mostly about background that is certain; so the soft answer is stored, one
byte a voxel, and the distance is `lwf`'s: the Dice loss with squares in its denominator, over the replayed
patches of a batch. Where exemplars are merged into the training set (`paper` mode), those of a batch count.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from client.training.losses import distance
from client.training.methods.base import Method
from client.training.sampler import Batch
from shared.config.settings import Settings
from shared.model.network import LesionNet, scores_of, soft_segmentation
from shared.replay.exemplar import Exemplar
from shared.wire.messages import TrainRequest


@dataclass(frozen=True, eq=False)
class DERpp(Method):
    """The weighted distance between the answers now and those that were stored."""

    weight: float

    weighed_by = ("derpp-weight",)

    @classmethod
    def begin(cls, request: TrainRequest, settings: Settings, device: torch.device) -> Self:
        """The stored answers come with the exemplars."""
        return cls(settings.derpp.derpp_weight)

    def penalty(self, network: LesionNet, batch: Batch, scores: Tensor) -> Tensor | None:
        """The distance over the replayed patches; none where the batch has none."""
        if "answer" not in batch.extras:
            return None
        # Zero where there is no stored answer, on both sides: such a patch adds nothing to any of the sums.
        replayed = batch.replayed.view(-1, 1, 1, 1, 1)
        now = soft_segmentation(scores, network.settings.activation) * replayed
        return self.weight * distance(now, batch.extras["answer"])

    def annotate(self, exemplar: Exemplar, network: LesionNet) -> Exemplar:
        """The exemplar with what the trained network answers to it."""
        device = next(network.parameters()).device
        image = torch.from_numpy(exemplar.decode()[0])[None, None].to(device)
        with torch.no_grad():
            answer = soft_segmentation(scores_of(network, image), network.settings.activation)[0, 0]
        return exemplar.carrying("answer", np.asarray(answer.cpu(), dtype=np.float32))

"""What a method may do to a center's training: hooks that do nothing here, and that each method fills as it needs.

`penalty` and `adjust_gradients` are called in every step, on the training's device. They may be captured and run again
as they were (a CUDA graph): no `.item()`, no branch on a tensor's value, no counter of Python's. `after_step` may do
anything.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from client.training.sampler import Batch, Patches, Recipe
from shared.config.settings import Settings
from shared.model.network import LesionNet
from shared.model.weights import State
from shared.replay.exemplar import Exemplar
from shared.wire.messages import TrainRequest


class Method:
    """A training without any hold: fine-tuning, and replay, whose memory comes without its doing."""

    weighed_by: ClassVar[tuple[str, ...]] = ()
    """The keys that say what its penalty weighs, for who must lower them."""

    @classmethod
    def begin(cls, request: TrainRequest, settings: Settings, device: torch.device) -> Self:
        """The method for one stage: `request` has the model and the state that came.

        Whatever it draws follows from `settings.run.seed` and what the draw is for (shared/seeds.py).
        """
        return cls()

    def penalty(self, network: LesionNet, batch: Batch, scores: Tensor) -> Tensor | None:
        """What is added to the loss of a step, a number; `scores`, (B, 1, D, H, W), are the network's for the batch."""
        return None

    def adjust_gradients(self, network: LesionNet, batch: Batch) -> None:
        """Change the gradients in place, between the backward pass and the optimiser's step."""

    def after_step(self, network: LesionNet, step: int) -> None:
        """Whatever is to be done once the optimiser's step number `step`, from 1, was taken."""

    def rehearse(self, memory: list[Sequence[Patches]], random: np.random.Generator) -> list[Sequence[Patches]]:
        """What is trained on beside the center's own patches: by center, in place of what is in the memory."""
        return memory

    def after_training(self, network: LesionNet, own: Sequence[Patches], recipe: Recipe) -> State:
        """What goes on beside the model; `own` are the center's volumes, `recipe` says how patches are drawn."""
        return {}

    def annotate(self, exemplar: Exemplar, network: LesionNet) -> Exemplar:
        """The exemplar as it is handed on, with what the trained network has to say of it."""
        return exemplar

    def state_dict(self) -> dict[str, Any]:
        """What the next steps depend on, for a checkpoint: tensors, numbers and strings."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another of its kind was."""

"""The steps of a stage on a CPU: one after another."""

import time
from typing import Any

import numpy as np
import torch

from client.training.augmentation.augment import Augmentation
from client.training.losses import cost
from client.training.methods.base import Method
from client.training.optimisers import Optimisation
from client.training.plan import Plan
from client.training.sampler import CPU, Batch, PatchSampler, batch_of
from shared.config.groups import TrainingSettings
from shared.model.network import LesionNet


class EagerSteps:
    """One step after another."""

    block = 1

    def __init__(
        self, network: LesionNet, method: Method, plan: Plan, options: TrainingSettings, random: np.random.Generator
    ) -> None:
        self._network, self._method, self._options = network, method, options
        self._optimisation = Optimisation(
            network, options, plan.before + plan.steps + plan.after, plan.steps_per_epoch, plan.before
        )
        self._sampler = PatchSampler(plan.own, plan.past, plan.recipe, random)
        self._augmentation = Augmentation.of(options, random, CPU) if options.augmentations else None
        self._taken = 0
        self.computing = 0.0

    def take(self, count: int, ahead: int) -> list[float]:
        """As `Steps` of client/training/trainer.py says."""
        losses = []
        for _ in range(count):
            batch = self._batch()
            begun = time.perf_counter()
            loss = cost(self._network, self._method, batch, self._options)
            self._optimisation.step()
            self._taken += 1
            self._method.after_step(self._network, self._taken)
            losses.append(loss.item())
            self.computing += time.perf_counter() - begun
        return losses

    def _batch(self) -> Batch:
        if self._augmentation is None:
            return self._sampler.batch()
        cuts = self._sampler.draw()
        table = torch.from_numpy(self._augmentation.table(cuts, self._taken))
        return self._augmentation.apply(batch_of(cuts), table)

    def state_dict(self) -> dict[str, Any]:
        """As `Steps` says."""
        return {"optimisation": self._optimisation.state_dict(), "sampler": self._sampler.state()}

    def load_state_dict(self, state: dict[str, Any], taken: int) -> None:
        """As `Steps` says."""
        self._optimisation.load_state_dict(state["optimisation"])
        self._sampler.restore(state["sampler"])
        self._taken = taken

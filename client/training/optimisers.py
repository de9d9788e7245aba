"""The optimiser of a stage, or two of them, each with its schedule.

`muon` moves each convolution's kernels along their orthogonalised momentum (Jordan et al. 2024, by PyTorch's own
`torch.optim.Muon`, which takes matrices: a kernel is one of (out, in x voxels), as in that work), and what is no
kernel of several channels by AdamW.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR

from shared.config.groups import TrainingSettings
from shared.model.network import LesionNet

WARM_UP = 0.1
"""Share of a one-cycle stage in which the learning rate rises."""


class KernelMuon(Muon):
    """PyTorch's Muon over convolution kernels, each (out, in, D, H, W) taken as a matrix (out, D x H x W x in)."""

    def __init__(self, kernels: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        self._kernels = list(kernels)
        # Views, so that what moves them moves the kernels, whichever of the two layouts these have.
        matrices = [_matrix(kernel.detach(), kernel).requires_grad_() for kernel in self._kernels]
        super().__init__(matrices, lr=lr, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move the kernels along what their gradients ask for."""
        for kernel, matrix in zip(self._kernels, self.param_groups[0]["params"], strict=True):
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad, kernel)
        return super().step(closure)  # type: ignore[no-untyped-call]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the kernels' gradients."""
        super().zero_grad(set_to_none)
        for kernel in self._kernels:
            kernel.grad = None


def _matrix(values: Tensor, kernel: Tensor) -> Tensor:
    """A kernel's values, or its gradient, as a matrix; of values that lie as the kernel does a view, and no copy."""
    if kernel.is_contiguous(memory_format=torch.channels_last_3d):
        values = values.permute(0, 2, 3, 4, 1)
    return values.flatten(1)


class Optimisation:
    """What moves a network's weights, step by step of its schedule over all rounds of a stage.

    One schedule, and not one a round: with `one-cycle`, each average would be driven off again at the full rate by a
    fresh cycle, and the last would be no better settled than the first.
    """

    def __init__(
        self, network: LesionNet, options: TrainingSettings, steps: int, steps_per_epoch: int, before: int = 0
    ) -> None:
        self.optimisers = _optimisers(network, options)
        self._schedules = [_schedule(one, options, steps, steps_per_epoch, before) for one in self.optimisers]

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Of the next step, one an optimiser."""
        return tuple(one.param_groups[0]["lr"] for one in self.optimisers)

    def step(self) -> None:
        """Move the weights, forget the gradients, and go on to the learning rate of the next step."""
        for one, schedule in zip(self.optimisers, self._schedules, strict=True):
            one.step()
            one.zero_grad(set_to_none=True)
            schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on; `load_state_dict` takes it."""
        return {
            "optimisers": [one.state_dict() for one in self.optimisers],
            "schedules": [schedule.state_dict() for schedule in self._schedules],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another one for the same network was."""
        for one, its in zip(self.optimisers, state["optimisers"], strict=True):
            one.load_state_dict(its)
        for schedule, its in zip(self._schedules, state["schedules"], strict=True):
            schedule.load_state_dict(its)


def _optimisers(network: LesionNet, options: TrainingSettings) -> list[Optimizer]:
    rate, decay = options.learning_rate, options.weight_decay
    parameters = list(network.parameters())
    if options.optimiser == "adamw":
        return [AdamW(parameters, lr=rate, weight_decay=decay, foreach=True)]
    # A kernel from or to a single channel is a vector, which has no directions to even out.
    kernels = [one for one in parameters if one.ndim == 5 and min(one.shape[:2]) > 1]
    rest = [one for one in parameters if not any(one is kernel for kernel in kernels)]
    muon = KernelMuon(kernels, lr=options.muon_learning_rate, weight_decay=decay)
    return [muon, AdamW(rest, lr=rate, weight_decay=decay, foreach=True)]


def _schedule(
    optimiser: Optimizer, options: TrainingSettings, steps: int, steps_per_epoch: int, before: int
) -> LRScheduler:
    """The schedule over all `steps`, at the step that comes after those `before`."""
    schedule: LRScheduler
    if options.schedule == "one-cycle":
        rate, rise = optimiser.param_groups[0]["lr"], max(WARM_UP, 2 / (steps + 1))
        cycles = "betas" in optimiser.defaults  # AdamW's momentum goes down and up again; Muon's stays
        schedule = OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=rise, cycle_momentum=cycles)
    else:
        factor = options.decay_factor if options.schedule == "step" else 1.0
        schedule = StepLR(optimiser, step_size=options.decay_epochs * steps_per_epoch, gamma=factor)
    if before:
        optimiser.step()  # without gradients it moves nothing; a scheduler wants to see one first
    for _ in range(before):
        schedule.step()
    return schedule

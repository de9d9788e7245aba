"""The optimiser of a stage, or two of them, each with its schedule.

`muon` moves each convolution's kernels along their orthogonalised momentum (Jordan et al. 2024, by PyTorch's own
`torch.optim.Muon`, which takes matrices: a kernel is one of (out, in x voxels), as in that work), and what is no
kernel of several channels by AdamW.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, PolynomialLR, StepLR

from shared.config.groups import TrainingSettings
from shared.model.network import LesionNet

WARM_UP = 0.1
"""Share of a one-cycle stage in which the learning rate rises."""

POWER = 0.9
"""Of the polynomial decay (Chen et al. 2017, DeepLab; Isensee et al. 2021, nnU-Net)."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5, by Jordan et al. 2024, as in PyTorch."""

NEWTON_SCHULZ_STEPS = 5

EPSILON = 1e-7
"""Least norm that a gradient is divided by."""


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
        if isinstance(self.param_groups[0]["lr"], Tensor):
            return self._step_by_tensor()
        return super().step(closure)  # type: ignore[no-untyped-call]

    def _step_by_tensor(self) -> None:
        """As PyTorch's, which asks the device for the learning rate, and so cannot be captured."""
        group = self.param_groups[0]
        rate, momentum = group["lr"], group["momentum"]
        for matrix in group["params"]:
            if matrix.grad is None:
                continue
            state = self.state[matrix]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(matrix.grad)
            state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
            update = orthogonalised(matrix.grad.lerp(state["momentum_buffer"], momentum))
            matrix.mul_(1 - rate * group["weight_decay"])
            matrix.sub_(update * (rate * math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))))

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


class CycledAdamW(AdamW):
    """PyTorch's AdamW, whose learning rate and momentum may lie on the device and change there.

    PyTorch's own asks the device for the momentum in the ways of it that take all parameters at once.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move the parameters that have a gradient, each of a state of PyTorch's names."""
        group = self.param_groups[0]
        rate, (momentum, second) = group["lr"], group["betas"]
        moved = [one for one in group["params"] if one.grad is not None]
        for one in moved:
            if not self.state[one]:
                zeros = (torch.zeros_like(one, memory_format=torch.preserve_format) for _ in range(2))
                step = torch.zeros((), device=one.device)
                self.state[one] |= dict(zip(("step", "exp_avg", "exp_avg_sq"), (step, *zeros), strict=True))
        if not moved:
            return
        gradients = [one.grad for one in moved]
        steps, means, squares = ([self.state[one][name] for one in moved] for name in ("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1)
        torch._foreach_mul_(moved, 1 - rate * group["weight_decay"])
        torch._foreach_mul_(means, momentum)
        torch._foreach_add_(means, torch._foreach_mul(gradients, 1 - momentum))
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        taken = steps[0]
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, (1 - second**taken).sqrt())
        torch._foreach_add_(roots, group["eps"])
        moves = torch._foreach_div(means, roots)
        torch._foreach_mul_(moves, rate / (1 - momentum**taken))
        torch._foreach_sub_(moved, moves)


def orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest half-orthogonal matrix, or near it, in bfloat16: five steps of Newton-Schulz (Jordan et al. 2024)."""
    wide = matrix.bfloat16()
    wide = wide if len(wide) <= len(wide[0]) else wide.T
    wide = wide / wide.norm().clamp(min=EPSILON)
    linear, cubic, quintic = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return wide if wide.shape == matrix.shape else wide.T


class Optimisation:
    """What moves a network's weights, step by step of its schedule over all rounds of a stage.

    One schedule, and not one a round: with `one-cycle`, each average would be driven off again at the full rate by a
    fresh cycle, and the last would be no better settled than the first.
    """

    def __init__(
        self, network: LesionNet, options: TrainingSettings, steps: int, steps_per_epoch: int, before: int = 0
    ) -> None:
        self.optimisers = _optimisers(network, options, {"foreach": True})
        self._schedules = [_schedule(one, options, steps, steps_per_epoch, before) for one in self.optimisers]

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Of the next step, one an optimiser."""
        return tuple(one.param_groups[0]["lr"] for one in self.optimisers)

    def foreseen(self, count: int) -> list[list[tuple[float, float]]]:
        """Learning rate and momentum of the next `count` steps, one pair an optimiser; this one has then gone on."""
        found = []
        for one in self.optimisers:
            one.step()  # without gradients it moves nothing; a scheduler wants to see one first
        for _ in range(count):
            groups = [one.param_groups[0] for one in self.optimisers]
            found.append([(group["lr"], group["betas"][0] if "betas" in group else 0.0) for group in groups])
            for schedule in self._schedules:
                schedule.step()
        return found

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


class CapturedOptimisation:
    """As `Optimisation`, of which nothing is decided on the host: its steps may be captured and run again (CUDA).

    The learning rates (and AdamW's momentum) of all steps lie in a table on the device; how many steps were taken
    says which line counts.
    """

    def __init__(
        self, network: LesionNet, options: TrainingSettings, steps: int, steps_per_epoch: int, before: int, count: int
    ) -> None:
        device = next(network.parameters()).device
        usual = Optimisation(network, options, steps, steps_per_epoch, before)
        self._table = torch.tensor(usual.foreseen(count), dtype=torch.float32, device=device)
        self._now = torch.zeros(self._table.shape[1:], dtype=torch.float32, device=device)
        cycles = options.schedule == "one-cycle"
        ways = {"capturable": True, "fused": True} if device.type == "cuda" and not cycles else {"foreach": False}
        self.optimisers = _optimisers(network, options, ways, CycledAdamW if cycles else AdamW)
        for one, (rate, momentum) in zip(self.optimisers, self._now, strict=True):
            group = one.param_groups[0]
            group["lr"] = rate
            if cycles and "betas" in group:
                group["betas"] = (momentum, group["betas"][1])

    def step(self, taken: Tensor) -> None:
        """Move the weights as step number `taken` (1,), from 0, does, and forget the gradients."""
        self._now.copy_(self._table.index_select(0, taken)[0])
        for one in self.optimisers:
            one.step()
            one.zero_grad(set_to_none=True)

    def begin(self) -> None:
        """Forget all steps that were taken, where the optimisers keep what they know."""
        for state in self._states():
            for value in state.values():
                value.zero_()

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on but for their number; `load_state_dict` takes it."""
        return {"optimisers": [dict(state) for state in self._states()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another one was, which took a step at least, as this one has."""
        for mine, its in zip(self._states(), state["optimisers"], strict=True):
            for name, value in mine.items():
                value.copy_(its[name])

    def _states(self) -> list[dict[str, Tensor]]:
        return [one.state[p] for one in self.optimisers for p in one.param_groups[0]["params"]]


def _optimisers(
    network: LesionNet, options: TrainingSettings, ways: dict[str, Any], adamw: type[AdamW] = AdamW
) -> list[Optimizer]:
    rate, decay = options.learning_rate, options.weight_decay
    parameters = list(network.parameters())
    if options.optimiser == "adamw":
        return [adamw(parameters, lr=rate, weight_decay=decay, **ways)]
    # A kernel from or to a single channel is a vector, which has no directions to even out.
    kernels = [one for one in parameters if one.ndim == 5 and min(one.shape[:2]) > 1]
    rest = [one for one in parameters if not any(one is kernel for kernel in kernels)]
    muon = KernelMuon(kernels, lr=options.muon_learning_rate, weight_decay=decay)
    return [muon, adamw(rest, lr=rate, weight_decay=decay, **ways)]


def _schedule(
    optimiser: Optimizer, options: TrainingSettings, steps: int, steps_per_epoch: int, before: int
) -> LRScheduler:
    """The schedule over all `steps`, at the step that comes after those `before`."""
    schedule: LRScheduler
    if options.schedule == "one-cycle":
        rate, rise = optimiser.param_groups[0]["lr"], max(WARM_UP, 2 / (steps + 1))
        cycles = "betas" in optimiser.defaults  # AdamW's momentum goes down and up again; Muon's stays
        schedule = OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=rise, cycle_momentum=cycles)
    elif options.schedule == "polynomial":
        schedule = PolynomialLR(optimiser, total_iters=steps, power=POWER)
    else:
        factor = options.decay_factor if options.schedule == "step" else 1.0
        schedule = StepLR(optimiser, step_size=options.decay_epochs * steps_per_epoch, gamma=factor)
    if before:
        optimiser.step()  # without gradients it moves nothing; a scheduler wants to see one first
    for _ in range(before):
        schedule.step()
    return schedule

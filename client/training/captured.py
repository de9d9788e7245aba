"""The steps of a stage on a GPU: captured once and run again, with nothing to wait for.

They are those of `EagerSteps` (client/training/eager.py): draw, forward, loss, backward, optimiser. The host draws
the places of a block of steps while the device is at the block before, and all else is one CUDA graph, which finds its
patches, its learning rate and where to write its loss by the number of steps that were taken (Gray 2019, Getting
Started with CUDA Graphs).
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from client.training.arena import COLUMNS, Arena
from client.training.augmentation.augment import Augmentation
from client.training.augmentation.draws import identities
from client.training.losses import cost
from client.training.methods.base import Method
from client.training.optimisers import CapturedOptimisation
from client.training.plan import Plan
from client.training.sampler import PatchSampler
from shared.config.groups import TrainingSettings
from shared.errors import TrainingError
from shared.model.network import LesionNet

BLOCK = 64
"""Steps whose places are drawn and sent at once."""

WARM_UP = 3
"""Steps before the capture, in which libraries choose their ways and get their memory."""

WRONG = 0.05
"""Share by which bfloat16 convolutions may differ from float32 ones; rounding makes 0.004."""


class CapturedSteps:
    """Steps as one CUDA graph. On a CPU, which captures nothing, the same steps by the same tables.

    Raises `TrainingError` where the device's bfloat16 convolutions are wrong.
    """

    block = BLOCK

    def __init__(
        self, network: LesionNet, method: Method, plan: Plan, options: TrainingSettings, random: np.random.Generator
    ) -> None:
        self._network, self._method, self._options = network, method, options
        device = self._device = next(network.parameters()).device
        if device.type == "cuda":
            check_convolutions(device, options.patches, network.settings.features, options.patch_size // 2)
        self._size = plan.recipe.patch_size + 2 * options.margin
        self._after = type(method).after_step is not Method.after_step
        self._optimisation = CapturedOptimisation(
            network, options, plan.before + plan.steps + plan.after, plan.steps_per_epoch, plan.before, plan.steps
        )
        self._sampler = PatchSampler(plan.own, plan.past, plan.recipe, random)
        self._augmentation = Augmentation.of(options, random, device) if options.augmentations else None
        past = [one for stratum in plan.past for center in stratum for one in center]
        self._arena = Arena.for_all([*plan.own, *past], device)
        # For each step of a block its patches' places, and what is drawn for their augmentation.
        self._tables = torch.zeros((BLOCK, plan.recipe.patches, COLUMNS), dtype=torch.int64, device=device)
        self._rows = torch.from_numpy(identities(BLOCK * plan.recipe.patches)).to(device)
        self._rows = self._rows.view(BLOCK, plan.recipe.patches, -1)
        self._taken = torch.zeros(1, dtype=torch.int64, device=device)
        self._first = torch.zeros(1, dtype=torch.int64, device=device)
        self._losses = torch.zeros(plan.steps, dtype=torch.float32, device=device)
        self._done = 0
        self._state = self._sampler.state()
        self._drawn: list[Tensor] = []
        self.computing = 0.0
        self._replay = self._captured()

    def _step(self) -> None:
        """One step, in which the host decides nothing."""
        step = self._taken - self._first
        batch = self._arena.gather(self._tables.index_select(0, step)[0], self._size)
        if self._augmentation is not None:
            batch = self._augmentation.apply(batch, self._rows.index_select(0, step)[0])
        loss = cost(self._network, self._method, batch, self._options)
        self._optimisation.step(self._taken)
        self._losses.index_copy_(0, self._taken, loss.reshape(1))
        self._taken.add_(1)

    def _captured(self) -> Callable[[], None]:
        """The step, captured where the device is a GPU; the network and all else are then as they were."""
        kept = {name: value.clone() for name, value in self._network.state_dict().items()}
        self._tables[:, :, 1:4] = torch.tensor((self._size * self._size, self._size, 1), device=self._device)
        replay = self._step
        if self._device.type == "cuda":
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._warm_up()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step()
            replay = graph.replay
        else:
            self._warm_up()
        self._network.load_state_dict(kept)
        self._optimisation.begin()
        return replay

    def _warm_up(self) -> None:
        for _ in range(WARM_UP):
            self._step()
            self._taken.zero_()

    def _draw(self, count: int, first: int) -> None:
        """The places of the next steps, from step `first` on, and their augmentation; sources come to the device."""
        self._state = self._sampler.state()
        steps = [self._sampler.draw() for _ in range(count)]
        self._drawn = [torch.from_numpy(np.stack([self._arena.table(cuts) for cuts in steps]))] if steps else []
        if steps and self._augmentation is not None:
            rows = [self._augmentation.table(cuts, first + k) for k, cuts in enumerate(steps)]
            self._drawn.append(torch.from_numpy(np.stack(rows)))

    def take(self, count: int, ahead: int) -> list[float]:
        """As `Steps` of client/training/trainer.py says; at most `block` of either."""
        if not self._drawn:
            self._draw(count, self._done)
        if not self._drawn or len(self._drawn[0]) != count:
            raise ValueError(f"{count} steps are to be taken, but others were said to come")
        for there, drawn in zip((self._tables, self._rows), self._drawn, strict=False):
            there[:count] = drawn.to(self._device)
        self._first.fill_(self._done)
        clock = _Clock(self._device)
        for k in range(count):
            self._replay()
            if self._after:
                self._method.after_step(self._network, self._done + k + 1)
        clock.stop()
        self._draw(min(ahead, BLOCK), self._done + count)
        losses: list[float] = self._losses[self._done : self._done + count].tolist()
        self._done += count
        self.computing += clock.seconds
        return losses

    def state_dict(self) -> dict[str, Any]:
        """As `Steps` says."""
        return {"optimisation": self._optimisation.state_dict(), "sampler": self._state}

    def load_state_dict(self, state: dict[str, Any], taken: int) -> None:
        """As `Steps` says."""
        self._optimisation.load_state_dict(state["optimisation"])
        self._sampler.restore(state["sampler"])
        self._state, self._drawn, self._done = state["sampler"], [], taken
        self._taken.fill_(taken)


class _Clock:
    """Seconds from its making to its stop, on the device; known once the device is done."""

    def __init__(self, device: torch.device) -> None:
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []  # type: ignore[no-untyped-call]
        self._begun = self._stopped = time.perf_counter()
        for event in self._events[:1]:
            event.record()

    def stop(self) -> None:
        self._stopped = time.perf_counter()
        for event in self._events[1:]:
            event.record()

    @property
    def seconds(self) -> float:
        if self._events:
            return float(self._events[0].elapsed_time(self._events[1])) / 1000
        return self._stopped - self._begun


@cache
def check_convolutions(device: torch.device, patches: int, features: int, edge: int) -> None:
    """Raise `TrainingError` where a bfloat16 convolution, or its gradient, is not what float32 gives, but for rounding.

    Asked once a process. cuDNN 9.10.2 gave wrong results for large maps (PyTorch issue 163539).
    """
    with torch.random.fork_rng(devices=[device]):
        torch.manual_seed(0)
        features = min(features, 64)
        images = torch.randn((patches, features, edge, edge, edge), device=device).bfloat16()
        kernel = torch.randn((features, features, 3, 3, 3), device=device).bfloat16() / features
        images = images.contiguous(memory_format=torch.channels_last_3d)

    def answers(dtype: torch.dtype) -> list[Tensor]:
        x, k = images.to(dtype).requires_grad_(), kernel.to(dtype).requires_grad_()
        y = torch.nn.functional.conv3d(x, k, padding=1)
        return [y.detach(), *torch.autograd.grad(y.square().sum() / 2, (x, k))]

    for quick, exact in zip(answers(torch.bfloat16), answers(torch.float32), strict=True):
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        apart = float((quick.float() - exact).norm() / exact.norm())
        if not apart < WRONG:
            raise TrainingError(
                f"{torch.cuda.get_device_name(device)}: convolutions in bfloat16 differ from float32 by {apart:.1%} "
                f"(PyTorch {torch.__version__}, cuDNN {cudnn}): install another version of "
                "PyTorch, or set device = cpu"
            )

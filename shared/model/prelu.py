"""PyTorch's PReLU with one slope, whose way back does not crawl on a CPU where channels lie last.

There `torch.nn.PReLU` takes four times as long, most of it for the gradient of its one slope. What is computed is the
same, but for the order of that gradient's sum.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import leaky_relu

from shared.model.swap import swap


class SlopePReLU(nn.PReLU):
    """x where it is above zero, slope times x elsewhere (He et al. 2015), of any shape; on a GPU as PyTorch does it."""

    def __init__(self) -> None:
        super().__init__(num_parameters=1)

    def forward(self, features: Tensor) -> Tensor:
        if features.device.type != "cpu" or not self.weight.requires_grad:
            return super().forward(features)
        activated: Tensor = _SlopePReLU.apply(features, self.weight)  # type: ignore[no-untyped-call]
        return activated


class _SlopePReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(features, slope)
        return leaky_relu(features, slope.item())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        features, slope = ctx.saved_tensors
        back = torch.ops.aten.leaky_relu_backward(gradient, features, slope.item(), False)
        # Both as they lie in memory, so that neither is copied.
        below, along = (part.movedim(1, -1).reshape(-1) for part in (features.clamp_max(0), gradient))
        return back, torch.dot(below, along).reshape(slope.shape)


def with_slope_prelu(network: nn.Module) -> None:
    """Put this in the place of each of the network's PReLUs with one slope; its parameters keep their names."""
    swap(network, nn.PReLU, _quick)


def _quick(prelu: nn.PReLU) -> nn.PReLU:
    if prelu.num_parameters > 1:
        return prelu
    quick = SlopePReLU()
    quick.weight = prelu.weight
    return quick

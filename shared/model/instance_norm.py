"""Instance normalisation in the convolutions' own layout: right for one sample, quick for large maps.

PyTorch's own brings a map that lies channels last into another layout, normalises it, and leaves
it there for the next convolution to bring back: four passes over memory on the way to and fro. One
sample's instance normalisation is the batch normalisation of a batch of one, for which PyTorch has
a CPU kernel that keeps channels last. Small maps go PyTorch's own way: there the calls cost more
than the copies, which the processor's cache holds.

A single sample is trained on by batch normalisation whatever its size: PyTorch 2.13 on a CPU gives
`instance_norm` of a batch of one a wrong gradient where the gradient that comes lies channels last.
The network met no such gradient when this was written, which was luck (`tests/shared/model/test_instance_norm.py`).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm

LEAST = 2**20
"""Numbers in a map from which on this is the faster way. In the default scenario none is as large."""


class InstanceNorm(nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d` without parameters or running statistics, the same function but for rounding."""

    def __init__(self, features: int) -> None:
        super().__init__(features)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, D, H, W) to the same shape, each channel of each sample with mean 0 and variance 1."""
        if len(input) == 1 and input.requires_grad:
            return batch_norm(input, None, None, training=True, eps=self.eps)
        large = input.device.type == "cpu" and input.dtype == torch.float32 and input.numel() >= LEAST
        if large and input.is_contiguous(memory_format=torch.channels_last_3d):
            normalised: Tensor = _ChannelsLast.apply(input, self.eps)  # type: ignore[no-untyped-call]
            return normalised
        return super().forward(input)


class _ChannelsLast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, eps: float) -> Tensor:
        normalised = torch.empty_like(images)
        means, deviations = [], []
        for k in range(len(images)):
            one = slice(k, k + 1)
            normalised[one], mean, inverse = torch.native_batch_norm(
                images[one], None, None, None, None, True, 0.0, eps
            )
            means.append(mean)
            deviations.append(inverse)
        ctx.save_for_backward(images, torch.stack(means), torch.stack(deviations))
        ctx.eps = eps
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        images, means, deviations = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        result = torch.empty_like(images)
        for k in range(len(images)):
            one = slice(k, k + 1)
            result[one] = torch.ops.aten.native_batch_norm_backward(
                gradient[one],
                images[one],
                None,
                None,
                None,
                means[k],
                deviations[k],
                True,
                ctx.eps,
                [True, False, False],
            )[0]
        return result, None

"""Normalisation of each voxel over its channels: no statistics over space, no parameters.

Instance norm takes out of a patch how bright it is as a whole. In a FLAIR that is little lost; in a T2w lesion and
cerebrospinal fluid are told apart by just that. Here each voxel's features are divided by their root mean square
(the pixelwise feature vector normalisation of Karras et al. 2018, 4.2; RMSNorm, Zhang & Sennrich 2019, over channels),
so that what a voxel becomes hangs on its surroundings alone: a volume may go through the network in one piece, and
equals its windows but for their borders.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

EPSILON = 1e-5
"""Added to the mean square, so that a voxel of zeros stays zero."""


class ChannelNorm(nn.Module):
    """(B, C, D, H, W) to the same shape: each voxel divided by the root mean square over its channels."""

    def forward(self, features: Tensor) -> Tensor:
        normalised: Tensor = _ChannelNorm.apply(features)  # type: ignore[no-untyped-call]
        return normalised


def with_channel_norm(network: nn.Module) -> nn.Module:
    """The network, with this norm in the place of each of its instance norms, which have no parameters either.

    By itself, and not by shared/model/swap.py: a copy of this file goes into MONAI bundles and stands alone there.
    """
    for name, part in network.named_children():
        if isinstance(part, nn.InstanceNorm3d):
            setattr(network, name, ChannelNorm())
        else:
            with_channel_norm(part)
    return network


class _ChannelNorm(torch.autograd.Function):
    """Keeps what it gave and one number a voxel for the way back, where autograd would keep three maps."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        exact = torch.promote_types(features.dtype, torch.float32)
        inverse = torch.linalg.vector_norm(features, dim=1, keepdim=True, dtype=exact)
        inverse = inverse.square_().div_(features.shape[1]).add_(EPSILON).rsqrt_()
        normalised: Tensor = features * inverse.to(features.dtype)
        ctx.save_for_backward(normalised, inverse)
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # y = x r with r = (mean x^2 + e)^(-1/2), so dx = r (dy - y mean(dy y)).
        normalised, inverse = ctx.saved_tensors
        along = (gradient * normalised).mean(dim=1, keepdim=True, dtype=inverse.dtype)
        back: Tensor = torch.addcmul(gradient, normalised, along.to(gradient.dtype), value=-1.0)
        return back.mul_(inverse.to(gradient.dtype))

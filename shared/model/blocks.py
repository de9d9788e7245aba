"""The network's parts between its convolutions, and those convolutions that a GPU would rather have wider.

On a CPU each does what MONAI's own does, in its order. On a GPU norm, activation and the addition of a residual are one
pass over memory (shared/model/fused_norm.py), where Triton is there. The parameters keep MONAI's names.
"""

from functools import cache
from importlib.util import find_spec

import torch
from monai.networks.blocks.acti_norm import ADN
from monai.networks.blocks.convolutions import ResidualUnit
from torch import Tensor, nn
from torch.nn.functional import conv3d, conv_transpose3d, pad

from shared.model.channel_norm import EPSILON, ChannelNorm

WIDTH = 8
"""Tensor cores take channels in multiples of it; cuDNN copies every map that has others."""


@cache
def has_triton() -> bool:
    """Whether the fused kernels can be compiled here."""
    return find_spec("triton") is not None


def on_gpu(features: Tensor) -> bool:
    """Whether the ways that suit a GPU are gone."""
    return features.is_cuda and has_triton()


class NormActivation(nn.Module):
    """A norm without parameters and a PReLU, and what is added to them."""

    def __init__(self, adn: ADN) -> None:
        super().__init__()
        self.N: nn.Module = adn.N
        self.A: nn.Module = adn.A
        self.channels = 0
        """That are counted, of wider maps whose others are zero; 0: all."""

    def forward(self, features: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, C, D, H, W) and a residual of that shape, or none, to the same shape."""
        if on_gpu(features):
            return self._fused(features, residual)
        activated: Tensor = self.A(self.N(features))
        return activated if residual is None else activated + residual

    def _fused(self, features: Tensor, residual: Tensor | None) -> Tensor:
        from shared.model.fused_norm import ChannelNormActivation, InstanceNormActivation

        features = features.contiguous(memory_format=torch.channels_last_3d)
        if residual is not None:
            residual = residual.contiguous(memory_format=torch.channels_last_3d)
        if isinstance(self.N, ChannelNorm):
            return ChannelNormActivation.apply(
                features, self.A.weight, residual, EPSILON, self.channels or features.shape[1]
            )
        return InstanceNormActivation.apply(features, self.A.weight, residual, self.N.eps)


class Residual(nn.Module):
    """MONAI's residual unit: convolutions, and what they are added to."""

    def __init__(self, unit: ResidualUnit) -> None:
        super().__init__()
        self.conv = unit.conv
        self.residual = unit.residual

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, D, H, W) to (B, C', D', H', W')."""
        residual = self.residual(features)
        *before, last = self.conv
        for unit in before:
            features = unit(features)
        adn = getattr(last, "adn", None)
        if adn is None:
            return last(features) + residual
        return adn(last.conv(features), residual)


class WideConv(nn.Conv3d):
    """A convolution that on a GPU takes maps with channels of zeros after its own, and gives such."""

    def forward(self, input: Tensor) -> Tensor:
        if not on_gpu(input):
            return super().forward(input)
        spare = -self.out_channels % WIDTH
        weight = pad(self.weight, (0, 0, 0, 0, 0, 0, 0, input.shape[1] - self.in_channels, 0, spare))
        bias = None if self.bias is None else pad(self.bias, (0, spare))
        weight = weight.contiguous(memory_format=torch.channels_last_3d)
        return conv3d(input, weight, bias, self.stride, self.padding)


class WideConvTranspose(nn.ConvTranspose3d):
    """As `WideConv`, from a coarse grid to a fine one."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not on_gpu(input):
            return super().forward(input, output_size)
        spare = -self.out_channels % WIDTH
        weight = pad(self.weight, (0, 0, 0, 0, 0, 0, 0, spare, 0, input.shape[1] - self.in_channels))
        bias = None if self.bias is None else pad(self.bias, (0, spare))
        weight = weight.contiguous(memory_format=torch.channels_last_3d)
        return conv_transpose3d(input, weight, bias, self.stride, self.padding, self.output_padding)


def widened(conv: nn.Module) -> nn.Module:
    """The convolution, as one that a GPU may take wider; its parameters are the same."""
    if isinstance(conv, nn.Conv3d):
        conv.__class__ = WideConv
    elif isinstance(conv, nn.ConvTranspose3d):
        conv.__class__ = WideConvTranspose
    return conv

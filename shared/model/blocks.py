"""The network's parts, which on a GPU go other ways than MONAI's: fewer passes over memory, the same function.

On a CPU each does what MONAI's own does, in its order. On a GPU a convolution's bias, the norm, the activation and the
addition of a residual are one pass (shared/model/fused_norm.py), and the first and last convolutions, which have next
to no channels, are kernels of our own (shared/model/fused_conv.py). The parameters keep MONAI's names.
"""

from functools import cache
from importlib.util import find_spec

import torch
from monai.networks.blocks.acti_norm import ADN
from monai.networks.blocks.convolutions import Convolution, ResidualUnit
from torch import Tensor, nn
from torch.nn.functional import conv3d, conv_transpose3d, pad

from shared.model.channel_norm import EPSILON, ChannelNorm

WIDTH = 8
"""Tensor cores take channels in multiples of it; cuDNN copies every map that has others."""


@cache
def has_triton() -> bool:
    """Whether the kernels of our own can be compiled here."""
    return find_spec("triton") is not None


def on_gpu(features: Tensor) -> bool:
    """Whether the ways that suit a GPU are gone."""
    return features.is_cuda and has_triton()


class NormActivation(nn.Module):
    """A norm without parameters and a PReLU with one slope, and what is added to them."""

    def __init__(self, adn: ADN) -> None:
        super().__init__()
        self.N = adn.get_submodule("N")
        self.A = adn.get_submodule("A")

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, D, H, W) to the same shape."""
        activated: Tensor = self.A(self.N(features))
        return activated

    def fused(
        self, features: Tensor, bias: Tensor, residual: Tensor | None, shift: Tensor | None, channels: int
    ) -> Tensor:
        """As `forward` of features + bias, and then + residual + shift, on a GPU; all but `channels` are zeros."""
        from shared.model.fused_norm import ChannelNormActivation, InstanceNormActivation

        slope = self.A.get_parameter("weight")
        features = features.contiguous(memory_format=torch.channels_last_3d)
        if residual is not None:
            residual = residual.contiguous(memory_format=torch.channels_last_3d)
        done: Tensor
        if isinstance(self.N, ChannelNorm):
            done = ChannelNormActivation.apply(features, bias, slope, residual, shift, EPSILON, channels)  # type: ignore[no-untyped-call]
        else:
            done = InstanceNormActivation.apply(features, bias, slope, residual, shift, EPSILON)  # type: ignore[no-untyped-call]
        return done


class Unit(nn.Module):
    """MONAI's convolution, up or down, with its norm and activation."""

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        self.conv = convolution.get_submodule("conv")
        self.adn = NormActivation(convolution.get_submodule("adn"))  # type: ignore[arg-type]

    def forward(self, features: Tensor, residual: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """(B, C, D, H, W) to (B, C', D', H', W'); residual and shift are added to what comes out (on a GPU)."""
        if not on_gpu(features):
            activated: Tensor = self.adn(self.conv(features))
            return activated
        return self.after(without_bias(self.conv, features), residual, shift)

    def after(self, features: Tensor, residual: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """What comes after the convolution, of which the bias is still to be added, on a GPU."""
        bias = self.conv.get_parameter("bias")
        channels = len(bias)
        return self.adn.fused(features, pad(bias, (0, features.shape[1] - channels)), residual, shift, channels)


class Residual(nn.Module):
    """MONAI's residual unit: convolutions, and what they are added to."""

    def __init__(self, unit: ResidualUnit) -> None:
        super().__init__()
        self.conv = unit.conv
        self.residual = unit.residual

    @property
    def units(self) -> list[Unit]:
        """Its convolutions with norm and activation."""
        return [one for one in self.conv.children() if isinstance(one, Unit)]

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, D, H, W) to (B, C', D', H', W')."""
        if not on_gpu(features):
            added: Tensor = self.residual(features)
            return self.conv(features) + added  # type: ignore[no-any-return]
        *before, last = self.units
        residual, shift = features, None
        if not isinstance(self.residual, nn.Identity):
            residual, shift = without_bias(self.residual, features), self.residual.get_parameter("bias")
        for unit in before:
            features = unit(features)
        done: Tensor = last(features, residual, shift)
        return done


def without_bias(conv: nn.Module, features: Tensor, multiple: int = 1) -> Tensor:
    """What a convolution makes of its input but for its bias; from a coarse grid to a fine one with channels of zeros
    added, up to a multiple."""
    weight = conv.get_parameter("weight")
    if isinstance(conv, nn.ConvTranspose3d):
        wide = pad(weight, (0, 0, 0, 0, 0, 0, 0, -weight.shape[1] % multiple))
        wide = wide.contiguous(memory_format=torch.channels_last_3d)
        return conv_transpose3d(features, wide, None, conv.stride, conv.padding, conv.output_padding)  # type: ignore[arg-type]
    if isinstance(conv, nn.Conv3d):
        return conv3d(features, weight, None, conv.stride, conv.padding)
    raise TypeError(f"{type(conv).__name__} is no convolution")


def first_on_gpu(down: Residual, image: Tensor) -> Tensor:
    """The network's first residual unit, whose first convolution and residual both see the image, (B, 1, D, H, W)."""
    from shared.model.fused_conv import FirstConvolutions

    first, *between, last = down.units
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else image.dtype
    features, residual = FirstConvolutions.apply(  # type: ignore[no-untyped-call]
        image, first.conv.get_parameter("weight"), down.residual.get_parameter("weight"), dtype
    )
    shift = down.residual.get_parameter("bias")
    features = first.after(features)
    for unit in between:
        features = unit(features)
    done: Tensor = last(features, residual, shift)
    return done


def last_on_gpu(up: Unit, last: Residual, head: nn.Conv3d, features: Tensor) -> Tensor:
    """The network's last step to a finer grid, and its last residual unit and head as the one convolution they are.

    head(conv(x) + x) is linear in x: the head's weights over conv's kernel, and over the kernel that does nothing.
    """
    from shared.model.fused_conv import LastConvolution

    features = up.after(without_bias(up.conv, features, WIDTH))
    conv = last.conv.get_submodule("unit0.conv")
    weigh, kernel = head.weight.flatten(), conv.get_parameter("weight")
    with torch.autocast("cuda", enabled=False):
        composed = torch.einsum("o,oidhw->idhw", weigh, kernel)
        middle = torch.zeros_like(composed)
        middle[:, 1, 1, 1] = 1
        composed = composed + weigh[:, None, None, None] * middle
        bias = torch.dot(weigh, conv.get_parameter("bias"))
    if head.bias is not None:
        bias = bias + head.bias
    scores: Tensor = LastConvolution.apply(features, composed[None], bias)  # type: ignore[no-untyped-call]
    return scores


def with_own_parts(network: nn.Module) -> None:
    """Put these in the place of MONAI's, however deep they lie."""
    for name, part in network.named_children():
        with_own_parts(part)
        if isinstance(part, Convolution) and hasattr(part, "adn"):
            setattr(network, name, Unit(part))
        elif isinstance(part, ResidualUnit):
            setattr(network, name, Residual(part))

"""Norm, activation and the addition of a residual in one go on a GPU, over maps whose channels lie last.

By themselves each of the three reads and writes a whole map, and PyTorch's instance norm brings it into another
layout and back. Here the instance norm reads a map twice and writes it once, on the way back too; the channel norm
(shared/model/channel_norm.py) needs no second reading. All sums are taken in float32 and in a fixed order, so that the
same map gives the same bits. Written in Triton, which comes with PyTorch's CUDA builds and is missing elsewhere.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 4096
"""Numbers that a program holds at once."""

PROGRAMS = 64
"""Into which a sample's map is cut at most; each later one sums up what they found."""


@triton.jit
def _places(n, start, voxels, C: tl.constexpr, CP: tl.constexpr, ROWS: tl.constexpr):
    """Where a tile of a sample's map lies, (ROWS, CP), and what of it is within the map."""
    row, channel = start + tl.arange(0, ROWS), tl.arange(0, CP)
    inside = (row < voxels)[:, None] & (channel < C)[None, :]
    return (n.to(tl.int64) * voxels + row)[:, None] * C + channel[None, :], inside


@triton.jit
def _kept(stats, n, C: tl.constexpr, CP: tl.constexpr):
    """Mean and inverse deviation of each of a sample's channels, as the way forward kept them."""
    channel = tl.arange(0, CP)
    mean = tl.load(stats + n * 2 * C + channel, mask=channel < C, other=0.0)
    return mean, tl.load(stats + n * 2 * C + C + channel, mask=channel < C, other=0.0)


@triton.jit
def _normalised(x, bias, row, rows, epsilon, channels, C: tl.constexpr, CP: tl.constexpr):
    """Voxels over their channels' root mean square, with what they were multiplied by, their places, and which are."""
    channel = tl.arange(0, CP)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    at = row.to(tl.int64)[:, None] * C + channel[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + channel, mask=channel < C, other=0.0)[None, :]
    inverse = 1.0 / tl.sqrt(tl.sum(value * value, 1) / channels + epsilon)
    return value * inverse[:, None], inverse, at, inside


@triton.jit
def _sums(x, partial, voxels, C: tl.constexpr, CP: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr):
    """Sum and sum of squares of each channel over a share of a sample's voxels, to partial (N, shares, 2, C)."""
    k, n = tl.program_id(0), tl.program_id(1)
    shares = tl.num_programs(0)
    channel = tl.arange(0, CP)
    total = tl.zeros((CP,), tl.float32)
    squares = tl.zeros((CP,), tl.float32)
    for tile in range(TILES):
        at, inside = _places(n, (k * TILES + tile) * ROWS, voxels, C, CP, ROWS)
        value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        total += tl.sum(value, 0)
        squares += tl.sum(value * value, 0)
    to = partial + (n * shares + k) * 2 * C + channel
    tl.store(to, total, mask=channel < C)
    tl.store(to + C, squares, mask=channel < C)


@triton.jit
def _summed(partial, n, shares, which, PARTS: tl.constexpr, C: tl.constexpr, CP: tl.constexpr, SP: tl.constexpr):
    """The sum over all shares of one of a sample's PARTS figures, (C,)."""
    share, channel = tl.arange(0, SP), tl.arange(0, CP)
    at = ((n * shares + share) * PARTS + which)[:, None] * C + channel[None, :]
    inside = (share < shares)[:, None] & (channel < C)[None, :]
    return tl.sum(tl.load(partial + at, mask=inside, other=0.0), 0)


@triton.jit
def _instance_forward(
    x, partial, slope, residual, shift, y, stats, voxels, epsilon,
    ADDS: tl.constexpr, SHIFTS: tl.constexpr,
    C: tl.constexpr, CP: tl.constexpr, SP: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    k, n = tl.program_id(0), tl.program_id(1)
    shares = tl.num_programs(0)
    channel = tl.arange(0, CP)
    mean = _summed(partial, n, shares, 0, 2, C, CP, SP) / voxels
    square = _summed(partial, n, shares, 1, 2, C, CP, SP) / voxels
    inverse = 1.0 / tl.sqrt(tl.maximum(square - mean * mean, 0.0) + epsilon)
    first = channel < C - C * tl.minimum(k, 1)  # of the first program alone
    tl.store(stats + n * 2 * C + channel, mean, mask=first)
    tl.store(stats + n * 2 * C + C + channel, inverse, mask=first)
    a = tl.load(slope).to(tl.float32)
    for tile in range(TILES):
        at, inside = _places(n, (k * TILES + tile) * ROWS, voxels, C, CP, ROWS)
        value = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * inverse[None, :]
        value = tl.where(value > 0, value, a * value)
        if ADDS:
            value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
        if SHIFTS:
            value += tl.load(shift + channel, mask=channel < C, other=0.0)[None, :]
        tl.store(y + at, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _instance_back_sums(
    x,
    gradient,
    stats,
    slope,
    partial,
    voxels,
    C: tl.constexpr,
    CP: tl.constexpr,
    ROWS: tl.constexpr,
    TILES: tl.constexpr,
):
    """Per channel, to partial (N, shares, 4, C): sums of the gradient before the slope, and along the normalised map;
    the slope's own gradient; and the sum of what came."""
    k, n = tl.program_id(0), tl.program_id(1)
    shares = tl.num_programs(0)
    channel = tl.arange(0, CP)
    mean, inverse = _kept(stats, n, C, CP)
    a = tl.load(slope).to(tl.float32)
    total = tl.zeros((CP,), tl.float32)
    along = tl.zeros((CP,), tl.float32)
    below = tl.zeros((CP,), tl.float32)
    raw = tl.zeros((CP,), tl.float32)
    for tile in range(TILES):
        at, inside = _places(n, (k * TILES + tile) * ROWS, voxels, C, CP, ROWS)
        value = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * inverse[None, :]
        came = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32)
        raw += tl.sum(came, 0)
        below += tl.sum(tl.where(value > 0, 0.0, came * value), 0)
        came = tl.where(value > 0, came, a * came)
        total += tl.sum(came, 0)
        along += tl.sum(came * value, 0)
    to = partial + (n * shares + k) * 4 * C + channel
    tl.store(to, total, mask=channel < C)
    tl.store(to + C, along, mask=channel < C)
    tl.store(to + 2 * C, below, mask=channel < C)
    tl.store(to + 3 * C, raw, mask=channel < C)


@triton.jit
def _instance_backward(
    x, gradient, stats, slope, partial, back, voxels,
    C: tl.constexpr, CP: tl.constexpr, SP: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    k, n = tl.program_id(0), tl.program_id(1)
    shares = tl.num_programs(0)
    mean, inverse = _kept(stats, n, C, CP)
    a = tl.load(slope).to(tl.float32)
    total = _summed(partial, n, shares, 0, 4, C, CP, SP) / voxels
    along = _summed(partial, n, shares, 1, 4, C, CP, SP) / voxels
    for tile in range(TILES):
        at, inside = _places(n, (k * TILES + tile) * ROWS, voxels, C, CP, ROWS)
        value = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * inverse[None, :]
        came = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32)
        came = tl.where(value > 0, came, a * came)
        came = (came - total[None, :] - value * along[None, :]) * inverse[None, :]
        tl.store(back + at, came.to(back.dtype.element_ty), mask=inside)


@triton.jit
def _channel_forward(
    x, bias, slope, residual, shift, y, rows, epsilon, channels,
    ADDS: tl.constexpr, SHIFTS: tl.constexpr, C: tl.constexpr, CP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    row, channel = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, CP)
    value, _, at, inside = _normalised(x, bias, row, rows, epsilon, channels, C, CP)
    value = tl.where(value > 0, value, tl.load(slope).to(tl.float32) * value)
    if ADDS:
        value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    if SHIFTS:
        value += tl.load(shift + channel, mask=channel < C, other=0.0)[None, :]
    tl.store(y + at, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _channel_backward(
    x, bias, gradient, slope, back, partial, rows, epsilon, channels,
    C: tl.constexpr, CP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Per channel, to partial (programs, 3, C): sums of the gradient, of what came, and the slope's own gradient."""
    k = tl.program_id(0)
    row, channel = k * ROWS + tl.arange(0, ROWS), tl.arange(0, CP)
    value, inverse, at, inside = _normalised(x, bias, row, rows, epsilon, channels, C, CP)
    came = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32)
    to = partial + k * 3 * C + channel
    tl.store(to + C, tl.sum(came, 0), mask=channel < C)
    tl.store(to + 2 * C, tl.sum(tl.where(value > 0, 0.0, came * value), 0), mask=channel < C)
    came = tl.where(value > 0, came, tl.load(slope).to(tl.float32) * came)
    along = tl.sum(came * value, 1) / channels
    came = tl.where(inside, (came - value * along[:, None]) * inverse[:, None], 0.0)
    tl.store(to, tl.sum(came, 0), mask=channel < C)
    tl.store(back + at, came.to(back.dtype.element_ty), mask=inside)


def _tile(channels: int) -> tuple[int, int]:
    """Channels, rounded up to a power of two, and the voxels of a tile."""
    padded = triton.next_power_of_2(channels)
    return padded, max(1, TILE // padded)


class InstanceNormActivation(torch.autograd.Function):
    """prelu(instance_norm(x + bias)) [+ residual [+ shift]], bias and shift one number a channel, float32.

    The bias is no matter, as the norm takes it out again: its gradient is zero, without what rounding makes of it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor, slope: Tensor, residual: Tensor | None, shift: Tensor | None, epsilon: float
    ) -> Tensor:
        samples, channels = x.shape[:2]
        voxels = x[0, 0].numel()
        padded, rows = _tile(channels)
        tiles = -(-voxels // (rows * PROGRAMS))
        shares = -(-voxels // (rows * tiles))
        partial = x.new_empty((samples, shares, 2, channels), dtype=torch.float32)
        stats = x.new_empty((samples, 2, channels), dtype=torch.float32)
        y = torch.empty_like(x)
        grid = (shares, samples)
        _sums[grid](x, partial, voxels, channels, padded, rows, tiles)
        _instance_forward[grid](
            x, partial, slope, x if residual is None else residual, x if shift is None else shift, y, stats, voxels,
            epsilon, residual is not None, shift is not None, channels, padded, triton.next_power_of_2(shares), rows,
            tiles,
        )  # fmt: skip
        ctx.save_for_backward(x, bias, slope, stats)
        ctx.adds, ctx.shifts, ctx.shares, ctx.tiles = residual is not None, shift is not None, shares, tiles
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, None]:
        x, bias, slope, stats = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        samples, channels = x.shape[:2]
        voxels = x[0, 0].numel()
        padded, rows = _tile(channels)
        partial = x.new_empty((samples, ctx.shares, 4, channels), dtype=torch.float32)
        back = torch.empty_like(x)
        grid = (ctx.shares, samples)
        _instance_back_sums[grid](x, gradient, stats, slope, partial, voxels, channels, padded, rows, ctx.tiles)
        _instance_backward[grid](
            x, gradient, stats, slope, partial, back, voxels,
            channels, padded, triton.next_power_of_2(ctx.shares), rows, ctx.tiles,
        )  # fmt: skip
        below, raw = partial[:, :, 2:].sum((0, 1))
        bent = below.sum().to(slope.dtype).reshape(slope.shape)
        return back, torch.zeros_like(bias), bent, gradient if ctx.adds else None, raw if ctx.shifts else None, None


class ChannelNormActivation(torch.autograd.Function):
    """prelu(channel_norm(x + bias)) [+ residual [+ shift]], the mean square taken over so many `channels`.

    Bias and shift are one number a channel, float32; what comes after the counted channels is zero.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        bias: Tensor,
        slope: Tensor,
        residual: Tensor | None,
        shift: Tensor | None,
        epsilon: float,
        channels: int,
    ) -> Tensor:
        lying = x.shape[1]
        rows = x.numel() // lying
        padded, tile = _tile(lying)
        y = torch.empty_like(x)
        _channel_forward[(-(-rows // tile),)](
            x, bias, slope, x if residual is None else residual, x if shift is None else shift, y, rows, epsilon,
            channels, residual is not None, shift is not None, lying, padded, tile,
        )  # fmt: skip
        ctx.save_for_backward(x, bias, slope)
        ctx.adds, ctx.shifts = residual is not None, shift is not None
        ctx.epsilon, ctx.channels = epsilon, channels
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, None, None]:
        x, bias, slope = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        lying = x.shape[1]
        rows = x.numel() // lying
        padded, tile = _tile(lying)
        programs = -(-rows // tile)
        back, partial = torch.empty_like(x), x.new_empty((programs, 3, lying), dtype=torch.float32)
        _channel_backward[(programs,)](
            x, bias, gradient, slope, back, partial, rows, ctx.epsilon, ctx.channels, lying, padded, tile
        )
        moved, raw, below = partial.sum(0)
        bent = below.sum().to(slope.dtype).reshape(slope.shape)
        return back, moved, bent, gradient if ctx.adds else None, raw if ctx.shifts else None, None, None

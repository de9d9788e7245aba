"""The network's first and last convolutions on a GPU, which libraries are slow at: they have next to no channels.

Tensor cores want channels by eights, and a map of the full resolution with one channel, or four, is mostly moved and
hardly computed. Here each is read in place: the first two convolutions, which see the same image, in one go, and the
last one as a sum over its neighbourhood. Sums over voxels are taken in a fixed order, so that the same maps give the
same bits. In Triton, as shared/model/fused_norm.py.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

TAPS = 27
"""Voxels of a kernel of 3 x 3 x 3."""

PADDED_TAPS = 32

PROGRAMS = 1024
"""Into which the voxels are cut at most for a sum over them."""


@triton.jit
def _around(image, voxel, voxels, od, oh, ow, D, H, W):
    """What the image holds around each voxel of a grid half as fine, (ROWS, 32), the last five zero."""
    tap = tl.arange(0, 32)
    w, rest = voxel % ow, voxel // ow
    h, rest = rest % oh, rest // oh
    d, n = rest % od, rest // od
    z = (2 * d)[:, None] + (tap // 9 - 1)[None, :]
    y = (2 * h)[:, None] + ((tap // 3) % 3 - 1)[None, :]
    x = (2 * w)[:, None] + (tap % 3 - 1)[None, :]
    inside = (voxel < voxels)[:, None] & (tap < 27)[None, :]
    inside &= (z >= 0) & (z < D) & (y >= 0) & (y < H) & (x >= 0) & (x < W)
    at = ((n.to(tl.int64)[:, None] * D + z) * H + y) * W + x
    return tl.load(image + at, mask=inside, other=0.0)


@triton.jit
def _first_forward(
    image, kernel, other, to, beside, voxels, od, oh, ow, D, H, W,
    F: tl.constexpr, FP: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    voxel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    tap, feature = tl.arange(0, 32), tl.arange(0, FP)
    kind = to.dtype.element_ty
    around = _around(image, voxel, voxels, od, oh, ow, D, H, W).to(kind)
    weigh = (tap < 27)[:, None] & (feature < F)[None, :]
    place = tap[:, None] * F + feature[None, :]
    at = voxel.to(tl.int64)[:, None] * F + feature[None, :]
    inside = (voxel < voxels)[:, None] & (feature < F)[None, :]
    one = tl.dot(around, tl.load(kernel + place, mask=weigh, other=0.0).to(kind), input_precision=PRECISION)
    tl.store(to + at, one.to(kind), mask=inside)
    two = tl.dot(around, tl.load(other + place, mask=weigh, other=0.0).to(kind), input_precision=PRECISION)
    tl.store(beside + at, two.to(kind), mask=inside)


@triton.jit
def _first_backward(
    image, gradient, beside, partial, voxels, od, oh, ow, D, H, W,
    F: tl.constexpr, FP: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Both kernels' gradients over a share of the voxels, to partial (programs, 2, 32, F)."""
    k = tl.program_id(0)
    tap, feature = tl.arange(0, 32), tl.arange(0, FP)
    kind = gradient.dtype.element_ty
    one = tl.zeros((32, FP), tl.float32)
    two = tl.zeros((32, FP), tl.float32)
    for tile in range(TILES):
        voxel = (k * TILES + tile) * ROWS + tl.arange(0, ROWS)
        around = tl.trans(_around(image, voxel, voxels, od, oh, ow, D, H, W).to(kind))
        at = voxel.to(tl.int64)[:, None] * F + feature[None, :]
        inside = (voxel < voxels)[:, None] & (feature < F)[None, :]
        one += tl.dot(around, tl.load(gradient + at, mask=inside, other=0.0), input_precision=PRECISION)
        two += tl.dot(around, tl.load(beside + at, mask=inside, other=0.0), input_precision=PRECISION)
    place = k * 64 * F + tap[:, None] * F + feature[None, :]
    tl.store(partial + place, one, mask=(feature < F)[None, :])
    tl.store(partial + place + 32 * F, two, mask=(feature < F)[None, :])


@triton.jit
def _coordinates(voxel, D, H, W):
    """Where voxels of several samples' flat maps lie along each axis."""
    i, rest = voxel % W, voxel // W
    j, rest = rest % H, rest // H
    return rest % D, j, i


@triton.jit
def _neighbour(x, voxel, voxels, k, j, i, D, H, W, tap: tl.constexpr, C: tl.constexpr, LYING: tl.constexpr):
    """What lies by one tap of a kernel from each voxel, (ROWS, C), zero beyond the map."""
    dz, dy, dx = tap // 9 - 1, (tap // 3) % 3 - 1, tap % 3 - 1
    inside = (k + dz >= 0) & (k + dz < D) & (j + dy >= 0) & (j + dy < H) & (i + dx >= 0) & (i + dx < W)
    at = (voxel.to(tl.int64) + ((dz * H + dy) * W + dx))[:, None] * LYING + tl.arange(0, C)[None, :]
    return tl.load(x + at, mask=((voxel < voxels) & inside)[:, None], other=0.0).to(tl.float32)


@triton.jit
def _last_forward(x, kernel, bias, scores, voxels, D, H, W, C: tl.constexpr, LYING: tl.constexpr, ROWS: tl.constexpr):
    voxel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, C)
    k, j, i = _coordinates(voxel, D, H, W)
    total = tl.zeros((ROWS, C), tl.float32)
    for tap in tl.static_range(27):
        value = _neighbour(x, voxel, voxels, k, j, i, D, H, W, tap, C, LYING)
        total += value * tl.load(kernel + tap * C + channel)[None, :]
    tl.store(scores + voxel, tl.sum(total, 1) + tl.load(bias), mask=voxel < voxels)


@triton.jit
def _last_backward(gradient, kernel, back, voxels, D, H, W, C: tl.constexpr, LYING: tl.constexpr, ROWS: tl.constexpr):
    voxel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, LYING)
    k, j, i = _coordinates(voxel, D, H, W)
    total = tl.zeros((ROWS, LYING), tl.float32)
    for tap in tl.static_range(27):
        dz, dy, dx = tap // 9 - 1, (tap // 3) % 3 - 1, tap % 3 - 1
        inside = (k - dz >= 0) & (k - dz < D) & (j - dy >= 0) & (j - dy < H) & (i - dx >= 0) & (i - dx < W)
        came = tl.load(gradient + voxel - ((dz * H + dy) * W + dx), mask=(voxel < voxels) & inside, other=0.0)
        weight = tl.load(kernel + tap * C + channel, mask=channel < C, other=0.0)
        total += came[:, None] * weight[None, :]
    at = voxel.to(tl.int64)[:, None] * LYING + channel[None, :]
    tl.store(back + at, total.to(back.dtype.element_ty), mask=(voxel < voxels)[:, None])


@triton.jit
def _last_kernel(
    x, gradient, partial, voxels, D, H, W,
    C: tl.constexpr, LYING: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """The kernel's gradient over a share of the voxels, to partial (programs, 32, C); line 27 is the bias's."""
    p = tl.program_id(0)
    channel, line = tl.arange(0, C), tl.arange(0, 32)
    total = tl.zeros((32, C), tl.float32)
    for tile in range(TILES):
        voxel = (p * TILES + tile) * ROWS + tl.arange(0, ROWS)
        k, j, i = _coordinates(voxel, D, H, W)
        came = tl.load(gradient + voxel, mask=voxel < voxels, other=0.0)
        total += tl.where((line == 27)[:, None], tl.sum(came, 0), 0.0)
        for tap in tl.static_range(27):
            value = _neighbour(x, voxel, voxels, k, j, i, D, H, W, tap, C, LYING)
            total += tl.where((line == tap)[:, None], tl.sum(value * came[:, None], 0)[None, :], 0.0)
    tl.store(partial + p * 32 * C + line[:, None] * C + channel[None, :], total)


def _shared_out(voxels: int, rows: int) -> tuple[int, int]:
    """Programs that a sum over voxels is shared out to, and the tiles of each."""
    tiles = -(-voxels // (rows * PROGRAMS))
    return -(-voxels // (rows * tiles)), tiles


class FirstConvolutions(torch.autograd.Function):
    """Two convolutions of 3 x 3 x 3 by steps of two, without biases, of one image: (B, 1, D, H, W) to two maps."""

    ROWS = 128

    @staticmethod
    def forward(ctx: Any, image: Tensor, kernel: Tensor, other: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        image = image.contiguous()
        features = kernel.shape[0]
        edges = tuple(-(-edge // 2) for edge in image.shape[2:])
        one, two = (
            torch.empty(
                (len(image), features, *edges),
                dtype=dtype,
                device=image.device,
                memory_format=torch.channels_last_3d,
            )
            for _ in range(2)
        )
        voxels = len(image) * edges[0] * edges[1] * edges[2]
        _first_forward[(-(-voxels // FirstConvolutions.ROWS),)](
            image, kernel.flatten(1).T.contiguous(), other.flatten(1).T.contiguous(), one, two, voxels, *edges,
            *image.shape[2:], features, max(16, triton.next_power_of_2(features)), FirstConvolutions.ROWS,
            "ieee" if dtype == torch.float32 else "tf32",
        )  # fmt: skip
        ctx.save_for_backward(image)
        ctx.shape, ctx.edges = kernel.shape, edges
        return one, two

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, beside: Tensor) -> tuple[None, Tensor, Tensor, None]:
        (image,) = ctx.saved_tensors
        gradient, beside = (one.contiguous(memory_format=torch.channels_last_3d) for one in (gradient, beside))
        features = ctx.shape[0]
        voxels = gradient.numel() // features
        programs, tiles = _shared_out(voxels, FirstConvolutions.ROWS)
        partial = torch.empty((programs, 2, PADDED_TAPS, features), dtype=torch.float32, device=image.device)
        _first_backward[(programs,)](
            image, gradient, beside, partial, voxels, *ctx.edges, *image.shape[2:], features,
            max(16, triton.next_power_of_2(features)), FirstConvolutions.ROWS, tiles,
            "ieee" if gradient.dtype == torch.float32 else "tf32",
        )  # fmt: skip
        one, two = partial.sum(0)[:, :TAPS].transpose(1, 2).reshape(2, *ctx.shape)
        return None, one, two, None


class LastConvolution(torch.autograd.Function):
    """A convolution of 3 x 3 x 3 to one channel: (B, C or more, D, H, W), channels last, to float32 (B, 1, D, H, W).

    `kernel` is (1, C, 3, 3, 3), C a power of two; channels of the map after the first C are not looked at.
    """

    ROWS = 256

    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        features = features.contiguous(memory_format=torch.channels_last_3d)
        channels, (samples, lying, *edges) = kernel.shape[1], features.shape
        scores = torch.empty((samples, 1, *edges), dtype=torch.float32, device=features.device)
        flat = kernel.float().flatten(2)[0].T.contiguous()
        rows = LastConvolution.ROWS
        _last_forward[(-(-scores.numel() // rows),)](
            features, flat, bias.float(), scores, scores.numel(), *edges, channels, lying, rows
        )
        ctx.save_for_backward(features, flat)
        ctx.shape, ctx.bias = kernel.shape, bias.shape
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, flat = ctx.saved_tensors
        gradient = gradient.float().contiguous()
        channels, (_, lying, *edges) = ctx.shape[1], features.shape
        rows, voxels = LastConvolution.ROWS, gradient.numel()
        back = torch.empty_like(features)
        _last_backward[(-(-voxels // rows),)](gradient, flat, back, voxels, *edges, channels, lying, rows)
        programs, tiles = _shared_out(voxels, rows)
        partial = torch.empty((programs, PADDED_TAPS, channels), dtype=torch.float32, device=features.device)
        _last_kernel[(programs,)](features, gradient, partial, voxels, *edges, channels, lying, rows, tiles)
        summed = partial.sum(0)
        return back, summed[:TAPS].T.reshape(ctx.shape), summed[TAPS, 0].reshape(ctx.bias)

"""Noise and smooth fields that follow from a number: the same for the same seed, wherever and whenever they are asked.

Noise hashes each voxel's number (counter-based, Salmon et al. 2011), so that no generator's state is to be kept.
"""

import math

import torch
from torch import Tensor

FOUR_BYTES = 0xFFFFFFFF

STREAMS = 8
"""Kinds of noise that one seed can serve."""


def hashed(numbers: Tensor) -> Tensor:
    """32-bit integers (as int64), each mixed into another one: `lowbias32` of Wellons' hash-prospector."""
    mixed = numbers ^ (numbers >> 16)
    mixed = (mixed * 0x7FEB352D) & FOUR_BYTES
    mixed = mixed ^ (mixed >> 15)
    mixed = (mixed * 0x846CA68B) & FOUR_BYTES
    return mixed ^ (mixed >> 16)


def _bits(seeds: Tensor, stream: int, count: int) -> Tensor:
    """(B, count), 32 random bits each, from whole numbers (B,)."""
    key = hashed(seeds.long() * STREAMS + stream)
    return hashed(torch.arange(count, device=seeds.device) ^ key[:, None])


def uniforms(seeds: Tensor, stream: int, count: int) -> Tensor:
    """(B, count), even in [0, 1)."""
    return (_bits(seeds, stream, count) >> 8).float() / 2**24


def normals(seeds: Tensor, stream: int, count: int) -> Tensor:
    """(B, count), of the normal distribution up to 4.86 deviations (Box & Muller 1958, from halves of 16 bits)."""
    bits = _bits(seeds, stream, count)
    radius = ((bits >> 16).float() + 0.5).div_(2**16).log_().mul_(-2).sqrt_()
    return (bits & 0xFFFF).float().mul_(2 * math.pi / 2**16).cos_().mul_(radius)


def bspline(size: int, spans: int, device: torch.device) -> Tensor:
    """(size, spans + 3): what each coefficient of a cubic B-spline counts in each of `size` voxels.

    Knots lie `size / spans` voxels apart, the first and last at the outer faces.
    """
    place = (torch.arange(size, device=device) + 0.5) * (spans / size)
    away = (place[:, None] - torch.arange(-1, spans + 2, device=device)).abs()
    near, far = 2 / 3 - away**2 + away**3 / 2, (2 - away).clamp_min(0) ** 3 / 6
    return torch.where(away < 1, near, far)


def along_axes(values: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """(B, I, J, K) to (B, i, j, k) by a matrix along each axis, such as (B, i, I), or (i, I) for all."""
    values = (values.flatten(1, 2) @ third.mT).reshape(*values.shape[:3], -1)
    values = second[..., None, :, :] @ values
    return (first @ values.flatten(2)).reshape(len(values), -1, *values.shape[2:])


def grown(coefficients: Tensor, size: int) -> Tensor:
    """The cubic B-spline over `size` voxels an edge, (B, size, size, size), by coefficients (B, n, n, n), n above 3."""
    matrix = bspline(size, coefficients.shape[-1] - 3, coefficients.device)
    return along_axes(coefficients, matrix, matrix, matrix)

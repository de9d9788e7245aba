"""Blur and thick slices: a matrix along each axis of a patch, in each of whose rows the weights sum to 1.

Slices are measured as a scanner does, each over its thickness by a Gaussian profile, and then brought to the study's
grid between the nearest two, as preparing an image does.
"""

import math

import torch
from torch import Tensor

from client.training.augmentation.draws import Parameters
from client.training.augmentation.fields import along_axes

SHARP = 1e-2
"""Deviation, in voxels, at which a Gaussian weighs nothing but its middle."""

NOTHING = 1e-8
"""Weights up to here are 0: with what is left of them near the least float32 a CPU computes many times as long."""

FWHM = 2 * math.sqrt(2 * math.log(2))
"""Of a Gaussian, in its deviations."""


def sharpness(images: Tensor, parameters: Parameters) -> Tensor:
    """Patches (B, D, H, W), blurred, and across one axis as of thick slices."""
    size = images.shape[-1]
    blurred = blurring(size, parameters.flat("blur"))
    sliced = slicing(size, parameters.flat("thick"), parameters.flat("phase")) @ blurred
    across = parameters.flat("axis").view(-1, 1, 1)
    return along_axes(images, *(torch.where(across == axis, sliced, blurred) for axis in range(3)))


def blurring(size: int, deviation: Tensor) -> Tensor:
    """(B, size, size): a Gaussian of each deviation (B,), in voxels; 0 changes nothing."""
    at = torch.arange(size, device=deviation.device)
    return _gaussian(at[None], deviation, size)


def slicing(size: int, thickness: Tensor, phase: Tensor) -> Tensor:
    """(B, size, size): slices of each thickness (B,), at least 1 voxel; 1 with phase 0 changes nothing.

    The first lies at `phase - 1` of its thickness before the patch. Neighbours touch.
    """
    thick = thickness.view(-1, 1)
    at = (torch.arange(size + 1, device=thick.device) - 1 + phase.view(-1, 1)) * thick
    # What a slice adds to the blur that the voxels have (Cardoso et al. 2015).
    measured = _gaussian(at, (thickness.square() - 1).clamp_min(0).sqrt() / FWHM, size)
    voxel = torch.arange(size, device=thick.device).view(1, -1, 1)
    between = (1 - (voxel - at[:, None]).abs() / thick[..., None]).clamp_min(0)
    return between @ measured


def _gaussian(at: Tensor, deviation: Tensor, size: int) -> Tensor:
    """(B, places, size): each voxel's weight in a Gaussian about each place; beyond, the outermost voxel counts."""
    voxel = torch.arange(size, device=at.device)
    away = (at[..., None] - voxel) / deviation.view(-1, 1, 1).clamp_min(SHARP)
    weights = (away.square() / -2).softmax(-1)
    return weights * (weights > NOTHING)

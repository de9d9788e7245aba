"""Scaling, rotation and elastic deformation: one look-up in larger patches, for images, labels and all beside them."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from client.training.augmentation.draws import ELASTIC, ELASTIC_SPANS, Parameters
from client.training.augmentation.fields import grown, uniforms

ELASTICITY = 2
"""Stream of a patch's seed."""


def places(parameters: Parameters, size: int) -> Tensor:
    """Where each voxel is looked up, (B, size, size, size, 3): offset from the middle of the patch, in voxels."""
    offset = torch.arange(size, device=parameters.table.device) - (size - 1) / 2
    rows = parameters.matrix()[..., None, None, None]
    linear = rows[:, :, 0] * offset[:, None, None] + rows[:, :, 1] * offset[:, None] + rows[:, :, 2] * offset
    return (linear + displacements(parameters, size)).movedim(1, -1)


def displacements(parameters: Parameters, size: int) -> Tensor:
    """The elastic field, (B, 3, size, size, size), in voxels: a cubic B-spline (Rueckert et al. 1999)."""
    knots = ELASTIC_SPANS + 3
    most = ELASTIC * size / ELASTIC_SPANS * parameters.flat("elastic")
    even = 2 * uniforms(parameters.flat("seed"), ELASTICITY, 3 * knots**3) - 1
    coefficients = (even * most[:, None]).view(-1, knots, knots, knots)
    return grown(coefficients, size).reshape(-1, 3, size, size, size)


def moved(patches: Tensor, parameters: Parameters, size: int) -> Tensor:
    """Patches of `size` voxels an edge, looked up in larger ones (B, C, D, H, W) between the nearest voxels."""
    # From (D, H, W) in voxels to (W, H, D) in half edges, as PyTorch looks up.
    grid = places(parameters, size).flip(-1) * (2 / patches.shape[-1])
    return grid_sample(patches, grid, "bilinear", "border", align_corners=False)

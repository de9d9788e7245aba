"""From the prepared grid back to an image's own, on whatever device the values lie.

The prepared grid has the image's own axes, turned and at another spacing, so that trilinear interpolation is linear
interpolation along one axis after the other; where spacing and place are the same, it is a copy. Only grids whose axes
are oblique to each other (a sheared affine, or one that was rounded to float32) take MONAI's general way.
"""

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import SpatialResample
from numpy.typing import NDArray
from torch import Tensor

DRIFT = 1e-9
"""Voxels by which axes may diverge over a whole image, and places miss a voxel's middle, to count as straight."""

UNCHANGED = 1e-3
"""Entries of the way between two grids of one shape that MONAI takes for none; far less than any header is wrong by."""

Affine = NDArray[np.float64]


def to_grid(values: Tensor, affine: Affine, onto: Affine, shape: tuple[int, ...]) -> Tensor:
    """Values (D, H, W) on the grid of `affine`, trilinearly on the grid of `onto` and `shape`: float32, 0 outside.

    Equal to MONAI's `SpatialResample` in float64, but for rounding of its last bits.
    """
    way = np.linalg.solve(affine, onto)
    if shape == tuple(values.shape) and np.allclose(way, np.eye(4), atol=UNCHANGED):
        return values.float()
    order = np.abs(way[:3, :3]).argmax(axis=0)
    steps = way[order, range(3)]
    rest = way[:3, :3].copy()
    rest[order, range(3)] = 0
    if sorted(order) != [0, 1, 2] or np.abs(rest @ np.diag(shape)).sum(axis=1).max() > DRIFT:
        return _oblique(values, affine, onto, shape)
    there = torch.zeros(shape, dtype=torch.float32, device=values.device)
    values, reached = values.permute(*order.tolist()), list[slice]()
    for axis, edge in enumerate(shape):
        places = steps[axis] * np.arange(edge) + way[order[axis], 3]
        near = np.rint(places)
        places = np.where(np.abs(places - near) <= DRIFT, near, places)
        found = np.flatnonzero((places > -1) & (places < values.shape[axis]))
        if not found.size:
            return there
        reached.append(slice(int(found[0]), int(found[-1]) + 1))
        values = _along(values, axis, places[reached[-1]])
    there[tuple(reached)] = values.float()
    return there


def _along(values: Tensor, axis: int, places: NDArray[np.float64]) -> Tensor:
    """Values at places along one axis, each less than a voxel outside at most; 0 lies beyond the ends."""
    below = np.floor(places)
    if (below == places).all() and (np.abs(np.diff(places)) == 1).all():
        part = values.narrow(axis, int(places.min()), len(places))
        return part if places[0] <= places[-1] else part.flip(axis)
    values, edge = values.double(), values.shape[axis]
    parts = []
    for knot, weight in ((below, 1 - (places - below)), (below + 1, places - below)):
        weight = np.where((knot >= 0) & (knot < edge), weight, 0)
        taken = values.index_select(axis, torch.from_numpy(knot.clip(0, edge - 1).astype(np.int64)).to(values.device))
        shape = [-1 if other == axis else 1 for other in range(3)]
        parts.append(taken.mul_(torch.from_numpy(weight).to(values.device).view(shape)))
    return parts[0].add_(parts[1])


def _oblique(values: Tensor, affine: Affine, onto: Affine, shape: tuple[int, ...]) -> Tensor:
    there = SpatialResample(mode="bilinear", padding_mode="zeros", align_corners=True)(
        MetaTensor(values[None], affine=torch.from_numpy(affine)), dst_affine=torch.from_numpy(onto), spatial_size=shape
    )
    return torch.as_tensor(there)[0].float()

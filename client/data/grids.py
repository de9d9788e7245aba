"""Whether two images lie on one grid, and how one that is only stored otherwise is turned to the other.

Two grids are one where no corner of the one is farther from its counterpart than a tenth of the smallest voxel edge.
Up to half an edge, resampling a label by the nearest neighbour would give back the very same voxels, so that a tenth
changes no label; rounding in headers (about 0.01 mm) stays far below it. Entries of the affine would not do: an error
of a hundredth in a voxel's edge is millimetres at the far corner, and one of a hundredth in the origin is nothing.
"""

from typing import Any

import numpy as np
from nibabel import orientations as nib_orientations
from numpy.typing import NDArray

orientations: Any = nib_orientations  # its functions carry no types

TOLERANCE = 0.1
"""Of the smallest voxel edge: how far apart corresponding corners of one grid may be."""

Affine = NDArray[np.float64]


def corners(shape: tuple[int, ...], affine: Affine) -> NDArray[np.float64]:
    """Where the middles of the eight voxels at the corners of a grid lie, (8, 3) in mm."""
    index = np.stack(np.meshgrid(*[(0, edge - 1) for edge in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    placed: NDArray[np.float64] = index @ affine[:3, :3].T + affine[:3, 3]
    return placed


def corner_distance(shape: tuple[int, ...], one: Affine, other: Affine) -> float:
    """The greatest distance between corresponding corners of two grids of one shape, in mm."""
    return float(np.linalg.norm(corners(shape, one - other), axis=1).max())


def is_same_grid(shape: tuple[int, ...], one: Affine, other: Affine) -> bool:
    """Whether two affines lead the voxels of an array to the same places."""
    edge = min(float(np.linalg.norm(affine[:3, :3], axis=0).min()) for affine in (one, other))
    return corner_distance(shape, one, other) <= TOLERANCE * edge


def turned(
    array: NDArray[np.float32], affine: Affine, shape: tuple[int, ...], onto: Affine
) -> NDArray[np.float32] | None:
    """An array whose axes are flipped or swapped against the grid of `shape` and `onto`, turned to it voxel by voxel.

    None where the two are not the same grid stored otherwise.
    """
    way = np.linalg.inv(onto) @ affine
    steps = np.rint(way[:3, :3])
    if not (np.abs(steps).sum(axis=0) == 1).all() or not (np.abs(steps).sum(axis=1) == 1).all():
        return None
    way[:3, :3] = steps
    turn = orientations.io_orientation(way)
    there = np.ascontiguousarray(orientations.apply_orientation(array, turn))
    place = affine @ orientations.inv_ornt_aff(turn, array.shape)
    return there if there.shape == shape and is_same_grid(shape, onto, place) else None

"""The raster on which lesions are made, the same whatever the voxel size, and what other voxels hold of it."""

import math

import numpy as np
from numpy.typing import NDArray

from shared.phantoms.grids import FIELD_ORIGIN, Array, Axes, Box, Grid, mix

RASTER = Grid.covering((1.0, 1.0, 1.0))
AXES = RASTER.axes()
ROWS = 4
"""Layers of voxels that are worked on at once."""


def box_around(low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
    """Return the cells of the raster between two corners in world mm, at least one along each axis."""
    sides = []
    for start, end, origin, size in zip(low, high, FIELD_ORIGIN, RASTER.shape, strict=True):
        first = min(max(math.floor(start - origin), 0), size - 1)
        sides.append(slice(first, min(max(math.ceil(end - origin), first + 1), size)))
    return sides[0], sides[1], sides[2]


def axes_of(box: Box) -> Axes:
    """Return the world coordinates of a box of the raster, axis by axis."""
    x, y, z = (axis[side] for axis, side in zip(AXES, box, strict=True))
    return x, y, z


def on_grid(maps: Array, box: Box, grid: Grid) -> tuple[Array, Box]:
    """Return the means over a grid's voxels of what is not 0 in a box of the raster alone, and those voxels' box.

    `maps` has the shape (maps, *RASTER.shape). Voxels finer than the raster get what lies between its cells.
    """
    whole, voxels = all(step % 1 == 0 for step in grid.voxel), []
    for side, step, cells, size in zip(box, grid.voxel, RASTER.shape, grid.shape, strict=True):
        # The rim of the raster is empty: a voxel that reaches beyond it need not be looked at.
        end = min(int(cells // step) if whole else size, math.ceil((side.stop + 1) / step))
        voxels.append(slice(max(math.floor((side.start - 1) / step), 0), end))
    found = (voxels[0], voxels[1], voxels[2])
    return (_summed(maps, found, grid) if whole else _mixed(maps, found, grid)), found


def _summed(maps: Array, voxels: Box, grid: Grid) -> Array:
    """Return the means over voxels of whole numbers of cells, slab by slab, as a processor's cache likes it."""
    steps = [int(step) for step in grid.voxel]
    x, y, z = (slice(side.start * step, side.stop * step) for side, step in zip(voxels, steps, strict=True))
    if steps == [1, 1, 1]:
        return maps[:, x, y, z]
    means = np.empty((len(maps), *(side.stop - side.start for side in voxels)), dtype=np.float32)
    scale = np.float32(1 / math.prod(steps))
    for values, into in zip(maps[:, x, y, z], means, strict=True):
        for row in range(0, len(into), ROWS):
            part = values[row * steps[0] : (row + ROWS) * steps[0]]
            for axis, step in enumerate(steps):
                cells = [part[(slice(None),) * axis + (slice(cell, None, step),)] for cell in range(step)]
                part = sum(cells[1:], cells[0])
            np.multiply(part, scale, out=into[row : row + ROWS])
    return means


def _mixed(maps: Array, voxels: Box, grid: Grid) -> Array:
    values = maps
    for axis, (side, step) in enumerate(zip(voxels, grid.voxel, strict=True), 1):
        first, weights = _overlaps(np.arange(side.start, side.stop), step)
        low, high = max(int(first[0]), 0), int(first[-1]) + len(weights)
        values = mix(values[(slice(None),) * axis + (slice(low, high),)], axis, first - low, weights)
    return values


def _overlaps(voxels: NDArray[np.intp], step: float) -> tuple[NDArray[np.intp], Array]:
    """Return the first cell that each voxel along an axis meets, and the share of each cell, (cells, voxels)."""
    if step < 1:
        place = (voxels + 0.5) * step - 0.5
        first = np.floor(place).astype(np.intp)
        return first, np.stack([1 - (place - first), place - first]).astype(np.float32)
    low = voxels * step
    first = np.floor(low + 1e-6).astype(np.intp)
    cells = first + np.arange(math.ceil(step - 1e-6) + (not float(step).is_integer()))[:, None]
    share = np.minimum(cells + 1, low + step) - np.maximum(cells, low)
    return first, (np.clip(share, 0, 1) / step).astype(np.float32)

"""Voxel grids in world millimetres, and smooth functions that can be evaluated on any of them.

Everything that makes a patient is a function of world coordinates, drawn without knowing the voxel size:
the same patient can be imaged at 1, 2 or 4 mm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

Array = NDArray[np.float32]
Axes = tuple[Array, Array, Array]
Triple = tuple[float, float, float]
Box = tuple[slice, slice, slice]

FIELD_ORIGIN: Triple = (-88.0, -122.0, -88.0)
"""Lower corner, in mm of MNI152 space, of the box in which every phantom lies."""
FIELD_SIZE: Triple = (176.0, 208.0, 184.0)
"""Size of that box in mm: the MNI152 brain with room for larger, turned and shifted heads."""


@dataclass(frozen=True)
class Grid:
    """A box of voxels along the world's axes, stored towards right, anterior and superior."""

    voxel: Triple
    shape: tuple[int, int, int]

    @classmethod
    def covering(cls, voxel: Triple) -> "Grid":
        """Return the grid of this voxel size (mm) that covers the field of view."""
        nx, ny, nz = (math.ceil(size / step - 1e-6) for size, step in zip(FIELD_SIZE, voxel, strict=True))
        return cls(voxel, (nx, ny, nz))

    @property
    def affine(self) -> NDArray[np.float64]:
        """The 4x4 matrix from voxel index to world mm."""
        affine = np.diag([*self.voxel, 1.0])
        affine[:3, 3] = [start + step / 2 for start, step in zip(FIELD_ORIGIN, self.voxel, strict=True)]
        return affine

    def axes(self, start: tuple[int, ...] = (0, 0, 0), stop: tuple[int, ...] | None = None, split: int = 1) -> Axes:
        """Return the world coordinates of voxels start to stop, `split` samples a voxel, axis by axis."""
        x, y, z = (
            (origin + step * (low + (np.arange((high - low) * split) + 0.5) / split)).astype(np.float32)
            for origin, step, low, high in zip(FIELD_ORIGIN, self.voxel, start, stop or self.shape, strict=True)
        )
        return x, y, z

    def read(self, values: Array, other: "Grid") -> Array:
        """Return values of this grid's voxels at those of another: linear between middles, and the rim goes on."""
        for number, (axis, origin) in enumerate(zip(other.axes(), self.affine[:3, 3], strict=True)):
            if self.voxel[number] != other.voxel[number]:
                first, t = _cells(axis, origin, self.voxel[number])
                inside = first.clip(0, values.shape[number] - 2)
                t = np.clip(t + first - inside, 0, 1)
                values = mix(values, number, inside, np.stack([1 - t, t]))
        return values


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Return the smallest box that holds a mask, which is not empty."""
    planes = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    x, y, z = (slice(int(where[0]), int(where[-1]) + 1) for where in planes)
    return x, y, z


class SmoothField:
    """A random function of world position, mean 0 and variance 1: a cubic B-spline of white noise.

    `reach` is the distance in mm between its control points; detail is about twice as large.
    """

    def __init__(self, rng: np.random.Generator, reach: float) -> None:
        self._reach = reach
        counts = [math.ceil(size / reach) + 5 for size in FIELD_SIZE]
        self._noise: Array = rng.standard_normal(counts, dtype=np.float32)

    def __call__(self, axes: Axes) -> Array:
        """Return the values at the points of a box, shape (len(x), len(y), len(z))."""
        cells = [_cells(a, o - self._reach, self._reach) for a, o in zip(axes, FIELD_ORIGIN, strict=True)]
        # Of a small box only the control points about it matter.
        near = tuple(slice(int(first.min()) - 1, int(first.max()) + 3) for first, _ in cells)
        values = self._noise[near]
        for number, ((first, t), side) in enumerate(zip(cells, near, strict=True)):
            basis = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3])
            values = mix(values, number, first - 1 - side.start, basis / np.sqrt((basis**2).sum(axis=0)))
        return values

    def at(self, points: Array) -> Array:
        """Return the values at single points (3, ...) in mm; the variance is 1 over many of them."""
        origin = np.array(FIELD_ORIGIN, dtype=np.float32).reshape(3, *[1] * (points.ndim - 1))
        index = (points - origin) / np.float32(self._reach) + 1
        # The mean square of a cubic B-spline of white noise is 151/315 along each axis.
        values = ndimage.map_coordinates(self._noise, index, order=3, prefilter=False, mode="nearest")
        return np.asarray(values * np.float32((315 / 151) ** 1.5), dtype=np.float32)


class Lattice:
    """A function known at points `step` mm apart in the field of view, linear between them."""

    def __init__(self, step: float) -> None:
        self.step = step
        x, y, z = (
            (origin + step * np.arange(math.ceil(size / step) + 1)).astype(np.float32)
            for origin, size in zip(FIELD_ORIGIN, FIELD_SIZE, strict=True)
        )
        self.axes: Axes = (x, y, z)

    def read(self, values: Array, axes: Axes) -> Array:
        """Return values, known at the lattice's points (last three axes), at the points of a box."""
        cells = []
        for number, (axis, origin) in enumerate(zip(axes, FIELD_ORIGIN, strict=True)):
            first, t = _cells(axis, origin, self.step)
            inside = first.clip(0, values.shape[number - 3] - 2)
            cells.append((inside, np.clip(t + first - inside, 0, 1)))  # beyond the lattice its rim goes on
        # Of a small box only the points about it matter.
        near = tuple(slice(int(first.min()), int(first.max()) + 2) for first, _ in cells)
        values = values[..., near[0], near[1], near[2]]
        for number, ((first, t), side) in enumerate(zip(cells, near, strict=True)):
            values = mix(values, number - 3, first - side.start, np.stack([1 - t, t]))
        return values

    def at(self, values: Array, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values, as `read` takes them, at single points (3, n) in mm; shape (..., n)."""
        index = (points - np.asarray(FIELD_ORIGIN).reshape(3, 1)) / self.step
        return np.stack([ndimage.map_coordinates(v, index, np.float64, order=1, mode="nearest") for v in values])


def _cells(axis: Array, origin: float, step: float) -> tuple[NDArray[np.intp], Array]:
    """Return the knot below each point of an axis, and how far beyond it the point lies."""
    place = (axis - np.float32(origin)) / np.float32(step)
    below = np.floor(place)
    return below.astype(np.intp), place - below


CACHED = 2**16
"""Numbers that are worked on at once: what a processor's own cache holds of a few arrays."""


def interpolate(maps: Sequence[Array], points: Array) -> list[Array]:
    """Return maps of one shape, linear between voxels, at points (3, n) in voxels of them; beyond, their rim goes on.

    As `scipy.ndimage.map_coordinates` does, in half the time: cells are found once, in parts that stay in cache.
    """
    shape = maps[0].shape
    steps = (shape[1] * shape[2], shape[2], 1)
    flat = [np.ascontiguousarray(values).reshape(-1) for values in maps]
    made = [np.empty(points.shape[1], dtype=np.float32) for _ in maps]
    last = np.array(shape, dtype=np.int32)[:, None] - 2
    for start in range(0, points.shape[1], CACHED):
        part = points[:, start : start + CACHED]
        cell = part.astype(np.int32)
        np.clip(cell, 0, last, out=cell)
        share = np.clip(part - cell, 0, 1)
        corner = cell[0] * steps[0] + cell[1] * steps[1] + cell[2]
        for values, into in zip(flat, made, strict=True):
            into[start : start + CACHED] = _between(values, corner, share, steps)
    return made


def _between(values: Array, corner: NDArray[np.int32], share: Array, steps: tuple[int, ...]) -> Array:
    """Mix along the first of the axes left what is mixed along the others."""
    if not steps:
        return values.take(corner)
    low = _between(values, corner, share[1:], steps[1:])
    high = _between(values, corner + steps[0], share[1:], steps[1:])
    high -= low
    high *= share[0]
    low += high
    return low


def mix(values: Array, axis: int, first: NDArray[np.intp], weights: Array) -> Array:
    """Interpolate along one axis: of the knots from `first` on, weights (knots, points).

    Written without matrix products, whose last bits depend on the number of threads, and in parts that stay in cache.
    """
    axis %= values.ndim
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    flat = np.ascontiguousarray(values).reshape(math.prod(before), values.shape[axis], math.prod(after))
    mixed = np.empty((len(flat), len(first), flat.shape[2]), dtype=np.float32)
    factors = weights.astype(np.float32)[:, :, None]
    rows = max(1, CACHED // max(1, mixed[:1].size))
    beside = np.empty_like(mixed[:rows])
    for start in range(0, len(flat), rows):
        part, into = flat[start : start + rows], mixed[start : start + rows]
        # The mode spares a buffer: all knots are there.
        np.take(part, first, axis=1, out=into, mode="clip")
        into *= factors[0]
        for knot in range(1, len(factors)):
            other = beside[: len(part)]
            np.take(part, first + knot, axis=1, out=other, mode="clip")
            other *= factors[knot]
            into += other
    return mixed.reshape(*before, len(first), *after)

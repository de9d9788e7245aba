"""Large arteries and veins: in a spin echo, blood that flows leaves no signal, and they are thin dark tubes.

Their courses are ours, by anatomical atlases and to a few mm; each patient's head bends them as all else, and has them
wider or narrower. The middle cerebral artery is about 3 mm wide at its beginning (Rai et al., J. NeuroIntervent. Surg.
5:371-375, 2013); the other radii are our choice beside it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.phantoms.grids import FIELD_ORIGIN, Array, Grid


@dataclass(frozen=True)
class Vessels:
    """The few voxels with blood that flows."""

    voxels: NDArray[np.intp]
    """Their places in the grid's flat order, each once."""
    share: Array
    """How much of them is blood."""


Course = tuple[tuple[float, float, float], ...]

PAIRED: dict[str, tuple[float, Course]] = {
    "middle cerebral": (1.4, ((12, 4, -14), (20, 5, -17), (30, 6, -17), (37, 4, -13), (40, -4, -4), (41, -16, 6))),
    "upper branch": (0.9, ((37, 4, -13), (39, 12, -4), (40, 16, 6), (42, 10, 14))),
    "anterior cerebral": (1.0, ((12, 4, -14), (4, 8, -14), (3, 22, -8), (3, 36, 0), (3, 38, 12), (3, 28, 24))),
    "posterior cerebral": (1.0, ((2, -17, -22), (10, -20, -20), (17, -28, -16), (18, -40, -8), (14, -56, 0))),
    "vertebral": (1.4, ((1, -22, -46), (7, -30, -56), (10, -38, -64))),
    "transverse sinus": (2.5, ((2, -97, -10), (22, -96, -18), (43, -82, -24), (56, -60, -27), (58, -44, -30))),
}
"""Radius and course in MNI152 mm, of the right side."""
MIDDLE: dict[str, tuple[float, Course]] = {
    "basilar": (1.6, ((0, -17, -22), (0, -15, -34), (1, -22, -46))),
    "straight sinus": (1.6, ((0, -38, 2), (0, -44, 8), (0, -62, 8), (0, -80, 0), (0, -94, -8))),
    "sagittal sinus": (2.6, ((0, 66, 20), (0, 44, 58), (0, 10, 78), (0, -40, 82), (0, -78, 56), (0, -96, 26))),
}


def vessel_points() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return MNI152 positions (3, points) in mm along all vessels, about 1 mm apart, and the radius there."""
    places, radii = [], []
    mirrored = [(radius, course, side) for radius, course in PAIRED.values() for side in (1, -1)]
    for radius, course, side in [*mirrored, *((radius, course, 1) for radius, course in MIDDLE.values())]:
        knots = np.array(course, dtype=np.float64) * (side, 1, 1)
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
        at = np.linspace(0, along[-1], math.ceil(along[-1]))
        places.append(np.stack([np.interp(at, along, knots[:, axis]) for axis in range(3)]))
        radii.append(np.full(len(at), radius))
    return np.concatenate(places, axis=1), np.concatenate(radii)


def paint_vessels(points: NDArray[np.float64], radii: NDArray[np.float64], grid: Grid) -> Vessels:
    """Return what vessels along world positions (3, points) in mm take of a grid's voxels."""
    voxel = np.array(grid.voxel)
    place = (points.T - FIELD_ORIGIN) / voxel - 0.5
    reach = [math.ceil(float(radii.max()) / size + 0.5) for size in grid.voxel]
    offsets = np.stack([part.ravel() for part in np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")], 1)
    index = np.rint(place).astype(int)[:, None] + offsets
    distance = np.linalg.norm((index - place[:, None]) * voxel, axis=2)
    side = float(np.mean(voxel))
    # A voxel wider than the vessel holds more than the vessel.
    most = np.minimum(1, math.pi * radii**2 / side**2)[:, None]
    share = most * np.clip((radii[:, None] - distance) / side + 0.5, 0, 1)
    inside = (share > 0) & (index >= 0).all(axis=2) & (index < grid.shape).all(axis=2)
    places, share = np.ravel_multi_index(tuple(index[inside].T), grid.shape), share[inside]
    most_first = np.argsort(-share, kind="stable")
    voxels, first = np.unique(places[most_first], return_index=True)
    return Vessels(voxels, share[most_first][first].astype(np.float32))

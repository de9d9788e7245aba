"""One patient's brain: the MNI152 tissue maps, deformed anew for each patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from phantoms.atlas import COARSE, load_atlas, tissue_maps
from phantoms.grids import FIELD_ORIGIN, Array, Axes, Grid, Lattice, SmoothField

CENTER = np.array([0.0, -18.0, 8.0], dtype=np.float32)
"""The point, in MNI152 mm, about which heads turn and grow."""
ORIGIN = np.array(FIELD_ORIGIN, dtype=np.float32)


@dataclass(frozen=True)
class Tissues:
    """What each voxel holds, as volume fractions that sum to 1 in the brain and to 0 outside it."""

    gm: Array
    wm: Array
    csf: Array
    ventricle_distance: Array
    """mm to the lateral ventricles."""
    brain: NDArray[np.bool_]


class Anatomy:
    """A patient's own way from world position to MNI152 position, and the tissues found there."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._lattice = Lattice(4.0)
        self._atrophy = float(rng.uniform(0.0, 0.6))
        self._strip = float(rng.uniform(0.5, 0.8))
        self._map = _deformation(rng, self._lattice)

    @property
    def atrophy(self) -> float:
        """How much wider the sulci are than in the template: 0 to 0.6."""
        return self._atrophy

    def template_points(self, axes: Axes) -> Array:
        """Return the MNI152 position of the points of a box, shape (3, len(x), len(y), len(z)), in mm."""
        return self._lattice.read(self._map, axes)

    def world_point(self, template: Array) -> Array:
        """Return the world position of an MNI152 position, to a fraction of a mm."""
        point = template
        for _ in range(5):  # the warp is gentle: what is missed shrinks with every step
            x, y, z = point[:, None]
            point = point + template - self.template_points((x, y, z)).reshape(3)
        return point

    def tissues(self, grid: Grid) -> Tissues:
        """Return the tissue fractions on a grid."""
        points = self.template_points(grid.axes()) - ORIGIN.reshape(3, 1, 1, 1)
        gm_map, wm_map, brain_map = tissue_maps(grid.voxel)
        brain = ndimage.map_coordinates(brain_map, points, order=1) > self._strip
        points = points[:, brain]  # a quarter of all: the rest need not be looked up
        gm, wm = (ndimage.map_coordinates(m, points, order=1) for m in (gm_map, wm_map))
        distance = ndimage.map_coordinates(load_atlas().ventricle_distance, points / COARSE, order=1, mode="nearest")
        matter = np.clip(gm + wm, 1e-6, None)
        fluid = np.clip((1 - matter) * (1 + self._atrophy), 0, 1)
        share = (1 - fluid) / matter

        def whole(values: Array, outside: float = 0.0) -> Array:
            volume = np.full(grid.shape, outside, dtype=np.float32)
            volume[brain] = values
            return volume

        return Tissues(whole(gm * share), whole(wm * share), whole(fluid), whole(distance, 100.0), brain)


def _deformation(rng: np.random.Generator, lattice: Lattice) -> Array:
    """Draw head size, pose, a smooth warp and wider or narrower ventricles; return MNI152 positions."""
    size = rng.normal(1.0, [0.035, 0.035, 0.03]).clip(0.92, 1.07)
    angles = np.radians(rng.normal(0, 2.5, size=3).clip(-6, 6))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        plane = np.eye(3)
        plane[[i, i, j, j], [i, j, i, j]] = [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)]
        turn = turn @ plane
    shift = rng.normal(0, 2, size=3).clip(-5, 5)
    matrix = (turn / size[:, None]).astype(np.float32)

    world = np.stack(np.meshgrid(*lattice.axes, indexing="ij"))
    moved = world - (CENTER + shift.astype(np.float32)).reshape(3, 1, 1, 1)
    points = np.einsum("ij,jxyz->ixyz", matrix, moved) + CENTER.reshape(3, 1, 1, 1)
    for reach, millimetres in ((40.0, 2.5), (18.0, 1.1)):
        warp = np.stack([SmoothField(rng, reach)(lattice.axes) for _ in range(3)])
        points += np.float32(millimetres) * warp

    # A point beside the ventricle shows what the template has nearer to (or inside) it: the ventricle grows.
    growth = float(np.clip(rng.normal(1.5, 1.5), -1.0, 5.0))
    atlas = load_atlas()
    index = (points - ORIGIN.reshape(3, 1, 1, 1)) / COARSE
    distance = ndimage.map_coordinates(atlas.ventricle_distance, index, order=1, mode="nearest")
    pull = growth * np.exp(-distance / 15)
    for axis, direction in enumerate(atlas.ventricle_direction):
        points[axis] -= pull * ndimage.map_coordinates(direction, index, order=1, mode="nearest")
    return np.asarray(points, dtype=np.float32)

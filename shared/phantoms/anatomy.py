"""One patient's brain: the MNI152 tissue maps, deformed anew for each patient."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.atlas import COARSE, brain_bounds, load_atlas, tissue_maps
from shared.phantoms.cortex import Folds, load_cortex, near_brain
from shared.phantoms.grids import (
    CACHED,
    FIELD_ORIGIN,
    FIELD_SIZE,
    Array,
    Axes,
    Box,
    Grid,
    Lattice,
    SmoothField,
    Triple,
    box_of,
    interpolate,
)
from shared.phantoms.vessels import Vessels, paint_vessels, vessel_points

CENTER = np.array([0.0, -18.0, 8.0], dtype=np.float32)
"""The point, in MNI152 mm, about which heads turn and grow."""
ORIGIN = np.array(FIELD_ORIGIN, dtype=np.float32)
RARE = 0.1
"""What templates disagree in less than this is their registration, and no cortex in white matter."""
SHARPNESS = 1.5
"""How much sharper than the template a brain is, at 1 mm; larger voxels hold mixtures again."""
SURE = 0.999
"""From here on folds decide alone."""
STRIATUM = 0.1
"""How much caudate and putamen differ from cortex, beside thalamus and pallidum."""


@dataclass(frozen=True)
class Tissues:
    """What each voxel holds, as volume fractions that sum to 1 in the brain and to 0 outside it."""

    gm: Array
    wm: Array
    csf: Array
    ventricle_distance: Array
    """mm to the lateral ventricles."""
    brain: NDArray[np.bool_]
    nuclei: Array
    """How much of the grey matter here is thalamus or pallidum, 0 to 1; caudate and putamen count for a part."""
    limbic: Array
    """How much of the cortex here is limbic: cingulate, insula, hippocampus and amygdala, 0 to 1."""
    plexus: Array
    """How much of the fluid here is choroid plexus."""
    flow: Array
    """How strongly fluid flows here: 1 in the middle of the third and fourth ventricle."""
    box: Box
    """The smallest box of voxels that holds the brain."""
    vessels: Vessels
    """Where blood flows; not counted in the fractions."""


class Anatomy:
    """A patient's own way from world position to MNI152 position, and the tissues found there."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._lattice = Lattice(4.0)
        # Brain volume is lost in all stages of MS, most of all in later ones; ventricles and sulci widen together.
        self._atrophy = float(np.clip(rng.normal(0.25, 0.18), 0.0, 0.7))
        self._strip = float(rng.uniform(0.5, 0.8))
        self._plexus = float(rng.uniform(0.2, 1.0))
        self._map = _deformation(rng, self._lattice, self._atrophy)
        self._folds = Folds(rng, self._atrophy)
        # Sequences and people differ in how many of their vessels are dark.
        places, radii = vessel_points()
        self._vessels = places, radii * float(rng.uniform(0.5, 1.2))

    @property
    def atrophy(self) -> float:
        """How much wider the sulci are than in the template: 0 to 0.7."""
        return self._atrophy

    def template_points(self, axes: Axes) -> Array:
        """Return the MNI152 position of the points of a box, shape (3, len(x), len(y), len(z)), in mm."""
        return self._lattice.read(self._map, axes)

    def template_at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the MNI152 positions of single points, both (3, points) in mm."""
        return self._lattice.at(self._map, points)

    def world_points(self, template: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the world positions of MNI152 positions, both (3, points) in mm, to a fraction of a mm."""
        points = template
        for _ in range(5):  # the warp is gentle: what is missed shrinks with every step
            points = points + template - self._lattice.at(self._map, points)
        return points

    def tissues(self, grid: Grid) -> Tissues:
        """Return the tissue fractions on a grid."""
        start, stop = self._around(grid)
        points = self.template_points(grid.axes(start, stop))
        points -= ORIGIN.reshape(3, 1, 1, 1)
        inside = _in_brain(points, self._strip, grid.voxel)
        # Half of the box: the rest need not be looked up.
        points = points.reshape(3, -1).take(np.flatnonzero(inside), axis=1)
        brain = np.zeros(grid.shape, dtype=bool)
        brain[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = inside
        voxels = np.flatnonzero(brain)
        read = self._lattice.read(self._folds.on_lattice(self._lattice, self._map), grid.axes(start, stop))
        own = read.reshape(5, -1).take(np.flatnonzero(inside), axis=1)
        gm, fluid = self._matter(points, own, grid.voxel)
        distance = own[4]
        close = np.flatnonzero(distance < 2 * self._lattice.step)
        index = points[:, close] / COARSE
        distance[close] = ndimage.map_coordinates(load_atlas().ventricle_distance, index, order=1, mode="nearest")
        # Nuclei and ventricles lie where folds do not decide.
        other = np.flatnonzero(own[3] < SURE)
        points += ORIGIN.reshape(3, 1)
        nuclei, plexus, flow = _deep(points[:, other], distance[other], self._plexus)
        limbic = _in_parts(_limbic, points)

        def whole(values: Array, where: NDArray[np.intp] = voxels) -> Array:
            volume = np.zeros(grid.shape, dtype=np.float32)
            volume.reshape(-1)[where] = values
            return volume

        far = np.full(grid.shape, 100, dtype=np.float32)
        far.reshape(-1)[voxels] = distance
        return Tissues(
            gm=whole(gm),
            wm=whole(1 - gm - fluid),
            csf=whole(fluid),
            ventricle_distance=far,
            brain=brain,
            nuclei=whole(nuclei, voxels[other]),
            limbic=whole(limbic),
            plexus=whole(plexus, voxels[other]),
            flow=whole(flow, voxels[other]),
            vessels=paint_vessels(self.world_points(self._vessels[0]), self._vessels[1], grid),
            box=box_of(brain),
        )

    def _around(self, grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return first and last voxel (one beyond it) of a box that holds the brain, with room at its rim."""
        brain = load_atlas().brain
        nearest = np.rint(self._map - ORIGIN.reshape(3, 1, 1, 1)).astype(int)
        x, y, z = (part.clip(0, size - 1) for part, size in zip(nearest, brain.shape, strict=True))
        knots, room = box_of(brain[x, y, z] > 0), 2 * self._lattice.step
        low = [side.start * self._lattice.step - room for side in knots]
        high = [(side.stop - 1) * self._lattice.step + room for side in knots]
        start = (max(math.floor(a / voxel), 0) for a, voxel in zip(low, grid.voxel, strict=True))
        stop = (min(math.ceil(b / voxel), size) for b, voxel, size in zip(high, grid.voxel, grid.shape, strict=True))
        return tuple(start), tuple(stop)

    def _matter(self, points: Array, own: Array, voxel: Triple) -> tuple[Array, Array]:
        """Return grey matter and fluid at the voxels (3, points) of the template: by folds, and elsewhere as there."""
        folded = own[3]
        (sulcus,) = interpolate([load_cortex().sulcus], points)
        gm, fluid = self._folds.cortex(own, sulcus, voxel)

        other = np.flatnonzero(folded < SURE)
        gm_map, wm_map, _ = tissue_maps(voxel)
        grey, white = interpolate([gm_map, wm_map], points[:, other])
        weight = np.maximum(folded[other], 0)
        own_grey, own_fluid = self._sharpened(grey, white, voxel)
        leaf = np.flatnonzero(folded[other] < 0)
        leaf_grey, leaf_fluid = self._folds.leaves(own[:, other[leaf]], own_grey[leaf], own_fluid[leaf], voxel)
        share = -folded[other[leaf]]
        own_grey[leaf] += share * (leaf_grey - own_grey[leaf])
        own_fluid[leaf] += share * (leaf_fluid - own_fluid[leaf])
        gm[other] = own_grey + weight * (gm[other] - own_grey)
        fluid[other] = own_fluid + weight * (fluid[other] - own_fluid)
        return gm, fluid

    def _sharpened(self, gm: Array, wm: Array, voxel: Triple) -> tuple[Array, Array]:
        """Return a brain's own grey matter and fluid where the template has the mean of many."""
        fluid = np.clip(1 - gm - wm, 0, 1)
        sharp = np.float32(1 + SHARPNESS / float(np.prod(voxel)) ** (1 / 3))
        unsure = np.flatnonzero((gm > RARE) | (fluid > RARE))
        parts = (gm[unsure] - RARE, wm[unsure], (1 + self._atrophy) * fluid[unsure] - RARE)
        odds = [np.maximum(part, 1e-3) ** sharp for part in parts]
        total = odds[0] + odds[1] + odds[2]
        grey, own_fluid = np.zeros_like(gm), np.zeros_like(gm)
        grey[unsure], own_fluid[unsure] = odds[0] / total, odds[2] / total
        return grey, own_fluid


def _in_brain(points: Array, strip: float, voxel: Triple) -> NDArray[np.bool_]:
    """Return where the brain of `tissue_maps`, at voxels (3, ...) of it, is more than `strip`.

    Only at the surface has that to be interpolated; elsewhere the corners of a cell agree.
    """
    _, _, brain = tissue_maps(voxel)
    low, high = brain_bounds(voxel)
    margin = 1e-3  # far beyond rounding
    surely, hardly = low > strip + margin, high > strip - margin
    inside = np.empty(points.shape[1:], dtype=bool)
    for found, part in zip(inside, np.moveaxis(points, 1, 0), strict=True):
        cells = np.floor(part).astype(np.int32)
        x, y, z = (cell.clip(0, size - 1) for cell, size in zip(cells, low.shape, strict=True))
        place = (x * low.shape[1] + y) * low.shape[2] + z
        found[:] = surely.take(place)
        unsure = hardly.take(place) & ~found
        found[unsure] = ndimage.map_coordinates(brain, part[:, unsure], order=1) > strip
    return inside


def _in_parts(made_of: Callable[..., Array], points: Array) -> Array:
    """Return what a function makes of points (3, points), worked on in parts that stay in a processor's cache."""
    made = np.empty(points.shape[1], dtype=np.float32)
    for start in range(0, points.shape[1], CACHED):
        part = slice(start, start + CACHED)
        made[part] = made_of(*points[:, part])
    return made


def _deep(points: Array, distance: Array, plexus: float) -> tuple[Array, Array, Array]:
    """Return nuclei, plexus and flow, as `Tissues` has them, at MNI152 positions (3, points) in mm."""
    x, y, z = points
    inside = np.flatnonzero(distance < 1)
    a, b, c = points[:, inside]
    own = np.zeros_like(x)
    own[inside] = plexus * _ball(np.abs(a) - 22, b + 40, c - 8, 7, 8, 8)
    flow = _ball(x, y + 12, z, 4, 12, 8) + _ball(x, y + 46, z + 33, 8, 8, 9)
    return _in_parts(_nuclei, points), own, flow


def _ball(x: Array, y: Array, z: Array, *reach: float) -> Array:
    """Return a smooth bump: 1 in its middle, 0.37 at `reach` mm along each axis."""
    a, b, c = reach
    return np.asarray(np.exp(-((x / a) ** 2) - (y / b) ** 2 - (z / c) ** 2), dtype=np.float32)


def _nuclei(x: Array, y: Array, z: Array) -> Array:
    """Return 1 at MNI152 positions (mm) of thalamus and pallidum, `STRIATUM` in caudate and putamen, 0 in cortex."""
    side = np.abs(x)
    lateral = np.clip((33 - side) / 4, 0, 1)
    length = np.clip((26 - y) / 5, 0, 1) * np.clip((y + 36) / 5, 0, 1)
    height = np.clip((24 - z) / 5, 0, 1) * np.clip((z + 13) / 5, 0, 1)
    inner = np.clip(2 * _ball(side - 11, y + 18, z - 7, 12, 15, 12) + 2 * _ball(side - 19, y + 4, z, 5, 8, 6), 0, 1)
    return np.asarray(lateral * length * height * (STRIATUM + (1 - STRIATUM) * inner), dtype=np.float32)


def _limbic(x: Array, y: Array, z: Array) -> Array:
    """Return 1 at MNI152 positions (mm) of limbic cortex, 0 elsewhere, smooth between."""
    side = np.abs(x)
    insula = _ball(side - 38, y - 2, z - 2, 7, 20, 14)
    cingulate = _ball(side - 5, y - 32, z - 10, 7, 14, 18) + _ball(side - 5, y + 10, z - 38, 7, 36, 10)
    temporal = _ball(side - 25, y + 16, z + 18, 9, 18, 9)
    return np.asarray(np.clip(1.5 * (insula + cingulate + temporal), 0, 1), dtype=np.float32)


def _within_field(matrix: Array, shift: Array) -> Array:
    """Return a shift by which a turned and grown head, with room for its warp, lies in the field of view."""
    coarse = 8
    template = np.argwhere(load_atlas().brain[::coarse, ::coarse, ::coarse] > 0) * coarse + ORIGIN
    world = (template - CENTER) @ np.linalg.inv(matrix).T + CENTER
    low, high = ORIGIN - world.min(axis=0), ORIGIN + np.array(FIELD_SIZE) - world.max(axis=0)
    room = np.minimum((high - low) / 2, 1.5 * coarse)
    return np.asarray(np.clip(shift, low + room, high - room), dtype=np.float32)


def _deformation(rng: np.random.Generator, lattice: Lattice, atrophy: float) -> Array:
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
    moved = world - (CENTER + _within_field(matrix, shift.astype(np.float32))).reshape(3, 1, 1, 1)
    points = np.einsum("ij,jxyz->ixyz", matrix, moved) + CENTER.reshape(3, 1, 1, 1)
    for reach, millimetres in ((40.0, 2.5), (18.0, 1.4), (9.0, 0.9)):
        warp = np.stack([SmoothField(rng, reach)(lattice.axes) for _ in range(3)])
        points += np.float32(millimetres) * warp

    # A point beside the ventricle shows what the template has nearer to (or inside) it: the ventricle grows.
    growth = float(np.clip(6 * atrophy + rng.normal(0, 1.0), -1.0, 5.0))
    atlas = load_atlas()
    flat = points.reshape(3, -1)
    near, _ = near_brain(flat)
    index = (flat[:, near] - ORIGIN.reshape(3, 1)) / COARSE
    distance, *direction = (
        ndimage.map_coordinates(values, index, order=1, mode="nearest")
        for values in (atlas.ventricle_distance, *atlas.ventricle_direction)
    )
    flat[:, near] -= growth * np.exp(-distance / 15) * np.stack(direction)
    return np.asarray(points, dtype=np.float32)

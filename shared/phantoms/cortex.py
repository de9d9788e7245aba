"""The folds of the brain: a ribbon of cortex about thin sheets of fluid, the sulci, and the leaves of the cerebellum.

A template is the mean of many brains: its cortex is a soft band, its sulci are hardly dark. But where they run can be
read from it: in the middle between two banks, on the medial axis of what is not white matter. From there outward a
brain has fluid, then cortex, then white matter. A patient's own sulci lie between those of the template: sheets at
right angles to the surface, where a smooth random function along it is zero.

The surfaces of fsaverage5, which nilearn ships too, were tried and are not used: as means of 40 brains they lie 4 to
5 mm below the surface of MNI152, and have fewer folds than its tissue maps (ICBM 2009a is a nonlinear mean).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.atlas import COARSE, is_infratentorial, load_atlas, thicken, thin, uphill
from shared.phantoms.grids import CACHED, FIELD_ORIGIN, Array, Lattice, SmoothField, Triple, box_of

THICKNESS = (2.3, 0.1)
"""mm of cortex, mean and standard deviation over patients (Fischl and Dale, PNAS 97:11050-11055, 2000: 1 to
4.5 mm, 2.5 in the mean; a tenth of a mm or two is lost to voxels that hold several tissues)."""
MEDIAL = 0.4
"""From this much, the second derivative of the distance to white matter marks the medial axis."""
OPEN = 1.5
"""mm by which a sulcus is wider on each side where the template is all fluid."""
FAR = 12.0
"""mm beyond which the distance to the nearest sulcus does not matter."""
OWN = 6.0
"""mm between the knots of the function whose zeros are a patient's own sulci; they are about 2.7 times as far apart."""
DEEPEST = (4.0, 3.0)
"""mm below the surface that a patient's own sulci reach: mean and standard deviation."""
SOFT = 0.9
"""mm over which tissues mix at a boundary, beside what a voxel averages."""
FOLIA = 5.0
"""mm from one leaf of the cerebellum to the next, about."""
TURN, OUTWARD = 22.0, 0.8
"""How fast leaves are counted about `VERMIS`, as those of a book, and away from it, as shells."""
VERMIS = (-50.0, -32.0)
"""y and z, in MNI152 mm, of the axis about which the leaves of the cerebellum stand."""


@dataclass(frozen=True)
class CortexAtlas:
    """What the template says of folds, on the field of view."""

    sulcus: Array
    """mm to the middle of the nearest sulcus, or to what lies outside the brain, less where it is open; at 1 mm."""
    near: NDArray[np.bool_]
    """The brain and 8 mm about it; at 2 mm."""
    inward: tuple[Array, Array, Array]
    """Unit vector away from the outside, smoothed; at 2 mm."""
    folded: Array
    """1 where the cerebrum's folds decide on tissue, -1 in the cerebellum, 0 in nuclei, hippocampus and brain stem and
    at the ventricles; at 2 mm."""


@lru_cache(maxsize=1)
def load_cortex() -> CortexAtlas:
    """Derive the folds from the template, once a process."""
    atlas = load_atlas()
    brain = atlas.brain > 0
    folded = _folded(atlas.ventricle_distance)

    # The template is symmetric: its right half is enough. Beyond x = 0 some room, for sulci in the middle.
    room, middle = 6, -int(FIELD_ORIGIN[0])
    x, y, z = (slice(max(side.start - 2, 0), side.stop + 2) for side in box_of(brain))
    box = (slice(middle - room, x.stop), y, z)
    near = thicken(folded, brain.shape)[box] > 0.5
    dark = ndimage.distance_transform_edt(atlas.wm[box] < 0.5).astype(np.float32)
    axis = (-ndimage.laplace(ndimage.gaussian_filter(dark, 0.7)) > MEDIAL) & (dark > 1.2)
    away = ndimage.distance_transform_edt(~(axis & near) & brain[box]).astype(np.float32)
    opened = OPEN * np.clip(1 - atlas.gm[box] - atlas.wm[box], 0, 1)
    half = np.minimum(ndimage.gaussian_filter(away, 0.5) - opened, FAR)[room:]
    sulcus = np.zeros(brain.shape, dtype=np.float32)
    sulcus[middle : x.stop, y, z] = half
    sulcus[middle - len(half) + 1 : middle, y, z] = half[:0:-1]
    return CortexAtlas(
        sulcus,
        ndimage.binary_dilation(thin(brain), iterations=8 // COARSE),
        uphill(atlas.depth),
        folded,
    )


def _folded(ventricles: Array) -> Array:
    axes = (origin + COARSE * np.arange(size) for origin, size in zip(FIELD_ORIGIN, ventricles.shape, strict=True))
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    side = np.abs(x)
    nuclei = (side < 33) & (y > -36) & (y < 26) & (z > -14) & (z < 22) & ~((side < 12) & (y > 14))
    hippocampus = (side > 12) & (side < 34) & (y > -38) & (y < 2) & (z > -25) & (z < -7)
    cistern = (side < 14) & (y > -40) & (y < 12) & (z < 6)
    below = is_infratentorial(x, y, z)
    stem = (side < 15) & (y > -46)
    values = 1.0 - (nuclei | hippocampus | cistern | below | (ventricles < 6)) - (below & ~stem)
    return np.asarray(ndimage.gaussian_filter(values.astype(np.float32), 1.0), dtype=np.float32)


def near_brain(points: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which MNI152 positions (3, points) in mm lie near the brain, and their places in maps at 2 mm."""
    shape = load_cortex().near.shape
    index = np.rint((points - np.array(FIELD_ORIGIN, dtype=np.float32)[:, None]) / COARSE).astype(np.intp)
    x, y, z = (part.clip(0, size - 1) for part, size in zip(index, shape, strict=True))
    place = (x * shape[1] + y) * shape[2] + z
    near = np.flatnonzero(load_cortex().near.take(place))
    return near, place[near]


class Folds:
    """A patient's own folds: how far it is to the next sulcus, and how wide that is."""

    def __init__(self, rng: np.random.Generator, atrophy: float) -> None:
        self._thickness = float(np.clip(rng.normal(*THICKNESS), 2.1, 2.5))
        self._width = 0.1 + 0.6 * atrophy
        self._sulci, self._widths, self._depths = (SmoothField(rng, reach) for reach in (OWN, 9.0, 14.0))

    def on_lattice(self, lattice: Lattice, points: Array) -> Array:
        """Return what is read of folds, at the lattice's points, of which the MNI152 positions are given in mm.

        Its rows: mm to the patient's own sulci, seen from the side; mm below their ground; half their width in mm;
        `CortexAtlas.folded`; mm to the ventricles. In the cerebellum the first two are its leaves.
        """
        atlas, cortex = load_atlas(), load_cortex()
        shape = points.shape[1:]
        made = np.zeros((5, points[0].size), dtype=np.float32)
        points = points.reshape(3, -1)
        near, place = near_brain(points)
        points = points[:, near]
        folded, depth, distance, *inward = (
            values.take(place) for values in (cortex.folded, atlas.depth, atlas.ventricle_distance, *cortex.inward)
        )
        # Constant along the way from the surface inward: sulci stand upright.
        field = self._sulci.at(points - depth * np.stack(inward))
        width, deepest = (values(lattice.axes).ravel()[near] for values in (self._widths, self._depths))
        made[0, near], made[3, near], made[4, near] = field, folded, distance
        made[1, near] = np.maximum(depth - DEEPEST[0] - DEEPEST[1] * deepest, 0)
        made[2, near] = np.clip(self._width * (1 + 0.7 * width) + 0.1 * width, 0, 1.5)
        slope = np.sqrt(sum(part**2 for part in np.gradient(made[0].reshape(shape), lattice.step)))
        made[0] /= np.maximum(slope, 0.6 / OWN).ravel()
        leaf = folded < 0
        made[:2, near[leaf]] = _leaves(points[:, leaf])
        made[0, near[leaf]] += 0.4 * deepest[leaf]
        return made.reshape(5, *shape)

    def cortex(self, own: Array, sulcus: Array, voxel: Triple) -> tuple[Array, Array]:
        """Return grey matter and fluid of the cerebrum, by the distance to the template's sulci in mm.

        All in (points,); `own` has rows as `on_lattice` gives them.
        """
        side = _blur(voxel)
        grey, fluid = np.empty_like(sulcus), np.empty_like(sulcus)
        for start in range(0, len(sulcus), CACHED):
            part = slice(start, start + CACHED)
            sheet, above, width = own[:3, part]
            distance = np.minimum(sulcus[part], np.abs(sheet) + above)
            # A voxel's share of a layer, both sides of the sulcus: what a box of that length holds of it.
            near = np.clip((width - distance) / side + 0.5, 0, 1)
            fluid[part] = near + np.clip((width + np.abs(distance)) / side + 0.5, 0, 1) - 1
            grey[part] = np.clip((width + self._thickness - distance) / side + 0.5, 0, 1) - fluid[part]
        return grey, fluid

    def leaves(self, own: Array, gm: Array, fluid: Array, voxel: Triple) -> tuple[Array, Array]:
        """Return grey matter and fluid of the cerebellum, from those without leaves: each is cortex about white matter.

        All in (points,); `own` as in `cortex`.
        """
        side = _blur(voxel)
        leaf, length, width = own[:3]
        fissure = np.abs(leaf - np.rint(leaf)) * length
        opened = np.clip((width - fissure) / side + 0.5, 0, 1) + np.clip((width + fissure) / side + 0.5, 0, 1) - 1
        core = np.clip((fissure - 0.3 * length) / side + 0.3, 0, 1)
        lost = opened * gm
        return gm - lost - 0.5 * core * (gm - lost), fluid + lost


def _blur(voxel: Triple) -> np.float32:
    """Return the length in mm over which a voxel of this size mixes what lies beside each other."""
    return np.float32(np.sqrt(SOFT**2 + np.mean(np.square(voxel))))


def _leaves(points: Array) -> Array:
    """Return the number of the cerebellum's leaf at MNI152 positions (3, points) in mm, and how thick it is."""
    x, y, z = points
    behind, above = VERMIS[0] - y, z - VERMIS[1]
    away = np.sqrt(behind**2 + above**2 + x**2 / 2)
    steep = np.sqrt((TURN / np.maximum(away, 5)) ** 2 + OUTWARD**2)
    number = (TURN * np.arctan2(above, behind) + OUTWARD * away) / np.float32(FOLIA)
    return np.stack([number, np.float32(FOLIA) / steep])

"""What part of a voxel lesions may take: none of fluid, cortex in part, white matter and nuclei whole.

Of a patient's own tissues it says so exactly; while lesions are made, before any voxel size, the template's tissues say
about how much it will be.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.anatomy import Anatomy, Tissues
from shared.phantoms.atlas import COARSE, load_atlas, thicken, thin
from shared.phantoms.grids import FIELD_ORIGIN, Array, Box, Grid

STEP = 4
"""mm between the points at which the template is looked up."""
FINE = Grid.covering((2.0, 2.0, 2.0))
"""Where a patient's own tissues are looked up, if that is needed."""
DEEP = 8.0
"""mm from the ventricles over which grey matter turns from deep nuclei, which lesions take, into cortex."""


def room_in(tissues: Tissues, box: Box, where: Any = ...) -> tuple[Array, Array]:
    """Return what part of voxels white matter's lesions may take, and what cortical ones: a box, or `where` in it."""
    parts = (tissues.gm, tissues.csf, tissues.ventricle_distance, tissues.brain)
    grey, fluid, distance, brain = (part[box][where] for part in parts)
    return _room(grey, fluid, distance, brain)


def _room(grey: Array, fluid: Array, distance: Array, brain: Any) -> tuple[Array, Array]:
    cortex = grey * (1 - np.exp(-distance / DEEP))
    solid = brain * np.clip(1 - fluid, 0, 1)
    return np.clip(solid - 0.5 * cortex, 0, 1), solid * np.clip(2 * cortex, 0, 1)


@dataclass(frozen=True)
class Room:
    """About how much of each cube of some mm lesions may take in one patient."""

    step: int
    """Edge of the cubes in mm."""

    white: Array
    cortical: Array
    distance: Array
    """mm to the lateral ventricles, 0 inside."""

    @classmethod
    def of_tissues(cls, tissues: Tissues) -> "Room":
        """Take it from a patient's own tissues on the grid `FINE`."""
        white, cortical = room_in(tissues, (slice(None),) * 3)
        return cls(round(FINE.voxel[0]), white, cortical, tissues.ventricle_distance)

    @classmethod
    def of_template(cls, anatomy: Anatomy) -> "Room":
        """Look it up in the template, where this patient's tissues come from."""
        points = anatomy.template_points(Grid.covering((float(STEP),) * 3).axes())
        points -= np.asarray(FIELD_ORIGIN, np.float32).reshape(3, 1, 1, 1)
        points *= np.float32(1 / COARSE)
        white, cortical, distance = _template()
        x, y, z = (axis.astype(np.int32) for axis in np.rint(points, out=points))
        for axis, size in zip((x, y, z), white.shape, strict=True):
            np.clip(axis, 0, size - 1, out=axis)
        at = (x * white.shape[1] + y) * white.shape[2] + z
        return cls(STEP, white.take(at), cortical.take(at), distance.take(at))

    def cells(self, box: Box) -> Any:
        """Return the index by which arrays of this room give the values in a box of the raster of 1 mm."""
        return np.ix_(*(np.arange(side.start, side.stop) // self.step for side in box))


@lru_cache(maxsize=1)
def _template() -> tuple[Array, Array, Array]:
    """Return the template's room, white and cortical, averaged over cubes of `STEP` mm, and the distance, at 2 mm."""
    atlas = load_atlas()
    distance = thicken(atlas.ventricle_distance, atlas.gm.shape)
    white, cortical = _room(atlas.gm, np.clip(1 - atlas.gm - atlas.wm, 0, 1), distance, atlas.brain)
    sigma = float(np.sqrt((STEP**2 - 1) / 12))
    white, cortical = (thin(ndimage.gaussian_filter(values, sigma, truncate=3)) for values in (white, cortical))
    return white, cortical, atlas.ventricle_distance

"""Counting lesions as a reader would: each separate one, its volume, and its region by what it touches.

Regions are those of the McDonald criteria (Thompson et al., Lancet Neurology 17:162-173, 2018): infratentorial
is what lies in brain stem or cerebellum, periventricular what touches the lateral ventricles, juxtacortical what
touches the cortex; the rest is deep white matter.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.anatomy import Anatomy, Tissues
from shared.phantoms.atlas import Place, is_infratentorial
from shared.phantoms.grids import Array, Grid, box_of

LESION = 0.5
"""A voxel counts as lesion from this fraction on."""
TOUCHES = 3.0
"""mm to the ventricles, at a lesion's nearest voxel, within which it touches them."""
AWAY = 10.0
"""mm from the ventricles, beyond which grey matter is taken for cortex and not for deep nuclei."""


@dataclass(frozen=True)
class Found:
    """One separate lesion of a label."""

    place: Place
    ml: float


def find_lesions(label: Array, anatomy: Anatomy, tissues: Tissues, grid: Grid) -> tuple[Found, ...]:
    """Return each separate lesion (joined at faces, edges or corners) of a label on a patient's grid."""
    lesion = label >= LESION
    if not lesion.any():
        return ()
    box = box_of(lesion)
    numbers, count = ndimage.label(lesion[box], structure=np.ones((3, 3, 3)))
    inside = np.nonzero(numbers)
    which, far, grey = numbers[inside] - 1, tissues.ventricle_distance[box][inside], tissues.gm[box][inside]
    voxels = np.bincount(which, minlength=count)
    nearest, cortex = np.full(count, np.inf), np.zeros(count)
    np.minimum.at(nearest, which, far)
    np.maximum.at(cortex, which, np.where(far > AWAY, grey, 0))
    middles = np.stack([np.bincount(which, weights=axis, minlength=count) for axis in inside], axis=1) / voxels[:, None]
    middles = (middles + [side.start for side in box]) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    voxel_ml = float(np.prod(grid.voxel)) / 1000
    below = is_infratentorial(*anatomy.template_at(middles.T))
    return tuple(
        Found(_place(bool(under), float(near), float(most)), int(size) * voxel_ml)
        for under, size, near, most in zip(below, voxels, nearest, cortex, strict=True)
    )


def _place(below: bool, ventricle_mm: float, cortex: float) -> Place:
    if below:
        return "infratentorial"
    if ventricle_mm <= TOUCHES:
        return "periventricular"
    return "juxtacortical" if cortex >= 0.5 else "deep"

"""What counts as a lesion: how much of it a label holds, and how many there are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LESION = 0.5
"""A voxel counts as lesion from this value of its label on."""

TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""26-connectivity: voxels that share a face, an edge or a corner belong to one lesion."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Lesion:
    """One lesion of a segmentation."""

    voxels: int
    ml: float
    centroid: tuple[float, float, float]
    """mm, in the coordinates that the image's affine leads to."""


def lesion_ml(label: NDArray[np.float32], affine: NDArray[np.float64]) -> float:
    """A soft label's volume in ml, counted by fractions of voxels."""
    return float(label.clip(0, 1).sum(dtype=np.float64)) * voxel_ml(affine)


def lesion_count(label: NDArray[np.float32]) -> int:
    """The number of separate lesions: components of `label >= 0.5` in 26-connectivity, however small."""
    lesion = label >= LESION
    return number_lesions(lesion[box_around(lesion)])[1]


def find_lesions(label: NDArray[np.float32], affine: NDArray[np.float64]) -> tuple[Lesion, ...]:
    """Every lesion of a soft label, the largest first."""
    lesion = label >= LESION
    if not lesion.any():
        return ()
    box = box_around(lesion)
    numbers, count = number_lesions(lesion[box])
    names = np.arange(1, count + 1)
    voxels = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    middles = np.reshape(ndimage.center_of_mass(lesion[box], numbers, names), (count, 3))
    middles = (middles + [side.start for side in box]) @ affine[:3, :3].T + affine[:3, 3]
    found = [
        Lesion(int(size), int(size) * voxel_ml(affine), (float(x), float(y), float(z)))
        for size, (x, y, z) in zip(voxels, middles, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-one.voxels, one.centroid)))


def number_lesions(lesion: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Each voxel's lesion, counted from 1 (0 is none), and how many lesions there are."""
    numbers, count = ndimage.label(lesion, structure=TOUCHING)
    return numbers, int(count)


def box_around(lesion: NDArray[np.bool_]) -> Box:
    """The smallest box that holds every voxel of a mask; an empty box for none.

    Nothing outside it matters to lesions, and most of a volume is outside.
    """
    if not lesion.any():
        return (slice(0, 0), slice(0, 0), slice(0, 0))
    planes = (np.flatnonzero(lesion.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    first, second, third = (slice(int(i[0]), int(i[-1]) + 1) for i in planes)
    return first, second, third


def voxel_ml(affine: NDArray[np.float64]) -> float:
    """The volume of one voxel in ml."""
    return abs(float(np.linalg.det(affine[:3, :3]))) / 1000

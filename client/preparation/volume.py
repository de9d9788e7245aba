"""A volume while it is prepared, its grid, and how it is written: with a header that says nothing but the grid."""

import gzip
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from client.data.grids import corner_distance
from client.data.lesions import voxel_ml
from shared.files import write_whole

nib: Any = nibabel  # its functions carry no types

Array = NDArray[np.float32]
Affine = NDArray[np.float64]

MOST_APART = 0.5
"""Of the smallest edge of a voxel: up to here two grids are one. Where their corners lie decides."""


@dataclass(frozen=True, eq=False)
class ScanVolume:
    """Values (I, J, K) and their way from voxel to mm (right, anterior, superior)."""

    array: Array
    affine: Affine

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Edges of a voxel in mm."""
        edges: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return edges

    @property
    def voxel_ml(self) -> float:
        """The volume of a voxel."""
        return voxel_ml(self.affine)

    def like(self, array: NDArray[Any]) -> "ScanVolume":
        """Other values on this grid."""
        return replace(self, array=np.asarray(array, dtype=np.float32))


def apart(one: ScanVolume, other: ScanVolume) -> float:
    """The greatest distance in mm between the corners of two volumes of one shape."""
    return corner_distance(one.array.shape, one.affine, other.affine)


def on_one_grid(one: ScanVolume, other: ScanVolume) -> bool:
    """Whether two volumes have the same shape and, within half a voxel, the same place."""
    return one.array.shape == other.array.shape and apart(one, other) <= MOST_APART * float(one.spacing.min())


def write_volume(path: Path, volume: ScanVolume) -> None:
    """Write a new NIfTI: no text, date or extension of the source's header survives. Raises `OSError`."""
    array = volume.array
    whole = bool((array == np.rint(array)).all())
    if whole and array.min() >= 0 and array.max() <= 1:
        kind: Any = np.uint8
    elif whole and max(abs(float(array.min())), abs(float(array.max()))) <= np.iinfo(np.int16).max:
        kind = np.int16
    else:
        kind = np.float32
    image = nib.Nifti1Image(array.astype(kind), volume.affine)
    image.header.set_xyzt_units("mm")
    # Neither a name nor a time in the compressed file.
    write_whole(path, gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))

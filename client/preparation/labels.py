"""Reading the label of an image, from NIfTI or from a DICOM segmentation, onto the image's grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.label_rules import RANGE_TOLERANCE
from client.data.nifti import read_nifti
from client.data.rules import Finding, by
from client.preparation.dicom_files import is_dicom
from client.preparation.extra import extra
from client.preparation.volume import Affine, ScanVolume, apart, on_one_grid
from shared.errors import DataError

MOST_VALUES = 8
"""So many values of a label are named in an error."""

WHOLE = 0.05
"""By how much a step from voxel to voxel may miss the other grid's, to count as one of its steps."""

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class LabelReading:
    """What the hospital says of all its labels."""

    lesion_value: float | None = None
    """The value that is lesion, or the number of the segment; None: labels hold 0 to 1."""
    copy_header: bool = False
    """A label of its image's shape lies where its image does, whatever its header says."""


def read_label(path: Path, image: ScanVolume, how: LabelReading) -> ScanVolume:
    """The label at `path` on the grid of its image, 0 to 1. Raises `DataError`."""
    label = _from_dicom(path, how) if is_dicom(path) else _in_range(path, _from_nifti(path), how)
    return _fitted(path, label, image, how)


def read_mask(path: Path, image: ScanVolume, how: LabelReading) -> NDArray[np.bool_]:
    """The mask at `path` on the grid of its image: whatever is above 0. Raises `DataError`."""
    mask = _from_nifti(path)
    return _fitted(path, mask.like(mask.array > 0), image, how).array > 0


def _fitted(path: Path, label: ScanVolume, image: ScanVolume, how: LabelReading) -> ScanVolume:
    placed = _placed(label, image)
    if placed is not None:
        return placed
    shapes = f"{by(label.array.shape)}, the image's {by(image.array.shape)}"
    if label.array.shape != image.array.shape:
        text = f"{path} does not lie on its image's grid (shape {shapes})"
        raise DataError(f"{text}: name in the table the one that was drawn on this image, or none")
    if not how.copy_header:
        text = f"{path} lies up to {apart(label, image):.3g} mm from its image, and has its shape"
        raise DataError(f"{text}: if it was drawn on this image, take the image's place for it by --copy-header")
    return image.like(label.array)


def _from_nifti(path: Path) -> ScanVolume:
    read = read_nifti(path, "label")
    if isinstance(read, Finding):
        raise DataError(f"{path} {read.text}: {read.mend}")
    array = read.array
    if array.ndim != 3:
        raise DataError(f"{path} has shape {by(array.shape)}, but must be one 3D volume: keep one volume of it")
    if not np.isfinite(array).all():
        raise DataError(f"{path} holds NaN or infinity: replace them by 0")
    return ScanVolume(array, read.affine)


def _in_range(path: Path, label: ScanVolume, how: LabelReading) -> ScanVolume:
    """A label from 0 to 1."""
    array = label.array
    if how.lesion_value is not None:
        return label.like(np.abs(array - how.lesion_value) < RANGE_TOLERANCE)
    if array.min() < -RANGE_TOLERANCE or array.max() > 1 + RANGE_TOLERANCE:
        values = np.unique(array)
        more = " ..." if len(values) > MOST_VALUES else ""
        shown = ", ".join(f"{value:g}" for value in values[:MOST_VALUES]) + more
        raise DataError(f"{path} holds {shown}, where 0 to 1 is expected: say which value is lesion by --lesion-value")
    return label.like(array.clip(0, 1))


def _from_dicom(path: Path, how: LabelReading) -> ScanVolume:
    highdicom = extra("highdicom")
    try:
        seg = highdicom.seg.segread(path)
        names = {number: str(seg.get_segment_description(number).segment_label) for number in seg.segment_numbers}
        number = _segment(path, names, how)
        made = seg.get_volume(segment_numbers=[number], allow_missing_positions=True)
    except DataError:
        raise
    except Exception as error:
        # highdicom raises whatever its parts do, and a file may hold anything.
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is no DICOM segmentation that can be read ({why}): export it again") from None
    array = np.asarray(made.array, dtype=np.float32)
    affine: Affine = _LPS @ np.asarray(made.affine, dtype=np.float64)
    return ScanVolume(array[..., 0] if array.ndim == 4 else array, affine)


def _segment(path: Path, names: dict[int, str], how: LabelReading) -> int:
    """The number of the segment that is lesion."""
    if how.lesion_value is not None and int(how.lesion_value) in names:
        return int(how.lesion_value)
    likely = [number for number, name in names.items() if "lesion" in name.lower()]
    if len(names) == 1 or len(likely) == 1:
        return likely[0] if len(likely) == 1 else next(iter(names))
    shown = ", ".join(f"{number} {name}" for number, name in names.items())
    raise DataError(f"{path} has the segments {shown}: say which number is lesion by --lesion-value")


def _placed(label: ScanVolume, image: ScanVolume) -> ScanVolume | None:
    """The label voxel by voxel on the image's grid; None where its voxels are not some of the image's.

    The same grid may be stored from another corner and in another order of axes, and hold fewer slices.
    """
    if on_one_grid(label, image):
        return image.like(label.array)
    step: Any = np.linalg.inv(image.affine) @ label.affine
    whole = np.rint(step)
    turn = whole[:3, :3]
    if np.abs(step[:3, :3] - turn).max() > WHOLE or abs(round(float(np.linalg.det(turn)))) != 1:
        return None
    corner = np.abs(step @ [*np.array(label.array.shape) - 1, 1.0] - whole @ [*np.array(label.array.shape) - 1, 1.0])
    if max(corner[:3].max(), np.abs(step[:3, 3] - whole[:3, 3]).max()) > 0.5:
        return None
    where = np.argwhere(label.array > 0)
    to = (where @ turn.T + whole[:3, 3]).astype(int)
    if ((to < 0) | (to >= image.array.shape)).any():
        return None
    array = np.zeros(image.array.shape, dtype=np.float32)
    array[tuple(to.T)] = label.array[tuple(where.T)]
    return image.like(array)

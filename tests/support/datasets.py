"""Tiny BIDS data sets: one made-up patient, seen by whatever grid an image has."""

from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from client.data.inventory import Case

EXTENT = 48.0
"""mm along each edge of the field of view."""

LESION_CENTER, LESION_RADIUS = (4.0, -3.0, 2.0), 7.0
"""mm; about 1.4 ml."""


PLAIN = (1.0, 1.0, 1.0)
TALL = (1.0, 1.0, 3.0)
"""mm; voxels of two images."""


def grid(voxel: tuple[float, float, float], tilt: float = 0.0) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and RAS affine of a field of view around the origin, turned by `tilt` degrees about its last axis."""
    shape = (round(EXTENT / voxel[0]), round(EXTENT / voxel[1]), round(EXTENT / voxel[2]))
    cosine, sine = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ np.diag(voxel)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


def patient(shape: tuple[int, int, int], affine: NDArray[np.float64], seed: int = 0) -> tuple[NDArray, NDArray]:
    """Image and soft label of the patient on a grid: a textured head without symmetry, a lesion in it, air around."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(index @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    head = (x / 18) ** 2 + (y / 21) ** 2 + (z / 16) ** 2 < 1
    phase = 0.7 * seed
    texture = 100 + 15 * np.sin(x / 4 + phase) + 10 * np.cos(y / 5 - phase) + 0.5 * z + 0.3 * x
    away = np.sqrt(sum((part - at) ** 2 for part, at in zip((x, y, z), LESION_CENTER, strict=True)))
    lesion = np.clip(LESION_RADIUS - away + 0.5, 0, 1)
    return (np.where(head, texture + 80 * lesion, 0)).astype(np.float32), lesion.astype(np.float32)


def write_image(path: Path, array: NDArray, affine: NDArray[np.float64]) -> Path:
    """Write a NIfTI with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, None)
    # Without a qform, which could not hold a singular affine.
    image.set_sform(affine, code=1)
    nibabel.save(image, path)
    return path


def write_case(
    folder: Path,
    image: NDArray,
    label: NDArray,
    affine: NDArray[np.float64],
    label_affine: NDArray[np.float64] | None = None,
) -> Case:
    """Write one image with its label."""
    return Case(
        "sub-01",
        "FLAIR",
        write_image(folder / "sub-01_FLAIR.nii.gz", image, affine),
        write_image(folder / "sub-01_lesion-manual.nii.gz", label, affine if label_affine is None else label_affine),
    )


def patient_case(folder: Path, voxel: tuple[float, float, float], axcodes: str = "RAS", tilt: float = 0.0) -> Case:
    """The patient's case, stored with its axes in the order and direction of `axcodes`."""
    shape, affine = grid(voxel, tilt)
    images = []
    for array in patient(shape, affine):
        image = nibabel.Nifti1Image(array, affine)
        turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axcodes)))
        images.append(image.as_reoriented(turn))
    image, label = images
    return write_case(folder, np.asarray(image.dataobj), np.asarray(label.dataobj), image.affine)


def write_dataset(
    folder: Path, subjects: Iterable[str], contrasts: tuple[str, ...] = ("FLAIR",), voxel: float = 4.0, first: int = 0
) -> Path:
    """Write a BIDS data set in which every subject differs; other data sets' subjects have another `first`."""
    shape, affine = grid((voxel,) * 3)
    for seed, subject in enumerate(subjects, first):
        image, label = patient(shape, affine, seed)
        labels = folder / "derivatives" / "labels" / subject / "anat"
        for contrast in contrasts:
            write_image(folder / subject / "anat" / f"{subject}_{contrast}.nii.gz", image, affine)
            write_image(labels / f"{subject}_{contrast}_label-lesion_seg.nii.gz", label, affine)
    return folder

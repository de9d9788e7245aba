"""From a NIfTI image to the array that is trained on.

An image is read, turned to RAS, resampled to the study's isotropic spacing, cropped to what
is not air and normalised; its label goes the same way and stays soft.
"""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import Orientation, Spacing, SpatialResample
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from client.data.inventory import Case
from shared.errors import DataError

AIR = 0.02
"""Voxels below this share of the image's 99.5th percentile count as air."""

MOST_VOXELS = 2**30
"""In one image: 4 GiB as float32."""

CLIP = 6.0
"""Normalised intensities end here, so that a hot voxel does not drown the rest."""

FloatArray = NDArray[np.float32]
Scalar = TypeVar("Scalar", np.float16, np.float32, np.uint8)

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)
"""What nibabel raises for truncated, garbled and foreign files, colour images among them."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as the network takes it, and the way back to the image's own grid."""

    image: NDArray[np.float16]
    """(D, H, W), RAS, isotropic; mean 0 and standard deviation 1 inside the head."""
    affine: NDArray[np.float64]
    """(4, 4), voxel of `image` to mm."""
    own_affine: NDArray[np.float64]
    """(4, 4), voxel of the image's own grid to mm."""
    own_shape: tuple[int, ...]
    air: float
    """The normalised intensity at and below which a voxel is air."""

    def to_own_grid(self, segmentation: torch.Tensor) -> FloatArray:
        """A segmentation of shape `image.shape`, resampled to the image's own grid."""
        return _to_grid(segmentation, self.affine, self.own_affine, self.own_shape)


@dataclass(frozen=True, eq=False)
class Volume:
    """A prepared image, its label, and the way back to the image's own grid."""

    image: NDArray[np.float16]
    """(D, H, W), RAS, isotropic; mean 0 and standard deviation 1 inside the head."""
    label: NDArray[np.uint8]
    """(D, H, W), the soft label in steps of 1/255."""
    affine: NDArray[np.float64]
    """(4, 4), voxel of `image` to mm."""
    truth: NDArray[np.uint8]
    """The soft label in the image's own grid, in steps of 1/255."""
    own_affine: NDArray[np.float64]
    """(4, 4), voxel of `truth` to mm."""
    air: float
    """The normalised intensity at and below which a voxel is air."""

    def to_own_grid(self, segmentation: torch.Tensor) -> FloatArray:
        """A segmentation of shape `image.shape`, resampled to the image's own grid."""
        return _to_grid(segmentation, self.affine, self.own_affine, self.truth.shape)


def prepare(case: Case, spacing: float) -> Volume:
    """Read, check and prepare one case. Raises `DataError`."""
    image, affine = read_volume(case.image)
    label, label_affine = read_volume(case.label)
    check_image(case.image, image, affine)
    _check_label(case, image.shape, affine, label, label_affine)
    prepared, box = _prepare(case.image, image, affine, spacing)
    soft = _resample(label, affine, spacing).clip(0, 1)
    return Volume(
        image=prepared.image,
        label=_steps(soft.numpy()[0][box]),
        affine=prepared.affine,
        truth=_steps(label),
        own_affine=affine,
        air=prepared.air,
    )


def prepare_image(path: Path, image: FloatArray, affine: NDArray[np.float64], spacing: float) -> Prepared:
    """Check and prepare an image that has no label. Raises `DataError`, which names the file at `path`."""
    check_image(path, image, affine)
    return _prepare(path, image, affine, spacing)[0]


def _prepare(
    path: Path, image: FloatArray, affine: NDArray[np.float64], spacing: float
) -> tuple[Prepared, tuple[slice, ...]]:
    """The prepared image, and which box of the resampled one it is."""
    resampled = _resample(image, affine, spacing)
    values, grid = resampled.numpy()[0], np.asarray(resampled.affine, dtype=np.float64)
    air = AIR * float(np.percentile(values, 99.5))
    head = values > air
    if not head.any():
        raise DataError(f"{path} holds nothing but air: check the image", "has an image of nothing but air")
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(head))
    inside = values[head]
    mean, deviation = float(inside.mean()), max(float(inside.std()), 1e-6)
    grid[:3, 3] += grid[:3, :3] @ [side.start for side in box]
    normalised = ((values[box] - mean) / deviation).clip(-CLIP, CLIP).astype(np.float16)
    return Prepared(normalised, grid, affine, image.shape, (air - mean) / deviation), box


def pad_to(array: NDArray[Scalar], size: int, value: float) -> NDArray[Scalar]:
    """A (D, H, W) array of which no edge is shorter than `size`, filled evenly on both sides."""
    lacking = [max(0, size - edge) for edge in array.shape]
    return np.pad(array, [(edge // 2, edge - edge // 2) for edge in lacking], constant_values=value)


def read_volume(path: Path) -> tuple[FloatArray, NDArray[np.float64]]:
    """The voxels (D, H, W) and the affine of one 3D image or label. Raises `DataError`."""
    try:
        file: Any = nib.load(path)
        kind = file.get_data_dtype()
        if kind.kind not in "fiu":
            raise DataError(
                f"{path} is of type {kind}, but must hold one number a voxel: convert it", "is of a wrong type"
            )
        # Before any voxel is read: a garbled header may claim more than memory holds.
        if len(file.shape) != 3 or min(file.shape) < 2 or math.prod(file.shape) > MOST_VOXELS:
            raise DataError(
                f"{path} has shape {file.shape}, but must be one 3D volume: split or convert it", "has a wrong shape"
            )
        if file.header.get("qform_code", 1) == 0 and file.header.get("sform_code", 1) == 0:
            raise DataError(
                f"{path} has no affine (qform and sform are both unset): convert it again from its source",
                "has no affine",
            )
        return np.asarray(file.get_fdata(dtype=np.float32)), np.asarray(file.affine, dtype=np.float64)
    except UNREADABLE as error:
        reason = f"{path} cannot be read ({error}): copy it again from its source"
        raise DataError(reason, "cannot be read") from None


def check_image(path: Path, image: FloatArray, affine: NDArray[np.float64]) -> None:
    """Raise `DataError` where an image cannot be prepared."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise DataError(f"{path} has a singular affine: its header must give the voxel size", "has a singular affine")
    if not np.isfinite(image).all():
        raise DataError(f"{path} holds NaN or infinity: mend or replace the file", "holds NaN or infinity")


def _check_label(
    case: Case,
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    label: FloatArray,
    label_affine: NDArray[np.float64],
) -> None:
    """Raise `DataError` where a label cannot be trained on with its image, of this shape and affine."""
    if label.shape != shape or not np.allclose(label_affine, affine, atol=1e-2):
        raise DataError(
            f"{case.label} does not lie on the grid of {case.image.name}: resample the label to the image",
            "has a label off its image's grid",
        )
    if not np.isfinite(label).all():
        raise DataError(f"{case.label} holds NaN or infinity: mend or replace the file", "holds NaN or infinity")
    if label.min() < -1e-3 or label.max() > 1 + 1e-3:
        raise DataError(
            f"{case.label} runs from {label.min():g} to {label.max():g}, but a lesion label lies in [0, 1]: rescale it",
            "has a label outside [0, 1]",
        )


def _to_grid(
    segmentation: torch.Tensor, affine: NDArray[np.float64], own_affine: NDArray[np.float64], shape: tuple[int, ...]
) -> FloatArray:
    there = SpatialResample(mode="bilinear", padding_mode="zeros", align_corners=True)(
        MetaTensor(segmentation[None].cpu(), affine=torch.from_numpy(affine)),
        dst_affine=torch.from_numpy(own_affine),
        spatial_size=shape,
    )
    own: FloatArray = there[0].numpy().astype(np.float32)
    return own


def _resample(array: FloatArray, affine: NDArray[np.float64], spacing: float) -> MetaTensor:
    """(D, H, W) to RAS at isotropic `spacing`, (1, D', H', W'), without aliasing."""
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    # A Gaussian as wide as what the coarser voxel adds to the finer one (Cardoso et al. 2015).
    added = np.sqrt(np.maximum((spacing / voxel) ** 2 - 1, 0)) / (2 * np.sqrt(2 * np.log(2)))
    smooth = gaussian_filter(array, sigma=added, mode="nearest") if added.max() > 0.05 else array
    tensor = MetaTensor(torch.from_numpy(smooth)[None], affine=torch.from_numpy(affine))
    upright = Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))(tensor)
    there = Spacing(pixdim=(spacing,) * 3, mode="bilinear", padding_mode="border", align_corners=True)(upright)
    if not isinstance(there, MetaTensor):
        raise TypeError(f"MONAI's Spacing gave {type(there).__name__} for a MetaTensor")
    return there


def _steps(label: FloatArray) -> NDArray[np.uint8]:
    steps: NDArray[np.uint8] = np.rint(label.clip(0, 1) * 255).astype(np.uint8)
    return steps

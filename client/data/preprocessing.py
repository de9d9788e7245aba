"""From a NIfTI image to the array that is trained on.

An image is read, freed of hot voxels, turned to RAS, resampled to the study's isotropic spacing, cropped to what
is not air and normalised by mean and standard deviation of the head; its label goes the same way and stays soft.
Where the head is and what is no tissue is told on the image's own grid (client/data/head.py), before resampling could
smear it: neither the scale, the zero nor some wild voxels of an image change what becomes of it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import Orientation, Spacing
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from client.data.head import FoundHead
from client.data.inventory import Case
from client.data.lesions import box_around
from client.data.reading import Reading, read_case
from client.data.resampling import to_grid
from client.data.rules import Finding, problem, refusal

CLIP = 6.0
"""Normalised intensities end here, so that a hot voxel does not drown the rest."""

FloatArray = NDArray[np.float32]


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
        return to_grid(segmentation.cpu(), self.affine, self.own_affine, self.own_shape).numpy()


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
    warnings: tuple[Finding, ...] = ()
    """What a person should look at."""
    empty: Finding | None = None
    """Why the label marks no lesion; None where it marks some."""

    def to_own_grid(self, segmentation: torch.Tensor) -> torch.Tensor:
        """A segmentation of shape `image.shape`, resampled to the image's own grid, on its device."""
        return to_grid(segmentation, self.affine, self.own_affine, self.truth.shape)


def prepare(case: Case, spacing: float, allow_empty: bool = False) -> Volume:
    """Read, check and prepare one case; `allow_empty` lets in labels without lesion. Raises `DataError`."""
    return prepare_reading(read_case(case, allow_empty), spacing)


def prepare_reading(reading: Reading, spacing: float) -> Volume:
    """Prepare a case that was read. Raises `DataError` where it cannot be used."""
    image, label = reading.usable_pair()
    prepared, box = _prepare(reading.image_path, reading.usable_head(), image.affine, spacing)
    soft = _resample(label.array, image.affine, spacing).clip(0, 1)
    return Volume(
        image=prepared.image,
        label=_steps(soft.numpy()[0][box]),
        affine=prepared.affine,
        truth=_steps(label.array),
        own_affine=image.affine,
        air=prepared.air,
        warnings=reading.warnings,
        empty=reading.empty,
    )


def prepare_image(reading: Reading, spacing: float) -> Prepared:
    """Prepare an image that was read without a label. Raises `DataError` where it cannot be used."""
    image = reading.usable_image()
    return _prepare(reading.image_path, reading.usable_head(), image.affine, spacing)[0]


def _prepare(
    path: Path, head: FoundHead, affine: NDArray[np.float64], spacing: float
) -> tuple[Prepared, tuple[slice, ...]]:
    """The prepared image, and which box of the resampled one it is."""
    resampled = _resample(head.image, affine, spacing)
    # In rows, whatever order the file had: all that follows goes over rows.
    values, grid = resampled[0].contiguous().numpy(), np.asarray(resampled.affine, dtype=np.float64)
    inside = values > head.air
    box = box_around(inside)
    if not values[box].size:
        # What little signal there was, resampling has smoothed away.
        text = f"holds nothing but air at {spacing:g} mm"
        raise refusal(path, problem("air", "image", text, "check how it was made"))
    tissue = values[inside].astype(np.float64)
    mean = float(tissue.mean())
    deviation = max(float(tissue.std()), 1e-6 * (mean - head.floor))
    grid[:3, 3] += grid[:3, :3] @ [side.start for side in box]
    normalised = ((values[box] - mean) / deviation).clip(-CLIP, CLIP).astype(np.float16)
    return Prepared(normalised, grid, affine, head.image.shape, (head.air - mean) / deviation), box


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
    # In rows, as all arrays of a volume lie; files are read in columns, and mixing both takes many times as long.
    steps = np.zeros(label.shape, dtype=np.uint8)
    box = box_around(label > 0)
    steps[box] = np.rint(label[box].clip(0, 1) * 255)
    return steps

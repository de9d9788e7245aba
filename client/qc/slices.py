"""Choosing what to look at of a case: three axial slices through its lesions, small enough to keep for all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel import orientations as nib_orientations
from numpy.typing import NDArray

from client.data.lesions import LESION
from client.data.skull_stripping import FOREGROUND

orientations: Any = nib_orientations  # its functions carry no types

AT = (0.15, 0.5, 0.85)
"""How much of the lesion volume, or of the head, lies below each of the slices."""

STRAY = 0.02
"""Planes with less of the head than this share of its greatest plane hold noise."""

MARGIN = 0.05
"""Air left around the head, as a share of its size."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One axial slice as radiologists look at it: anterior up, the patient's right on the left."""

    image: NDArray[np.uint8]
    """(rows, columns), from black to white."""
    lesion: NDArray[np.bool_]
    """Of the same shape."""
    label: NDArray[np.float32]
    """Of the same shape: what `lesion` is where it reaches a half."""
    level: float
    """How high it lies in the head, from 0 at the bottom to 1 at the top."""


@dataclass(frozen=True, eq=False)
class View:
    """The slices of one case, from below."""

    slices: tuple[Slice, ...]
    aspect: float
    """Height of a pixel over its width."""
    upright: bool
    """Whether the affine told which way is up; else the slices are as stored."""


@dataclass(frozen=True, eq=False)
class Framed:
    """An image turned upright and cut to its head, with what is laid over it."""

    image: NDArray[np.float32]
    """(D, H, W), RAS where the affine told."""
    head: NDArray[np.bool_]
    """Of the same shape."""
    layers: tuple[NDArray[np.float32], ...]
    """Labels of the same shape, in the order given."""
    window: tuple[float, float]
    """What is black and what is white."""
    aspect: float
    """Height of a pixel over its width."""
    thickness: float
    """mm from a slice to the next; 1 where the affine did not tell."""
    upright: bool

    @property
    def planes(self) -> int:
        """Axial slices."""
        return int(self.image.shape[2])

    def grey(self, level: int) -> NDArray[np.uint8]:
        """One axial slice of the image, as `plane` turns it."""
        low, high = self.window
        plane = self.image[:, :, level]
        return self.turned((((plane - low) / max(high - low, 1e-6)).clip(0, 1) * 255).astype(np.uint8))

    def plane(self, layer: int, level: int) -> NDArray[np.float32]:
        """One axial slice of a label."""
        return self.turned(self.layers[layer][:, :, level]).copy()  # without the volume behind it

    def height(self, level: int) -> float:
        """How high a slice lies, from 0 at the bottom to 1 at the top."""
        return float(level / max(1, self.planes - 1))

    @staticmethod
    def turned(plane: NDArray[Any]) -> NDArray[Any]:
        """RAS to rows from the top: anterior up, right on the left."""
        return plane[::-1, ::-1].T


def frame(image: NDArray[np.float32], affine: NDArray[np.float64], *layers: NDArray[np.float32]) -> Framed:
    """An image (D, H, W), which may hold anything, with labels of its shape, ready to be cut into slices."""
    image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    parts, spacing, upright = list(layers), np.ones(3), _turns(affine)
    if upright:
        turn = orientations.io_orientation(affine)
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        spacing = lengths[np.argsort(turn[:, 0])]
        image = orientations.apply_orientation(image, turn)
        parts = [orientations.apply_orientation(part, turn) for part in parts]
    dark, bright = np.percentile(image, (2, 98))
    head = image > dark + FOREGROUND * (bright - dark)
    if not head.any():
        head = np.ones(image.shape, dtype=bool)
    # The brightest fat, or fluid, would leave all else dark.
    low, high = min(float(dark), 0.0), float(np.percentile(image[head], 98))
    lesion = np.any([layer >= LESION for layer in parts], axis=0) if parts else np.zeros(image.shape, dtype=bool)
    box = tuple(_extent(head.sum(axis=others), lesion.sum(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return Framed(
        image=image[box],
        head=head[box],
        layers=tuple(layer[box] for layer in parts),
        window=(low, high),
        aspect=float(spacing[1] / spacing[0]),
        thickness=float(spacing[2]),
        upright=upright,
    )


def slices_of(image: NDArray[np.float32], affine: NDArray[np.float64], label: NDArray[np.float32] | None) -> View:
    """Slices of an image (D, H, W), which may hold anything, with its label where that fits."""
    framed = frame(image, affine, np.zeros(image.shape, dtype=np.float32) if label is None else label)
    lesion = framed.layers[0] >= LESION
    # What lies below which height; lesions decide where there are any.
    mass = (lesion if lesion.any() else framed.head).sum(axis=(0, 1)).cumsum()
    levels = np.unique([int(np.searchsorted(mass, share * mass[-1])) for share in AT])
    if len(levels) < len(AT) <= framed.planes:
        middle = int(levels.mean().round())
        step = max(1, framed.planes // 10)
        levels = np.unique(np.clip([middle - step, middle, middle + step], 0, framed.planes - 1))
    labels = [(level, framed.plane(0, level)) for level in map(int, levels)]
    slices = tuple(Slice(framed.grey(level), plane >= LESION, plane, framed.height(level)) for level, plane in labels)
    return View(slices, framed.aspect, framed.upright)


def _turns(affine: NDArray[np.float64]) -> bool:
    """Whether an affine tells each axis's direction and length."""
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(lengths.min() > 0 and abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)


def _extent(head: NDArray[np.int64], lesion: NDArray[np.int64]) -> slice:
    """From where to where along an axis head and lesions lie, by voxels in each plane; stray ones do not count."""
    where = np.flatnonzero((head > STRAY * head.max()) | (lesion > 0))
    margin = round(MARGIN * (where[-1] - where[0] + 1))
    return slice(max(0, int(where[0]) - margin), int(where[-1]) + margin + 1)

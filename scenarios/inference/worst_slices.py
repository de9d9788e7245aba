"""Where a segmentation errs most: the slices of an image that miss most voxels, and those that hold most false ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.data.lesions import voxel_ml
from client.qc.slices import Framed, frame
from scenarios.inference.lesion_counts import Mask

NOTHING, HIT, MISSED, FALSE = range(4)
"""What a voxel of a slice is."""

APART = 8.0
"""mm between two slices that are shown, so that they show different errors."""

MOST_MISSED, MOST_FALSE = 2, 1
"""Slices shown of either kind."""


@dataclass(frozen=True, eq=False)
class ErrorSlice:
    """One axial slice, anterior up and the patient's right on the left."""

    image: NDArray[np.uint8]
    """(rows, columns), from black to white."""
    kinds: NDArray[np.uint8]
    """Of the same shape: `NOTHING`, `HIT`, `MISSED` or `FALSE`."""
    height: float
    """In the head, from 0 at the bottom to 1 at the top."""
    hit_ml: float
    missed_ml: float
    false_ml: float


@dataclass(frozen=True, eq=False)
class ErrorView:
    """The worst slices of one image, from below."""

    slices: tuple[ErrorSlice, ...]
    """Empty where nothing was missed and nothing is false."""
    aspect: float
    """Height of a pixel over its width."""
    upright: bool
    """Whether the affine told which way is up; else the slices are as stored."""


def worst_slices(image: NDArray[np.float32], affine: NDArray[np.float64], truth: Mask, found: Mask) -> ErrorView:
    """The slices of an image (D, H, W) in which most voxels are missed, and in which most are false."""
    framed = frame(image, affine, truth.astype(np.float32), found.astype(np.float32))
    there, seen = (layer > 0 for layer in framed.layers)
    missed, false = (np.count_nonzero(part, axis=(0, 1)) for part in (there & ~seen, seen & ~there))
    chosen: list[int] = []
    for errors, most in ((missed, MOST_MISSED), (false, MOST_FALSE)):
        chosen += _worst(errors, most, chosen, framed.thickness)
    slices = tuple(_slice(framed, level, voxel_ml(affine)) for level in sorted(chosen))
    return ErrorView(slices, framed.aspect, framed.upright)


def _worst(errors: NDArray[np.intp], most: int, chosen: list[int], thickness: float) -> list[int]:
    """At most so many slices, those of most errors first, none beside another or one that is chosen already."""
    found: list[int] = []
    for level in map(int, np.argsort(-errors, kind="stable")):
        if len(found) == most or not errors[level]:
            break
        if all(abs(level - other) * thickness >= APART for other in (*chosen, *found)):
            found.append(level)
    return found


def _slice(framed: Framed, level: int, voxel: float) -> ErrorSlice:
    there, seen = (framed.plane(layer, level) > 0 for layer in (0, 1))
    kinds = np.select([there & seen, there, seen], [HIT, MISSED, FALSE], NOTHING).astype(np.uint8)
    hit, missed, false = (int(np.count_nonzero(kinds == kind)) * voxel for kind in (HIT, MISSED, FALSE))
    return ErrorSlice(framed.grey(level), kinds, framed.height(level), hit, missed, false)

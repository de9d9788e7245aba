"""How many lesions of an image were found, by their size, and how many were seen where there are none.

A lesion counts as found by one voxel in common, as in `client/evaluation/metrics.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from client.data.lesions import number_lesions, voxel_ml

Mask = NDArray[np.bool_]

SIZES = {"under 0.1 ml": 0.1, "0.1 to 1 ml": 1.0, "over 1 ml": inf}
"""Classes of lesions by their volume, and where each ends; 0.1 and 1 ml themselves are of the middle one."""

GRAIN = 9
"""Decimals of a ml that are kept, so that 100 voxels of 0.001 ml are 0.1 ml whatever rounding made of them."""


@dataclass(frozen=True)
class LesionCounts:
    """The lesions of one image, or of several together."""

    labelled_ml: float
    """Volume of the voxels whose label is 0.5 or more."""
    found_ml: float
    """Volume of the voxels whose segmentation is 0.5 or more."""
    labelled: tuple[int, ...]
    """Labelled lesions of each class of `SIZES`."""
    hit: tuple[int, ...]
    """Those of them that were found."""
    segmented: int
    """Lesions of the segmentation."""
    false: int
    """Those of them that meet no labelled one."""

    @property
    def lesions(self) -> int:
        """Labelled lesions of all sizes."""
        return sum(self.labelled)

    @property
    def missed(self) -> int:
        """Labelled lesions that were not found."""
        return self.lesions - sum(self.hit)


def count_lesions(truth: Mask, found: Mask, affine: NDArray[np.float64]) -> LesionCounts:
    """Count the lesions of two masks (D, H, W) on one grid, whose `affine` leads from voxel to mm."""
    voxel = voxel_ml(affine)
    numbers, lesions = number_lesions(truth)
    ml = (np.bincount(numbers.ravel(), minlength=lesions + 1)[1:] * voxel).round(GRAIN)
    hit = np.bincount(numbers[truth & found], minlength=lesions + 1)[1:] > 0
    # The last class has no end, and the one before it holds its own.
    middle, last = list(SIZES.values())[:2]
    size = np.where(ml < middle, 0, np.where(ml <= last, 1, 2))
    others, segmented = number_lesions(found)
    true = np.count_nonzero(np.bincount(others[truth & found], minlength=segmented + 1)[1:])
    return LesionCounts(
        labelled_ml=int(np.count_nonzero(truth)) * voxel,
        found_ml=int(np.count_nonzero(found)) * voxel,
        labelled=_by_size(size),
        hit=_by_size(size[hit]),
        segmented=segmented,
        false=segmented - int(true),
    )


def _by_size(size: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(number) for number in np.bincount(size, minlength=len(SIZES)))


def total(counts: Iterable[LesionCounts]) -> LesionCounts:
    """The counts of several images together."""
    found = list(counts)
    return LesionCounts(
        labelled_ml=sum(one.labelled_ml for one in found),
        found_ml=sum(one.found_ml for one in found),
        labelled=tuple(sum(one.labelled[i] for one in found) for i in range(len(SIZES))),
        hit=tuple(sum(one.hit[i] for one in found) for i in range(len(SIZES))),
        segmented=sum(one.segmented for one in found),
        false=sum(one.false for one in found),
    )

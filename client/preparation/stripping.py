"""Which voxels are brain: by a mask that the hospital has, or by deepbet (Fisch et al. 2024).

deepbet carries its weights in its wheel. It learnt from T1-weighted heads; what it is worth on FLAIR and T2w stands
in `docs/prepare.md`. Whatever made a mask, it is refused where its volume is no brain's, or where it cuts off lesions.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.lesions import LESION
from client.preparation.extra import extra
from client.preparation.volume import ScanVolume, nib
from shared.errors import DataError

Mask = NDArray[np.bool_]

PLAUSIBLE_ML = (700.0, 2200.0)
"""Brain with the fluid around it: up to 2000 ml in adults, and masks made of a T2w are a tenth or more too large."""

MOST_CUT = 0.01
"""Of a label's lesion voxels, so many may lie outside the brain."""

LAST_WAY = "give a mask of your own (--mask), or keep the head (--no-strip)"


def find_brain(head: ScanVolume) -> Mask:
    """The brain in an image that shows a whole head. Raises `DataError` where none is found."""
    image = nib.Nifti1Image(head.array, head.affine)
    try:
        _, mask, _ = _deepbet().run(image)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise DataError(f"shows no brain that deepbet finds ({error}): {LAST_WAY}") from None
    return np.asarray(mask.dataobj) > 0


@functools.cache
def _deepbet() -> Any:
    return extra("deepbet").BrainExtraction(no_gpu=True)


def check_brain(brain: Mask, image: ScanVolume, label: ScanVolume | None) -> None:
    """Raise `DataError` where a mask is no brain's by its volume, or cuts off more than `MOST_CUT` of the lesions."""
    ml = brain_ml(brain, image)
    if not PLAUSIBLE_ML[0] <= ml <= PLAUSIBLE_ML[1]:
        low, high = PLAUSIBLE_ML
        raise DataError(f"has a brain of {ml:.0f} ml by its mask, and {low:.0f} to {high:.0f} ml are right: {LAST_WAY}")
    if label is not None and (cut := share_cut(brain, label)) > MOST_CUT:
        text = f"loses {cut:.1%} of its lesion voxels by its mask, and {MOST_CUT:.0%} is allowed"
        raise DataError(f"{text}: look whether the label fits the image; else {LAST_WAY}")


def brain_ml(brain: Mask, image: ScanVolume) -> float:
    """The volume of a mask on an image's grid."""
    return int(np.count_nonzero(brain)) * image.voxel_ml


def share_cut(brain: Mask, label: ScanVolume) -> float:
    """The share of a label's lesion voxels that lie outside the brain; 0 where there are none."""
    lesion = label.array >= LESION
    count = int(np.count_nonzero(lesion))
    return int(np.count_nonzero(lesion & ~brain)) / count if count else 0.0

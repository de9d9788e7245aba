"""Thick slices stored as thin ones: what many public data sets hold, whose images were registered to an atlas."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.anatomy import Tissues
from shared.phantoms.grids import Array, Grid
from shared.phantoms.signals import Contrast

STEPS = 0.4
"""Of a slice's thickness: by how much (standard deviation) its steps are smoothed at the brain's surface."""


def resampled(
    images: Mapping[Contrast, NDArray[np.int16]], label: Array, tissues: Tissues, taken: Grid, stored: Grid
) -> tuple[dict[Contrast, NDArray[np.int16]], Array, Tissues]:
    """Return images, label and tissues on another grid than they were taken on, as linear interpolation has them.

    Beside the brain nothing is mixed in: data sets are skull-stripped after resampling. A voxel is brain where at least
    half of it is, once the steps of thick slices are smoothed. Of the tissues come grey matter, distance and brain,
    which counting lesions asks for.
    """
    share = taken.read(tissues.brain.astype(np.float32), stored)
    thickness = max(taken.voxel)
    smooth = ndimage.gaussian_filter(
        share, [STEPS * thickness / size if size < thickness else 0 for size in taken.voxel], truncate=2
    )
    brain = (smooth >= 0.5) & (share >= 0.25)
    made = {}
    for contrast, image in images.items():
        values = taken.read(image.astype(np.float32), stored)[brain] / share[brain]
        fine = np.zeros(stored.shape, dtype=np.int16)
        fine[brain] = np.clip(np.rint(values), 1, np.iinfo(np.int16).max)
        made[contrast] = fine
    there = replace(
        tissues,
        gm=taken.read(tissues.gm, stored),
        ventricle_distance=taken.read(tissues.ventricle_distance, stored),
        brain=brain,
    )
    return made, taken.read(label, stored) * brain, there

"""One simulated patient, complete: drawn by name and number, the same whatever else is made."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.phantoms.anatomy import Anatomy
from shared.phantoms.census import Found, find_lesions
from shared.phantoms.centers import CenterProfile
from shared.phantoms.grids import Array
from shared.phantoms.lesions import make_lesions
from shared.phantoms.resampling import resampled
from shared.phantoms.scanner import scan
from shared.phantoms.signals import Contrast
from shared.phantoms.variation import draw_grids, draw_takes
from shared.seeds import generator

LOADS = (0.1, 150.0)
"""Least and greatest lesion volume that is drawn, in ml."""


@dataclass(frozen=True)
class Patient:
    """Images and their soft lesion label, all on one grid, stored towards right, anterior and superior."""

    images: Mapping[Contrast, NDArray[np.int16]]
    """One in each of the center's contrasts, as it were registered to each other."""
    label: Array
    affine: NDArray[np.float64]
    atrophy: float
    lesions: tuple[Found, ...]
    """Each separate lesion (label at least 0.5, joined at faces, edges or corners)."""

    @property
    def lesion_ml(self) -> float:
        """The lesions' volume, counted by fractions of voxels."""
        return float(self.label.sum(dtype=np.float64)) * self._voxel_ml

    @property
    def lesion_count(self) -> int:
        """The number of separate lesions."""
        return len(self.lesions)

    @property
    def brain_ml(self) -> float:
        """The volume inside the skull-stripped brain."""
        return float(np.count_nonzero(next(iter(self.images.values())))) * self._voxel_ml

    @property
    def _voxel_ml(self) -> float:
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000


def make_patient(center: CenterProfile, subject: int, spacing: float, seed: int) -> Patient:
    """Simulate subject 1, 2, ... of a center at an in-plane voxel size in mm.

    Anatomy and lesions are the same at every spacing.
    """
    words = ("phantom", center.name, subject)
    grid, stored = draw_grids(center, subject, spacing, seed)
    anatomy = Anatomy(generator(seed, *words, "anatomy"))
    tissues = anatomy.tissues(grid)

    rng = generator(seed, *words, "lesions")
    load = float(np.clip(rng.lognormal(np.log(center.load), center.spread), *LOADS))
    free = rng.random() < center.lesion_free
    lesions = make_lesions(rng, 0.0 if free else load, anatomy, tissues, grid, center.rater)

    noise = {
        contrast: generator(seed, *words, "scanner", *([contrast] if n else []))
        for n, contrast in enumerate(center.protocols)
    }
    images = {
        contrast: scan(take.protocol, tissues, lesions, grid, noise[contrast], take.effects)
        for contrast, take in draw_takes(center, subject, grid, seed).items()
    }
    label = lesions.label
    if stored != grid:
        images, label, tissues = resampled(images, label, tissues, grid, stored)
    found = find_lesions(label, anatomy, tissues, stored)
    return Patient(images, label, stored.affine, anatomy.atrophy, found)

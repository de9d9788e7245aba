"""Heads with a known brain: a brain, real or simulated, inside a simulated skull and scalp."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.preparation.volume import ScanVolume
from shared.phantoms.anatomy import Anatomy
from shared.phantoms.centers import CENTERS
from shared.phantoms.grids import Grid
from shared.phantoms.lesions import make_lesions
from shared.phantoms.scanner import scan
from shared.phantoms.signals import Contrast
from shared.seeds import generator

FLUID_MM, SKULL_MM, SCALP_MM = 2.0, 7.0, 13.0
"""How far from the brain the fluid around it, the skull and the scalp end."""

SHARES: dict[str, tuple[float, float, float]] = {"FLAIR": (0.15, 0.06, 1.3), "T2w": (2.0, 0.06, 1.2)}
"""Signal of fluid, skull and scalp beside the brain's median."""

NOISE = 0.03


@dataclass(frozen=True, eq=False)
class Head:
    """An image with skull and scalp, its lesions, and where the brain is."""

    image: ScanVolume
    label: NDArray[np.float32]
    brain: NDArray[np.bool_]


@cache
def simulated_brains(spacing: tuple[float, float, float], subject: int = 1) -> dict[str, Head]:
    """FLAIR and T2w of one simulated patient, without skull: the same anatomy and lesions in both."""
    grid = Grid.covering(spacing)
    anatomy = Anatomy(generator(0, "prepared", subject, "anatomy"))
    tissues = anatomy.tissues(grid)
    rng = generator(0, "prepared", subject, "lesions")
    lesions = make_lesions(rng, 8.0, anatomy, tissues, grid)
    made = {}
    contrasts: tuple[Contrast, ...] = ("FLAIR", "T2w")
    for contrast in contrasts:
        noise = generator(0, "prepared", subject, contrast)
        image = scan(CENTERS["karo"].protocols[contrast], tissues, lesions, grid, noise).astype(np.float32)
        made[contrast] = Head(ScanVolume(image, grid.affine), lesions.label, image > 0)
    return made


def with_skull(brain: Head, contrast: str) -> Head:
    """The same head, not stripped, with as much more air around it as it needs."""
    spacing = brain.image.spacing
    pad = [(int(np.ceil((SCALP_MM + 6) / edge)),) * 2 for edge in spacing]
    image = np.pad(brain.image.array, pad)
    inside = np.asarray(ndimage.binary_fill_holes(np.pad(brain.brain, pad)))
    affine = brain.image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [one for one, _ in pad]
    away = ndimage.distance_transform_edt(~inside, sampling=spacing)
    middle = float(np.median(image[inside]))
    fluid, skull, scalp = (middle * share for share in SHARES[contrast])
    around = np.select([away < FLUID_MM, away < SKULL_MM, away < SCALP_MM], [fluid, skull, scalp], 0.0)
    noise = np.random.default_rng(0).normal(0, NOISE * middle, image.shape)
    whole = np.where(inside, image, np.abs(around + noise)).astype(np.float32)
    return Head(ScanVolume(whole, affine), np.pad(brain.label, pad), inside)


def in_slices(head: Head, thickness: int) -> Head:
    """The same head in slices of so many voxels, along the last axis."""
    count = head.image.array.shape[2] // thickness

    def mean(array: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = array[:, :, : count * thickness].reshape(*array.shape[:2], count, thickness)
        return np.asarray(parts.mean(axis=3), dtype=np.float32)

    affine = head.image.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (thickness - 1) / 2
    affine[:3, 2] *= thickness
    image = ScanVolume(mean(head.image.array), affine)
    return replace(head, image=image, label=mean(head.label), brain=mean(head.brain.astype(np.float32)) >= 0.5)

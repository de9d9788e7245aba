"""From tissues to an image: one center's protocol makes of a patient what its scanner would store.

Intensities are relative to white matter, which is 1. FLAIR: fluid dark, grey matter brighter than white,
lesions brightest. T2w: lesions bright, fluid brightest.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from phantoms.anatomy import Tissues
from phantoms.grids import Grid, SmoothField
from phantoms.lesions import LesionMaps

Contrast = Literal["FLAIR", "T2w"]


@dataclass(frozen=True)
class Protocol:
    """One center's way of making one contrast: its signature in every image."""

    gm: float
    """Brightness of grey matter; white matter is 1."""
    csf: float
    lesion: float
    noise: float
    """Standard deviation of each of the two channels of Rician noise."""
    bias: float
    """Standard deviation of the logarithm of the coil's shading."""
    blur: float
    """Width (standard deviation, mm) of blurring beyond the voxel's own."""
    level: float
    """Stored value of white matter, before each session's own gain."""
    gamma: float = 1.0
    """Curve of the stored values: below 1 flattens the bright end."""
    halo: float = 0.12
    """Extra brightness of the normal tissue right at the ventricles: not lesion, and a lure."""


def scan(
    protocol: Protocol, tissues: Tissues, lesions: LesionMaps, grid: Grid, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return the image that a protocol stores: at least 1 in the brain and exactly 0 outside it."""
    axes = grid.axes()
    patchy = SmoothField(rng, 22.0)(axes)  # cortex is not equally bright everywhere
    diffuse = SmoothField(rng, 16.0)(axes)  # nor is white matter, least of all in MS
    contrast = protocol.gm - 1
    gm = protocol.gm + 0.35 * contrast * patchy
    wm = 1 + 0.2 * contrast * diffuse + protocol.halo * np.exp(-tissues.ventricle_distance / 2.5)
    normal = tissues.gm * gm + tissues.wm * wm + tissues.csf * protocol.csf
    brightness = 1 + (protocol.lesion - 1) * lesions.strength / np.maximum(lesions.fraction, 1e-6)
    signal = normal * (1 - lesions.fraction) + brightness * lesions.fraction

    if protocol.blur > 0:
        signal = ndimage.gaussian_filter(signal, [protocol.blur / size for size in grid.voxel], truncate=3)
    signal *= np.exp(protocol.bias * SmoothField(rng, 70.0)(axes))
    real = signal + protocol.noise * rng.standard_normal(grid.shape, dtype=np.float32)
    imaginary = protocol.noise * rng.standard_normal(grid.shape, dtype=np.float32)
    magnitude = np.sqrt(real**2 + imaginary**2) ** protocol.gamma
    gain = protocol.level * float(np.exp(rng.normal(0, 0.12)))
    stored = np.clip(np.rint(gain * magnitude), 1, np.iinfo(np.int16).max)
    return np.where(tissues.brain, stored, 0).astype(np.int16)

"""MS lesions: where they lie, how many, how large and what shape, as volume fractions of voxels.

The four regions are those of the McDonald criteria (Thompson et al. 2018); lesion volumes are roughly
log-normal, many small and few large; periventricular ones stretch away from the ventricle (Dawson's
fingers), and where many lie close together they run into each other.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from phantoms.anatomy import Anatomy, Tissues
from phantoms.atlas import COARSE, Place, load_atlas
from phantoms.grids import FIELD_ORIGIN, Array, Grid, SmoothField

EDGE = 1.4
"""Width in mm over which a lesion fades into its surroundings."""
LARGEST = 9.0
"""ml of the largest single lesion."""
YIELD = 1.12
"""Label volume per drawn volume (measured): irregular outlines add, overlap and spared tissue take away."""


@dataclass(frozen=True)
class Kind:
    """One region's lesions: share of the count, size beside the others, lengths of the three half axes.

    The first half axis points away from the ventricle.
    """

    place: Place
    share: float
    size: float
    stretch: tuple[float, float, float]


KINDS = (
    Kind("periventricular", 0.42, 1.7, (1.35, 0.95, 0.78)),
    Kind("juxtacortical", 0.22, 0.7, (0.8, 1.25, 1.0)),
    Kind("deep", 0.28, 0.8, (1.0, 1.0, 1.0)),
    Kind("infratentorial", 0.08, 0.6, (0.9, 1.05, 1.05)),
)


@dataclass(frozen=True)
class Lesion:
    """One ellipsoid in MNI152 space: middle (3,), half axes in mm (3,), directions (3, 3), brightness."""

    kind: Kind
    middle: Array
    half_axes: Array
    directions: Array
    strength: float


@dataclass(frozen=True)
class LesionMaps:
    """What the scanner and the rater need to know of the lesions, on one grid."""

    fraction: Array
    """The part of each voxel that is lesion, 0 to 1: the soft label."""
    strength: Array
    """The same times each lesion's own brightness beside the others, 0.7 to 1.2."""


def draw_lesions(rng: np.random.Generator, millilitres: float) -> list[Lesion]:
    """Draw lesions until their volume is about `millilitres` in the finished label."""
    lesions: list[Lesion] = []
    left = millilitres / YIELD
    shares = np.cumsum([kind.share for kind in KINDS])
    typical = 0.10 * (millilitres / 8) ** 0.3  # who has many lesions has larger ones too
    while left > 0:
        kind = KINDS[int(np.searchsorted(shares, rng.uniform(0, shares[-1] - 1e-9)))]
        volume = float(np.clip(typical * kind.size * rng.lognormal(0, 1.1), 0.025, min(LARGEST, 0.4 * millilitres)))
        lesions.append(_draw_lesion(rng, kind, min(volume, max(left, 0.025))))
        left -= volume
    return lesions


def paint_lesions(
    lesions: list[Lesion], rng: np.random.Generator, anatomy: Anatomy, tissues: Tissues, grid: Grid
) -> LesionMaps:
    """Return the lesions' volume fractions: sampled finely in each voxel, irregular, none in fluid."""
    outline = SmoothField(rng, 7.0)
    split = max(1, round(float(np.prod(grid.voxel)) ** (1 / 3)))
    fraction = np.zeros(grid.shape, dtype=np.float32)
    strength = np.zeros(grid.shape, dtype=np.float32)
    for lesion in lesions:
        reach = 1.6 * float(lesion.half_axes.max()) + EDGE + 1.0  # the warp changes sizes slightly
        first = (anatomy.world_point(lesion.middle) - np.asarray(FIELD_ORIGIN)) / grid.voxel
        margin = reach / np.asarray(grid.voxel)
        start = np.floor(first - margin).astype(int).clip(0)
        stop = np.ceil(first + margin).astype(int).clip(start + 1, np.asarray(grid.shape))
        axes = grid.axes(tuple(start), tuple(stop), split)

        offset = anatomy.template_points(axes) - lesion.middle.reshape(3, 1, 1, 1)
        along = np.einsum("ij,jxyz->ixyz", lesion.directions, offset) / lesion.half_axes.reshape(3, 1, 1, 1)
        radius = np.sqrt((along**2).sum(axis=0)) * (1 + 0.22 * np.clip(outline(axes), -2, 2))
        inward = (1 - radius) * float(np.prod(lesion.half_axes)) ** (1 / 3)
        inside = np.clip(0.5 + inward / EDGE, 0, 1)
        nx, ny, nz = stop - start
        part = inside.reshape(nx, split, ny, split, nz, split).mean(axis=(1, 3, 5))

        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        fraction[box] = np.maximum(fraction[box], part)
        strength[box] = np.maximum(strength[box], part * lesion.strength)

    # Lesions spare fluid, and cortex in part; they take the grey matter beside ventricles.
    cortex = tissues.gm * (1 - np.exp(-tissues.ventricle_distance / 8))
    allowed = np.clip(1 - tissues.csf - 0.5 * cortex, 0, 1) * tissues.brain
    return LesionMaps(fraction * allowed, strength * allowed)


def _draw_lesion(rng: np.random.Generator, kind: Kind, volume: float) -> Lesion:
    atlas = load_atlas()
    points, probability = atlas.places[kind.place]
    middle = points[int(np.searchsorted(probability, rng.uniform(0, 1 - 1e-9)))] + rng.uniform(-1, 1, 3)
    stretch = np.asarray(kind.stretch) * np.exp(rng.normal(0, 0.15, 3))
    half_axes = stretch * (volume * 1000 / (4 / 3 * np.pi * np.prod(stretch))) ** (1 / 3)

    index = (middle - np.asarray(FIELD_ORIGIN)).reshape(3, 1) / COARSE
    away = [ndimage.map_coordinates(d, index, order=1, mode="nearest")[0] for d in atlas.ventricle_direction]
    frame = np.column_stack([np.asarray(away) + rng.normal(0, 0.2, 3), rng.standard_normal((3, 2))])
    directions, _ = np.linalg.qr(frame)  # the first direction stays, the others turn to right angles
    return Lesion(
        kind=kind,
        middle=middle.astype(np.float32),
        half_axes=half_axes.astype(np.float32),
        directions=directions.T.astype(np.float32),
        strength=float(rng.uniform(0.7, 1.2)),
    )

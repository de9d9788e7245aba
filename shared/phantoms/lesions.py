"""MS lesions: where they lie, how many, how large and what shape, as volume fractions of voxels.

The four regions are those of the McDonald criteria (Thompson et al. 2018); lesion volumes are roughly
log-normal, many small and few large; periventricular ones stretch away from the ventricle (Dawson's
fingers), and where many lie close together they run into each other. Most lesions are subcortical, most of
the volume is periventricular (Pongratz et al., NeuroImage: Clinical 37:103311, 2023); at 19 ml a patient one lesion
has 0.17 ml on average (Lesjak et al., Neuroinformatics 16:51-63, 2018). What counts is 3 mm long or more (Filippi et
al., Brain 142:1858-1875, 2019).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.anatomy import Anatomy, Tissues
from shared.phantoms.atlas import COARSE, Place, load_atlas
from shared.phantoms.grids import FIELD_ORIGIN, Array, Grid, SmoothField
from shared.phantoms.relaxation import LESION_T1, LESION_T2

EDGES = (1.0, 3.0)
"""Least and greatest width in mm over which a lesion fades into its surroundings."""
LARGEST = 9.0
"""ml of the largest single lesion."""
SMALLEST = 0.014
"""ml of a ball of 3 mm."""
SPREAD = 1.25
"""Standard deviation of the logarithm of a lesion's volume."""
RIM = 3.0
"""mm around a lesion in which white matter is changed, too, but not counted: dirty-appearing white matter."""
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
    Kind("periventricular", 0.30, 2.6, (1.35, 0.95, 0.78)),
    Kind("juxtacortical", 0.20, 0.7, (0.8, 1.25, 1.0)),
    Kind("deep", 0.42, 0.8, (1.0, 1.0, 1.0)),
    Kind("infratentorial", 0.08, 0.7, (0.9, 1.05, 1.05)),
)


@dataclass(frozen=True)
class Lesion:
    """One ellipsoid in MNI152 space: middle (3,), half axes in mm (3,), directions (3, 3), and what it is made of."""

    kind: Kind
    middle: Array
    half_axes: Array
    directions: Array
    t2: float
    """How far its T2 lies on the way from white matter to the most damaged tissue."""
    t1: float
    edge: float
    """Width in mm over which it fades."""


@dataclass(frozen=True)
class LesionMaps:
    """What the scanner and the rater need to know of the lesions, on one grid."""

    fraction: Array
    """The part of each voxel that is lesion, 0 to 1: the soft label."""
    t2: Array
    """The same times how far each lesion's T2 lies on the way from white matter to the most damaged tissue."""
    t1: Array
    """The same of T1."""
    rim: Array
    """How much the tissue around lesions is changed, 0 to 1."""
    label: Array
    """The fractions as a rater outlined them: `fraction`, where none is simulated."""


def draw_lesions(rng: np.random.Generator, millilitres: float) -> list[Lesion]:
    """Draw lesions until their volume is about `millilitres` in the finished label."""
    lesions: list[Lesion] = []
    left = millilitres / YIELD
    shares = np.cumsum([kind.share for kind in KINDS])
    # Who has many lesions has larger ones, too. The mean of a log-normal is its median times exp(spread^2 / 2).
    mean = sum(kind.share * kind.size for kind in KINDS)
    typical = 0.17 / mean / np.exp(SPREAD**2 / 2) * (millilitres / 19) ** 0.3
    while left > 0:
        kind = KINDS[int(np.searchsorted(shares, rng.uniform(0, shares[-1] - 1e-9)))]
        volume = float(
            np.clip(typical * kind.size * rng.lognormal(0, SPREAD), SMALLEST, min(LARGEST, 0.4 * millilitres))
        )
        lesions.append(_draw_lesion(rng, kind, min(volume, max(left, SMALLEST))))
        left -= volume
    return _pointed(lesions)


def paint_lesions(
    lesions: list[Lesion],
    rng: np.random.Generator,
    anatomy: Anatomy,
    tissues: Tissues,
    grid: Grid,
    rater: float = 0.0,
) -> LesionMaps:
    """Return the lesions' volume fractions: sampled finely in each voxel, irregular, none in fluid.

    `rater` is the standard deviation in mm by which a rater's outline of each lesion is too wide or too narrow.
    """
    outline = SmoothField(rng, 7.0)
    split = max(1, round(float(np.prod(grid.voxel)) ** (1 / 3)))
    fraction = np.zeros(grid.shape, dtype=np.float32)
    t2, t1, rim, outlined = (np.zeros(grid.shape, dtype=np.float32) for _ in range(4))
    middles = np.array([lesion.middle for lesion in lesions], dtype=np.float64).reshape(-1, 3)
    placed = (anatomy.world_points(middles.T).T - np.asarray(FIELD_ORIGIN)) / grid.voxel
    for lesion, first in zip(lesions, placed, strict=True):
        reach = 1.6 * float(lesion.half_axes.max()) + RIM + 1.0  # the warp changes sizes slightly
        margin = reach / np.asarray(grid.voxel)
        start = np.floor(first - margin).astype(int).clip(0)
        stop = np.ceil(first + margin).astype(int).clip(start + 1, np.asarray(grid.shape))
        axes = grid.axes(tuple(start), tuple(stop), split)

        offset = anatomy.template_points(axes) - lesion.middle.reshape(3, 1, 1, 1)
        along = np.einsum("ij,jxyz->ixyz", lesion.directions, offset) / lesion.half_axes.reshape(3, 1, 1, 1)
        radius = np.sqrt((along**2).sum(axis=0)) * (1 + 0.22 * np.clip(outline(axes), -2, 2))
        inward = (1 - radius) * float(np.prod(lesion.half_axes)) ** (1 / 3)
        inside = np.clip(0.5 + inward / lesion.edge, 0, 1)
        nx, ny, nz = stop - start

        def of_voxels(values: Array, shape: tuple[int, ...] = (nx, split, ny, split, nz, split)) -> Array:
            return np.asarray(values.reshape(shape).mean(axis=(1, 3, 5)))

        part = of_voxels(inside)

        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        fraction[box] = np.maximum(fraction[box], part)
        t2[box] = np.maximum(t2[box], part * lesion.t2)
        t1[box] = np.maximum(t1[box], part * lesion.t1)
        rim[box] = np.maximum(rim[box], of_voxels(np.clip(1 + inward / RIM, 0, 1)))
        if rater:
            off = float(rng.normal(0, rater))
            outlined[box] = np.maximum(outlined[box], of_voxels(np.clip(0.5 + (inward + off) / lesion.edge, 0, 1)))

    # Lesions spare fluid, and cortex in part; they take the grey matter beside ventricles.
    box = tissues.box
    cortex = tissues.gm[box] * (1 - np.exp(-tissues.ventricle_distance[box] / 8))
    allowed = np.zeros(grid.shape, dtype=np.float32)
    allowed[box] = np.clip(1 - tissues.csf[box] - 0.5 * cortex, 0, 1) * tissues.brain[box]
    fraction *= allowed
    t2 *= allowed
    t1 *= allowed
    return LesionMaps(fraction, t2, t1, rim, outlined * allowed if rater else fraction)


def _draw_lesion(rng: np.random.Generator, kind: Kind, volume: float) -> Lesion:
    atlas = load_atlas()
    points, probability = atlas.places[kind.place]
    middle = points[int(np.searchsorted(probability, rng.uniform(0, 1 - 1e-9)))] + rng.uniform(-1, 1, 3)
    stretch = np.asarray(kind.stretch) * np.exp(rng.normal(0, 0.15, 3))
    half_axes = stretch * (volume * 1000 / (4 / 3 * np.pi * np.prod(stretch))) ** (1 / 3)

    # The first direction is still a deviation from the way out of the ventricle: `_pointed` looks that up.
    frame: Any = np.column_stack([rng.normal(0, 0.2, 3), rng.standard_normal((3, 2))])
    t2 = LESION_T2[0] + (LESION_T2[1] - LESION_T2[0]) * float(rng.beta(1.3, 2.2))
    return Lesion(
        kind=kind,
        middle=middle,
        half_axes=half_axes.astype(np.float32),
        directions=frame,
        t2=t2,
        t1=t2 + float(rng.uniform(*LESION_T1)),
        edge=float(rng.uniform(*EDGES)),
    )


def _pointed(drawn: list[Lesion]) -> list[Lesion]:
    """Return lesions that stretch away from the ventricle, all looked up at once."""
    if not drawn:
        return []
    index = (np.stack([lesion.middle for lesion in drawn], axis=1) - np.asarray(FIELD_ORIGIN).reshape(3, 1)) / COARSE
    fields = load_atlas().ventricle_direction
    away = np.stack([ndimage.map_coordinates(field, index, order=1, mode="nearest") for field in fields], axis=1)
    pointed = []
    for lesion, way in zip(drawn, away, strict=True):
        frame = lesion.directions + np.column_stack([way, np.zeros((3, 2))])
        directions, _ = np.linalg.qr(frame)  # the first direction stays, the others turn to right angles
        middle, turned = lesion.middle.astype(np.float32), directions.T.astype(np.float32)
        pointed.append(replace(lesion, middle=middle, directions=turned))
    return pointed

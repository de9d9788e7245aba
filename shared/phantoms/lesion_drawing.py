"""Which lesions a patient has: how many, how large, where, which way they stretch and what they are made of.

The four regions are those of the McDonald criteria (Thompson et al., Lancet Neurology 17:162-173, 2018). Lesion volumes
are roughly log-normal, many small and few large: four fifths of the lesions are smaller than 80 mm2 in their slice, a
fifth smaller than 10 mm2, with a hundredth of the volume (Wang et al., J. Neurol. Neurosurg. Psychiatry 63:452-455,
1997). Most lesions are subcortical, most of the volume is periventricular (Pongratz et al., NeuroImage: Clinical
37:103311, 2023); at 19 ml a patient one lesion has 0.17 ml on average, of 110 (Lesjak et al., Neuroinformatics
16:51-63, 2018). What counts is 3 mm long or more (Filippi et al., Brain 142:1858-1875, 2019).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.anatomy import Anatomy
from shared.phantoms.atlas import COARSE, Place, load_atlas
from shared.phantoms.grids import FIELD_ORIGIN
from shared.phantoms.relaxation import LESION_T1, LESION_T2

Vectors = NDArray[np.float64]

EDGES = (1.0, 3.0)
"""Least and greatest width in mm over which a lesion fades into its surroundings."""
LARGEST = 5.0
"""ml of the largest single lesion."""
SMALLEST = 0.014
"""ml of a ball of 3 mm."""
TYPICAL = 0.065
"""ml of the median lesion at 10 ml in all, of `size` 1."""
SPREAD = 1.25
"""Standard deviation of the logarithm of a lesion's volume within a patient."""
HABIT = 0.5
"""The same of the patients' typical lesion: some have many small ones, some few large ones."""
FAINT = 0.2
"""Share of the lesions that are hardly brighter than their surroundings, with wide edges."""
FAINT_T2 = (0.06, 0.16)
"""How far their T2 lies on the way from white matter to the most damaged tissue."""
HOLES = 0.12
"""Share of the lesions with lasting tissue loss: a long T1, longest in the middle ("black holes")."""
HOLLOW = 1.3
"""How much further the T1 of a black hole's middle lies on the way to the most damaged tissue."""
FINGERS = 0.6
"""Share of the periventricular lesions that are Dawson's fingers, the rest being caps against the wall."""
LEUCOCORTICAL = 0.45
"""Share of the juxtacortical lesions that take cortex as well, and run on along it."""
MEDULLA = (0.15, np.array([0.0, -42.0, -54.0]), np.array([3.0, 3.0, 5.0]))
"""Share of the infratentorial lesions in the medulla oblongata, its middle in MNI152 mm, and how far they scatter."""


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
    Kind("periventricular", 0.26, 1.7, (1.0, 1.2, 1.0)),
    Kind("juxtacortical", 0.22, 0.7, (0.8, 1.3, 1.05)),
    Kind("deep", 0.46, 0.8, (1.0, 1.0, 1.0)),
    Kind("infratentorial", 0.06, 0.7, (0.9, 1.05, 1.05)),
)
FINGER = (2.0, 0.85, 0.75)
"""Half axes of a Dawson's finger: along a medullary vein, away from the wall at which it starts."""


@dataclass(frozen=True)
class Lesion:
    """One ellipsoid in the patient's own space: middle (3,), half axes in mm (3,), directions (3, 3), what it is."""

    middle: Vectors
    half_axes: Vectors
    directions: Vectors
    """Unit vectors of the half axes, one a row."""
    t2: float
    """How far its T2 lies on the way from white matter to the most damaged tissue."""
    t1: float
    hollow: float
    """How much further T1 lies in the middle."""
    edge: float
    """Width in mm over which it fades."""
    cortical: float
    """How many mm further it reaches along the cortical ribbon than in white matter; 0: cortex is spared in part."""

    @property
    def radius(self) -> float:
        """Of the ball of its volume, in mm."""
        return float(np.cbrt(np.prod(self.half_axes)))


def typical_ml(rng: np.random.Generator, millilitres: float) -> float:
    """Return the median lesion volume of one patient: who has much has larger ones, too."""
    return float(TYPICAL * (millilitres / 10) ** 0.25 * np.exp(rng.normal(0, HABIT)))


def draw_lesions(
    rng: np.random.Generator, anatomy: Anatomy, typical: float, largest: float, count: int
) -> list[Lesion]:
    """Draw `count` lesions of a patient whose median lesion is `typical` ml, none of them above `largest`."""
    atlas = load_atlas()
    shares = np.cumsum([kind.share for kind in KINDS])
    which = np.searchsorted(shares, rng.uniform(0, shares[-1] - 1e-9, count))
    sizes = np.array([kind.size for kind in KINDS])[which]
    volumes = (typical * sizes * rng.lognormal(0, SPREAD, count)).clip(SMALLEST, min(LARGEST, max(largest, SMALLEST)))
    chance, jitter = rng.uniform(0, 1 - 1e-9, count), rng.uniform(-1, 1, (count, 3))
    places = np.array([_starts(atlas.places[KINDS[kind].place], at) for kind, at in zip(which, chance, strict=True)])
    places = places + jitter
    share, middle, scatter = MEDULLA
    low = (rng.random(count) < share) & (which == len(KINDS) - 1)
    places[low] = middle + scatter * rng.standard_normal((count, 3))[low]

    finger = (rng.random(count) < FINGERS) & (which == 0)
    stretch = np.where(finger[:, None], FINGER, np.array([kind.stretch for kind in KINDS])[which])
    stretch = stretch * np.exp(rng.normal(0, 0.2, (count, 3)))
    half = stretch * (volumes * 1000 / (4 / 3 * np.pi * stretch.prod(axis=1)))[:, None] ** (1 / 3)

    away, distance = _ventricle(places)
    # A periventricular lesion starts at the wall: its middle lies a little less than its own length from there.
    wall = places - away * distance[:, None]
    anchored = wall + away * half[:, :1] * rng.uniform(0.6, 0.9, (count, 1))
    middles = np.where((which == 0)[:, None], anchored, places)
    # The way out of the ventricle, as it runs in this patient.
    ends = anatomy.world_points(np.concatenate([middles, middles + 4 * away]).T).T
    ways = (ends[count:] - ends[:count]) / 4
    frames = np.stack([ways + rng.normal(0, 0.15, (count, 3)), *rng.standard_normal((2, count, 3))], axis=2)
    directions, _ = np.linalg.qr(frames)  # the first direction stays, the others turn to right angles

    t2, t1, hollow, edge = _made_of(rng, volumes)
    cortical = np.where((which == 1) & (rng.random(count) < LEUCOCORTICAL), rng.uniform(0.5, 2.0, count), 0.0)
    return [
        Lesion(
            middle=ends[n],
            half_axes=half[n],
            directions=directions[n].T,
            t2=float(t2[n]),
            t1=float(t1[n]),
            hollow=float(hollow[n]),
            edge=float(edge[n]),
            cortical=float(cortical[n]),
        )
        for n in range(count)
    ]


def _starts(place: tuple[NDArray[np.float32], NDArray[np.float64]], chance: float) -> NDArray[np.float32]:
    points, probability = place
    start: NDArray[np.float32] = points[int(np.searchsorted(probability, chance))]
    return start


def _ventricle(points: Vectors) -> tuple[Vectors, Vectors]:
    """Return the unit way out of the lateral ventricles at MNI152 points (n, 3), and the distance to them in mm."""
    atlas = load_atlas()
    index = (points.T - np.asarray(FIELD_ORIGIN).reshape(3, 1)) / COARSE
    fields = (*atlas.ventricle_direction, atlas.ventricle_distance)
    *way, distance = (ndimage.map_coordinates(field, index, np.float64, order=1, mode="nearest") for field in fields)
    away = np.stack(way, axis=1)
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-3), distance


def _made_of(rng: np.random.Generator, volumes: Vectors) -> tuple[Vectors, Vectors, Vectors, Vectors]:
    """Draw T2, T1, how much further T1 lies in the middle, and the edge of each lesion."""
    count, (low, high) = len(volumes), LESION_T2
    t2 = low + (high - low) * rng.beta(1.3, 2.2, count)
    beyond, edge = rng.uniform(*LESION_T1, count), rng.uniform(*EDGES, count)
    faint, kind = rng.uniform(0, 1, count), rng.random(count)
    wide, damaged = kind < FAINT, (kind > 1 - HOLES) & (volumes > 0.08)
    t2 = np.where(
        wide,
        FAINT_T2[0] + (FAINT_T2[1] - FAINT_T2[0]) * faint,
        np.where(damaged, high - 0.3 * (high - low) * faint, t2),
    )
    beyond = np.where(damaged, LESION_T1[1], beyond)
    edge = np.where(wide, np.maximum(edge, 2.5), edge)
    return t2, t2 + beyond, np.where(damaged, HOLLOW * rng.random(count), 0.0), edge

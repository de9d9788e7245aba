"""The confluent plaque about the lateral ventricles of patients with much disease.

It hugs the ventricles, thickest where caps and bands lie: at the horns and along the upper outer edge. Its outer border
runs out in fingers along the medullary veins, that is at right angles to the wall (Dawson's fingers).
"""

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.anatomy import ORIGIN, Anatomy
from shared.phantoms.atlas import COARSE, load_atlas
from shared.phantoms.canvas import Stroke
from shared.phantoms.grids import FIELD_ORIGIN, Array, Grid, SmoothField, box_of, mix
from shared.phantoms.relaxation import LESION_T1, LESION_T2
from shared.phantoms.room import Room

HALF = 18.0
"""ml of lesions of which half of `MOST` are confluent."""
MOST = 0.8
LEAST = 2.0
"""ml of the smallest plaque that is made."""
COAT = 120.0
"""cm2 of white matter that faces the lateral ventricles, roughly: what a plaque spreads over."""
BANDS = 13.0
"""mm between the knots of the field by which its thickness varies along the ventricle."""
FRAYED = 0.8
"""mm by which its outline is frayed."""
NEAR = 6.0
"""mm from the ventricles within which there is no other fluid."""
SPARED = 12.0
"""mm that grey matter (thalamus, caudate nucleus) counts as further from the ventricle: plaques lie in white matter."""


def plaque_ml(rng: np.random.Generator, millilitres: float) -> float:
    """Return how much of a patient's lesion volume is confluent."""
    share = MOST * millilitres / (millilitres + HALF) + rng.normal(0, 0.12)
    volume = millilitres * float(np.clip(share, 0, 0.9))
    return volume if volume >= LEAST else 0.0


def draw_plaque(
    rng: np.random.Generator, millilitres: float, anatomy: Anatomy, room: Room, waves: SmoothField, frays: SmoothField
) -> Stroke:
    """Draw a plaque of so many ml, its outline frayed by the two fields."""
    thick = 10 * millilitres / COAT
    # Worked out at every second millimetre, in the cubes of `room` that are near.
    reach = 8 + 2.6 * thick
    cubes = box_of(room.distance < reach)
    low, high = np.array([(side.start, side.stop) for side in cubes]).T
    scale = room.step // COARSE
    axes = Grid.covering((COARSE,) * 3).axes(tuple(low * scale), tuple(high * scale))
    index = (anatomy.template_points(axes) - ORIGIN.reshape(3, 1, 1, 1)) / np.float32(COARSE)
    far = ndimage.map_coordinates(load_atlas().ventricle_distance, index, order=1, mode="nearest")
    share = room.white[cubes]
    for axis in range(3):
        share = share.repeat(scale, axis)
    share = _beside_wall(far, share)

    uneven = np.clip(waves(axes), -2, 2)
    near = (far < reach) & (share > 0)
    needed = np.full(share.shape, 99.0, dtype=np.float32)
    needed[near] = _needed(index[:, near], far[near], thick, SmoothField(rng, BANDS), frays)
    needed -= uneven + FRAYED * np.clip(frays(axes), -2, 2)
    order = np.argsort(needed[near])
    held = np.cumsum(share[near][order], dtype=np.float64) * COARSE**3 / 1000
    base = needed[near][order[min(int(np.searchsorted(held, millilitres)), len(order) - 1)]]

    part = box_of(needed < base + 4)
    inward, share, uneven = (_finer(values[part]) for values in (base - needed, share, uneven))
    begin = COARSE * (scale * low + [side.start for side in part])
    x, y, z = (slice(int(a), int(a) + size) for a, size in zip(begin, inward.shape, strict=True))
    typical, varied, beyond = rng.uniform((0.25, 0.04, 0.1), (0.5, 0.14, LESION_T1[1])).astype(np.float32)
    t2 = (typical + varied * uneven) * np.clip(0.65 + inward / 12, 0.5, 1)  # worst at the wall, less where it ends
    t2 = np.clip(t2, *LESION_T2)
    return Stroke((x, y, z), inward, float(rng.uniform(1.5, 4.0)), t2, t2 + beyond, room=share)


def _finer(values: Array) -> Array:
    """Return values that are known at every second millimetre at each."""
    for axis, size in enumerate(values.shape):
        place = (np.arange(COARSE * size) + 0.5) / COARSE - 0.5
        first = np.floor(place).astype(np.intp).clip(0, max(size - 2, 0))
        beyond = (place - first).clip(0, 1).astype(np.float32)
        values = mix(values, axis, first, np.stack([1 - beyond, beyond]))
    return values


def _beside_wall(far: Array, share: Array) -> Array:
    """Return what part of points lesions may take: near the ventricles the wall alone decides, a voxel from fluid."""
    return np.where(far < NEAR, np.clip(far - 0.5, 0, 1), share)


def _needed(index: Array, far: Array, thick: float, waves: SmoothField, fingers: SmoothField) -> Array:
    """Return how many mm thick a plaque must be to take in points (3, n) in voxels of 2 mm, `far` mm away."""
    atlas = load_atlas()
    away = np.stack([ndimage.map_coordinates(f, index, order=1, mode="nearest") for f in atlas.ventricle_direction])
    wall = index - away * far / COARSE
    # What varies along the wall goes on outwards from there.
    low, high = np.floor(wall.min(axis=1)).astype(int) - 1, np.ceil(wall.max(axis=1)).astype(int) + 2
    x, y, z = (
        (o + COARSE * np.arange(a, b)).astype(np.float32) for o, a, b in zip(FIELD_ORIGIN, low, high, strict=True)
    )
    along = [
        np.clip(ndimage.map_coordinates(field((x, y, z)), wall - low[:, None], order=1, mode="nearest"), -2, 2)
        for field in (waves, fingers)
    ]
    x, y, z = wall * COARSE + np.asarray(FIELD_ORIGIN, np.float32).reshape(3, 1)
    caps = np.clip((y - 20) / 8, 0, 1) + np.clip((-28 - y) / 10, 0, 1) + 0.5 * np.clip((z - 16) / 6, 0, 1)
    spared = np.clip((2 - z) / 4, 0, 1) + 2 * (np.abs(x) < 5) * np.clip((24 - z) / 4, 0, 1)  # temporal horns, septum
    grey = ndimage.map_coordinates(atlas.gm, index * COARSE, order=1)
    uneven = (2 + 0.3 * thick) * (along[0] + caps - 1.5 * spared) + (0.7 + 0.15 * thick) * along[1]
    return np.asarray(far - uneven + SPARED * grey, dtype=np.float32)

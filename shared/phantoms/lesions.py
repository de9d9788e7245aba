"""A patient's MS lesions: as many as make the volume that is asked for, the same whatever the voxel size.

They are put together on a raster of 1 mm, one after the other, until the label holds that volume.
"""

from collections.abc import Iterator

import numpy as np

from shared.phantoms.anatomy import Anatomy, Tissues
from shared.phantoms.canvas import RIM, Canvas, LesionMaps, Stroke
from shared.phantoms.grids import Grid, SmoothField
from shared.phantoms.lesion_drawing import Lesion, draw_lesions, typical_ml
from shared.phantoms.plaque import draw_plaque, plaque_ml
from shared.phantoms.raster import axes_of, box_around
from shared.phantoms.room import FINE, Room

BATCH = 64
"""Lesions that are drawn at once."""
MANY = 100
"""So many batches at most, though the volume were not reached."""
FEW = 2.0
"""ml of lesions that are so few that the patient's own tissues are looked up while they are counted."""
SHORT = 0.02
"""What may be missing in the end, of the volume asked for."""
LARGEST = 0.4
"""Of the volume that is left beside the confluent plaque, what the largest lesion has at most."""
WAVES, FRAYS = 7.0, 3.0
"""mm between the knots of the fields by which outlines are uneven; what they make is about twice as large."""
UNEVEN, FRAYED = 0.22, 0.4
"""By how much: waves of the radius, frays in mm for each mm of radius above `SMOOTH`, up to `MOST_FRAYED` mm."""
SMOOTH, MOST_FRAYED = 3.0, 1.0
ROUND = 2.4
"""mm of radius: smaller lesions are ellipsoids, for at their size nothing else is seen."""


def make_lesions(
    rng: np.random.Generator, millilitres: float, anatomy: Anatomy, tissues: Tissues, grid: Grid, rater: float = 0.0
) -> LesionMaps:
    """Draw lesions until their label has about `millilitres`; return their volume fractions, none in fluid.

    `tissues` are those of the grid. `rater` is the standard deviation in mm by which a rater's outline of each lesion
    is too wide or too narrow.
    """
    waves, frays = SmoothField(rng, WAVES), SmoothField(rng, FRAYS)
    outlines = np.random.default_rng(int(rng.integers(2**63)))  # another rater sees the same patient
    if 0 < millilitres < FEW:
        room = Room.of_tissues(tissues if grid == FINE else anatomy.tissues(FINE))
    else:  # over many lesions, folds of a patient's own are as good as the template's mean
        room = Room.of_template(anatomy)
    canvas = Canvas(room, rater > 0)
    if millilitres > 0:
        for stroke in _strokes(rng, millilitres, anatomy, canvas, waves, frays):
            canvas.add(stroke, millilitres - canvas.ml, float(outlines.normal(0, rater)))
            if canvas.ml > (1 - SHORT) * millilitres:
                break
    return canvas.seen(tissues, grid)


def _strokes(
    rng: np.random.Generator,
    millilitres: float,
    anatomy: Anatomy,
    canvas: Canvas,
    waves: SmoothField,
    frays: SmoothField,
) -> Iterator[Stroke]:
    """Return a patient's lesions one after the other, the confluent plaque first; more than are needed."""
    confluent = plaque_ml(rng, millilitres)
    if confluent:
        yield draw_plaque(rng, confluent, anatomy, canvas.room, waves, frays)
    typical, largest = typical_ml(rng, millilitres), LARGEST * (millilitres - canvas.ml)
    for _ in range(MANY):
        for lesion in draw_lesions(rng, anatomy, typical, largest, BATCH):
            yield stroke_of(lesion, waves, frays)


def stroke_of(lesion: Lesion, waves: SmoothField, frays: SmoothField) -> Stroke:
    """Return what one lesion takes of the raster: an ellipsoid with an uneven outline, frayed where it is large."""
    extent = np.sqrt(((lesion.directions * lesion.half_axes[:, None]) ** 2).sum(axis=0))
    reach = 1.5 * extent + 0.5 * RIM + 1
    box = box_around(lesion.middle - reach, lesion.middle + reach)
    axes = axes_of(box)
    x, y, z = (
        (axis - np.float32(at)).reshape([-1 if n == k else 1 for k in range(3)])
        for n, (axis, at) in enumerate(zip(axes, lesion.middle, strict=True))
    )
    scaled = lesion.directions / lesion.half_axes[:, None]
    a = (scaled.T @ scaled).astype(np.float32)
    radius = (a[0, 0] * x * x + 2 * a[0, 1] * x * y + a[1, 1] * y * y) + (2 * a[0, 2] * x * z)
    radius += 2 * a[1, 2] * y * z + a[2, 2] * z * z
    radius = np.sqrt(np.maximum(radius, 0, out=radius), out=radius)
    size = lesion.radius
    if size > ROUND:
        radius *= 1 + UNEVEN * np.clip(waves(axes), -1.5, 2)
    inward = (1 - radius) * np.float32(size)
    if size > SMOOTH:
        inward += min(FRAYED * (size - SMOOTH), MOST_FRAYED) * np.clip(frays(axes), -2, 2)
    t1 = lesion.t1 + lesion.hollow * np.clip(1.2 - 1.6 * radius, 0, 1) if lesion.hollow else lesion.t1
    return Stroke(box, inward, min(lesion.edge, size), lesion.t2, t1, lesion.cortical)

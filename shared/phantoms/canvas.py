"""Where lesions are put together: a raster of 1 mm, on which the finished label's volume is counted as they come."""

from dataclasses import dataclass

import numpy as np

from shared.phantoms.anatomy import Tissues
from shared.phantoms.grids import Array, Box, Grid
from shared.phantoms.raster import RASTER, on_grid
from shared.phantoms.room import Room, room_in

RIM = 3.0
"""mm around a lesion in which white matter is changed, too, but not counted: dirty-appearing white matter."""
HALVINGS = 10
"""Steps in which the last lesion is made small enough."""
WHITE, CORTICAL, T2, T1, AROUND, OUTLINED, OUTLINED_CORTICAL = range(7)


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


@dataclass(frozen=True)
class Stroke:
    """One lesion in a box of the raster."""

    box: Box
    inward: Array
    """How deep inside it each point lies, in mm; negative outside."""
    edge: float
    """Width in mm over which it fades."""
    t2: float | Array
    """How far its T2 lies on the way from white matter to the most damaged tissue."""
    t1: float | Array
    cortical: float = 0.0
    """How many mm further it reaches along the cortical ribbon than in white matter; 0: cortex is spared in part."""
    room: Array | None = None
    """What part of each point it may take, where that is known better than from the patient's `Room`."""

    def part(self, wider: float = 0.0) -> Array:
        """Return what part of each point is lesion, were its outline wider by some mm."""
        part: Array = self.inward * np.float32(1 / self.edge)
        part += np.float32(0.5 + wider / self.edge)
        return np.clip(part, 0, 1, out=part)


class Canvas:
    """The lesions so far, and the volume that the finished label will have in ml."""

    def __init__(self, room: Room, rated: bool) -> None:
        self.room, self.ml = room, 0.0
        self._made = np.zeros(RASTER.shape, dtype=np.float32)
        self._layers = np.zeros((7 if rated else 5, *RASTER.shape), dtype=np.float32)
        self._boxes: list[Box] = []

    def add(self, stroke: Stroke, left: float, off: float) -> None:
        """Add a lesion, smaller where the label would come to hold more than `left` ml more.

        A rater's outline of it is `off` mm too wide.
        """
        cells, made = self.room.cells(stroke.box), self._made[stroke.box]
        white = self.room.white[cells] if stroke.room is None else stroke.room
        ribbon = self.room.cortical[cells] if stroke.cortical else None
        before, less = float(made.sum(dtype=np.float64)), 0.0

        def smaller(less: float) -> tuple[Array, Array, float]:
            part = stroke.part(-less)
            label = np.maximum(made, part * white)
            if ribbon is not None:
                np.maximum(label, stroke.part(stroke.cortical - less) * ribbon, out=label)
            return part, label, (float(label.sum(dtype=np.float64)) - before) / 1000

        part, label, gain = smaller(less)
        if gain > left:
            low, high = 0.0, float(stroke.inward.max()) + stroke.cortical + stroke.edge
            for _ in range(HALVINGS):
                less = (low + high) / 2
                part, label, gain = smaller(less)
                low, high = (less, high) if gain > left else (low, less)
        self.ml += gain
        made[:] = label
        self._boxes.append(stroke.box)
        self._paint(stroke, part, less, off)

    def _paint(self, stroke: Stroke, part: Array, less: float, off: float) -> None:
        layers = self._layers[(slice(None), *stroke.box)]

        def take(layer: int, values: Array) -> None:
            np.maximum(layers[layer], values, out=layers[layer])

        rated = len(layers) > OUTLINED
        take(WHITE, part)
        around = stroke.inward * np.float32(1 / RIM)
        around += np.float32(1 - less / RIM)
        take(AROUND, np.clip(around, 0, 1, out=around))
        if rated:
            take(OUTLINED, stroke.part(off - less))
        if stroke.cortical:
            beside = stroke.part(stroke.cortical - less)
            take(CORTICAL, beside)
            if rated:
                take(OUTLINED_CORTICAL, stroke.part(stroke.cortical + off - less))
            part = np.maximum(part, beside)
        take(T2, part * np.float32(stroke.t2))
        take(T1, part * np.float32(stroke.t1))

    def seen(self, tissues: Tissues, grid: Grid) -> LesionMaps:
        """Return the maps on a grid whose tissues are given: none in fluid, none outside the brain."""
        fraction, t2, t1, rim = (np.zeros(grid.shape, dtype=np.float32) for _ in range(4))
        if not self._boxes:
            return LesionMaps(fraction, t2, t1, rim, fraction)
        x, y, z = (slice(min(a.start for a in one), max(a.stop for a in one)) for one in zip(*self._boxes, strict=True))
        layers, box = on_grid(self._layers, (x, y, z), grid)
        rim[box] = layers[AROUND]
        # Most of the box holds no lesion: nothing there need be computed.
        where = np.nonzero(np.maximum.reduce([layers[WHITE], layers[CORTICAL], *layers[OUTLINED:]]))
        white, cortical = room_in(tissues, box, where)
        soft, along = layers[WHITE][where], layers[CORTICAL][where]
        made = np.maximum(soft * white, along * cortical)
        share = made / np.maximum(np.maximum(soft, along), np.float32(1e-6))
        fraction[box][where] = made
        t2[box][where], t1[box][where] = layers[T2][where] * share, layers[T1][where] * share
        if len(layers) <= OUTLINED:
            return LesionMaps(fraction, t2, t1, rim, fraction)
        label = np.zeros_like(fraction)
        label[box][where] = np.maximum(layers[OUTLINED][where] * white, layers[OUTLINED_CORTICAL][where] * cortical)
        return LesionMaps(fraction, t2, t1, rim, label)

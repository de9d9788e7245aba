"""Counting lesions: each separate one once, with its volume, in the region whose border it touches."""

from dataclasses import replace

import numpy as np
import pytest

from shared.phantoms.anatomy import Anatomy, Tissues
from shared.phantoms.census import find_lesions
from shared.phantoms.grids import Array, Grid
from shared.phantoms.vessels import Vessels

GRID = Grid.covering((4.0, 4.0, 4.0))
NO_VESSELS = Vessels(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.float32))


class Template(Anatomy):
    """The patient whose brain is the template itself."""

    def __init__(self) -> None:
        super().__init__(np.random.default_rng(0))
        self._map = np.stack(np.meshgrid(*self._lattice.axes, indexing="ij")).astype(np.float32)


def blob(label: Array, x: float, y: float, z: float) -> tuple[int, int, int]:
    """Mark 2 x 2 x 2 voxels at a position in mm; returns the first of them."""
    i, j, k = np.floor((np.array([x, y, z]) - GRID.affine[:3, 3]) / 4).astype(int)
    label[i : i + 2, j : j + 2, k : k + 2] = 1
    return int(i), int(j), int(k)


@pytest.fixture
def nothing() -> Tissues:
    """White matter everywhere, ventricles far away."""
    full = np.ones(GRID.shape, dtype=np.float32)
    box = (slice(None),) * 3
    none = 0 * full
    return Tissues(none, full, none, 50 * full, full > 0, none, none, none, none, box, NO_VESSELS)


def test_a_lesion_is_counted_once_with_its_volume(nothing: Tissues) -> None:
    label = np.zeros(GRID.shape, dtype=np.float32)
    i, j, k = blob(label, 30, 0, 30)
    label[i + 2, j + 2, k + 2] = 0.5  # joined at a corner
    label[i - 3, j, k] = 0.49  # less than half is none
    (one,) = find_lesions(label, Template(), nothing, GRID)
    assert one.ml == pytest.approx(9 * 64 / 1000) and one.place == "deep"


def test_regions_are_told_by_what_a_lesion_touches(nothing: Tissues) -> None:
    label = np.zeros(GRID.shape, dtype=np.float32)
    deep, ventricular, cortical = (blob(label, x, 0, 40) for x in (-40, 0, 40))
    blob(label, 0, -30, -40)  # the pons
    distance, gm = nothing.ventricle_distance.copy(), nothing.gm.copy()
    distance[ventricular] = 3.0
    gm[ventricular] = gm[cortical] = 0.6
    distance[deep] = 8.0
    gm[deep] = 0.9  # a nucleus beside the ventricle is not cortex
    found = find_lesions(label, Template(), replace(nothing, ventricle_distance=distance, gm=gm), GRID)
    assert sorted(one.place for one in found) == ["deep", "infratentorial", "juxtacortical", "periventricular"]


def test_no_lesion_is_no_row(nothing: Tissues) -> None:
    assert find_lesions(np.zeros(GRID.shape, dtype=np.float32), Template(), nothing, GRID) == ()

"""Lesions: as much as is asked for, where lesions can be, and the same whatever the voxel size."""

from functools import cache

import numpy as np
import pytest

from shared.phantoms.anatomy import Anatomy, Tissues
from shared.phantoms.canvas import LesionMaps
from shared.phantoms.census import Found, find_lesions
from shared.phantoms.grids import Grid
from shared.phantoms.lesions import make_lesions
from shared.phantoms.raster import RASTER, on_grid
from shared.phantoms.subject import LOADS
from shared.seeds import generator

EVERY_LOAD = (0.2, 1.0, 4.0, 12.0, 40.0, 90.0, 150.0)


@cache
def brain(subject: int, spacing: float) -> tuple[Anatomy, Tissues, Grid]:
    grid = Grid.covering((spacing,) * 3)
    anatomy = Anatomy(generator(0, "loads", subject, "anatomy"))
    return anatomy, anatomy.tissues(grid), grid


@cache
def lesions(subject: int, asked: float, spacing: float = 2.0) -> LesionMaps:
    anatomy, tissues, grid = brain(subject, spacing)
    return make_lesions(generator(0, "loads", subject, "lesions"), asked, anatomy, tissues, grid)


@cache
def found(subject: int, asked: float) -> tuple[Found, ...]:
    anatomy, tissues, grid = brain(subject, 2.0)
    return find_lesions(lesions(subject, asked).label, anatomy, tissues, grid)


def ml_of(maps: LesionMaps, spacing: float) -> float:
    return float(maps.label.sum(dtype=np.float64)) * spacing**3 / 1000


@pytest.mark.parametrize("subject", [1, 2])
@pytest.mark.parametrize("asked", EVERY_LOAD)
def test_the_load_that_is_asked_for_is_made(subject: int, asked: float) -> None:
    assert LOADS[0] <= asked <= LOADS[1]
    assert ml_of(lesions(subject, asked), 2.0) == pytest.approx(asked, rel=0.1)


@pytest.mark.parametrize("asked", [1.0, 12.0, 150.0])
def test_a_patient_has_the_same_lesions_at_every_voxel_size(asked: float) -> None:
    fine = lesions(1, asked, 1.0)
    assert ml_of(fine, 1.0) == pytest.approx(asked, rel=0.1)
    for spacing in (2, 4):
        nx, ny, nz = (size // spacing for size in fine.label.shape)
        binned = fine.label.reshape(nx, spacing, ny, spacing, nz, spacing).mean(axis=(1, 3, 5))
        coarse = lesions(1, asked, float(spacing))
        assert ml_of(coarse, spacing) == pytest.approx(ml_of(fine, 1.0), rel=0.1)
        assert np.corrcoef(binned.ravel(), coarse.label.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("asked", EVERY_LOAD)
def test_lesions_are_in_the_brain_and_not_in_fluid(asked: float) -> None:
    _, tissues, _ = brain(1, 2.0)
    maps = lesions(1, asked)
    for part in (maps.fraction, maps.label):
        assert not part[~tissues.brain].any()
        assert (part <= 1 - tissues.csf + 1e-5).all()
        assert part.min() >= 0 and part.max() <= 1
    some = maps.fraction > 0.01
    assert (maps.t1[some] >= maps.t2[some] - 1e-4).all() and (maps.t2[some] > 0).all()


def test_no_load_is_no_lesion() -> None:
    maps = lesions(1, 0.0)
    assert not any(part.any() for part in (maps.fraction, maps.label, maps.t2, maps.t1, maps.rim))


def test_many_are_small_and_with_the_load_they_run_together() -> None:
    """Of Wang et al. 1997: four in five below 80 mm2, a ball of 0.54 ml, with a small part of the volume."""
    counts = []
    for asked in (1.0, 12.0, 40.0, 150.0):
        sizes = np.concatenate([[one.ml for one in found(subject, asked)] for subject in (1, 2)])
        counts.append(len(sizes) / 2)
        assert (sizes < 0.54).mean() > 0.75
        if asked >= 12:
            assert sizes[sizes < 0.022].sum() < 0.06 * sizes.sum(), "below 10 mm2"
        if asked >= 40:
            assert sizes.max() > 0.25 * asked, "the confluent plaque"
    assert counts[0] < counts[1] < counts[2], "lesions grow in number"
    assert counts[3] < 2 * counts[2], "and then into each other"


def test_counts_and_regions_are_those_of_cohorts() -> None:
    """Of Lesjak et al. 2018, 110 lesions at 19 ml; of Pongratz et al. 2023, 13 subcortical ones in early MS."""
    heavy = [found(subject, 19.0) for subject in (1, 2, 3)]
    assert 50 < np.mean([len(one) for one in heavy]) < 220
    early = [one for subject in (1, 2, 3) for one in found(subject, 4.0)]
    count = {place: sum(one.place == place for one in early) / 3 for place in ("deep", "periventricular")}
    volume = {place: sum(one.ml for one in early if one.place == place) for place in ("deep", "infratentorial")}
    periventricular = sum(one.ml for one in early if one.place == "periventricular")
    assert 7 < count["deep"] < 30 and count["deep"] > count["periventricular"]
    assert periventricular > volume["infratentorial"]


def test_plaques_hug_the_ventricles() -> None:
    _, tissues, _ = brain(1, 2.0)
    label, distance = lesions(1, 90.0).label, tissues.ventricle_distance
    beside = (distance > 1) & (distance < 4) & (tissues.wm > 0.9)
    away = (distance > 25) & (tissues.wm > 0.9)
    assert label[beside].mean() > 4 * label[away].mean()


def test_voxels_hold_the_mean_of_the_raster() -> None:
    maps = np.zeros((1, *RASTER.shape), dtype=np.float32)
    maps[:, 40:71, 50:87, 60:93] = np.random.default_rng(0).random((31, 37, 33), dtype=np.float32)
    box = (slice(40, 71), slice(50, 87), slice(60, 93))
    for voxel in (
        (1.0, 1.0, 1.0),
        (2.0, 2.0, 2.0),
        (2.0, 2.0, 3.0),
        (1.5, 1.5, 2.25),
        (0.8, 0.8, 0.8),
        (3.3, 3.3, 3.3),
    ):
        values, voxels = on_grid(maps, box, Grid.covering(voxel))
        assert values.shape[1:] == tuple(side.stop - side.start for side in voxels)
        assert values.sum(dtype=np.float64) * np.prod(voxel) == pytest.approx(maps.sum(dtype=np.float64), rel=3e-3)
        middle = [
            (np.indices(part.shape) * part).reshape(3, -1).sum(axis=1) / part.sum() for part in (values[0], maps[0])
        ]
        start = np.array([side.start for side in voxels])
        assert np.allclose((middle[0] + start + 0.5) * voxel, middle[1] + 0.5, atol=0.05)
    values, voxels = on_grid(maps, box, Grid.covering((2.0, 2.0, 3.0)))
    x, y, z = (slice(side.start * step, side.stop * step) for side, step in zip(voxels, (2, 2, 3), strict=True))
    nx, ny, nz = values.shape[1:]
    plain = maps[0, x, y, z].reshape(nx, 2, ny, 2, nz, 3).mean(axis=(1, 3, 5))
    assert np.allclose(values[0], plain, atol=1e-6)

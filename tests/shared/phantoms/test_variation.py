"""Hospitals whose protocols vary: within what is published, TI nulling fluid, and not at all where not asked for."""

import math
from dataclasses import replace

import numpy as np
import pytest

from shared.phantoms.centers import CENTERS, profile
from shared.phantoms.grids import Grid
from shared.phantoms.relaxation import BRAINS, FLUID, Sequence, nulling_time
from shared.phantoms.scanner import PLAIN
from shared.phantoms.subject import make_patient
from shared.phantoms.variation import FLAIR_2D, FLAIR_3D, T2W, TE, Take, draw_grids, draw_takes

GRID = Grid.covering((4.0, 4.0, 4.0))
HOSPITALS = [profile(f"varied-{number}") for number in range(2, 62)]


@pytest.fixture(scope="module")
def takes() -> list[dict[str, Take]]:
    """Three patients of each of sixty hospitals."""
    return [dict(draw_takes(center, subject, GRID, 0)) for center in HOSPITALS for subject in (1, 2, 3)]


@pytest.mark.parametrize("name", CENTERS)
def test_nothing_varies_where_it_is_not_asked_for(name: str) -> None:
    center = CENTERS[name]
    for subject in (1, 2):
        grid = Grid.covering((2.0, 2.0, 2.0 * center.slice_ratios[0]))
        assert draw_grids(center, subject, 2.0, 0) == (grid, grid)
        expected = {contrast: Take(protocol, PLAIN) for contrast, protocol in center.protocols.items()}
        assert draw_takes(center, subject, grid, 0) == expected


@pytest.mark.parametrize(("tr", "prep"), [(9000, 0), (11_000, 0), (5000, 170), (6000, 0)])
def test_fluid_is_silent_at_its_nulling_time(tr: float, prep: float) -> None:
    sequence = Sequence("3T", tr, 120, nulling_time(tr, prep), prep)
    assert sequence.signal(FLUID) == pytest.approx(0, abs=1e-9)


def test_of_a_long_tr_that_is_the_textbook_s() -> None:
    assert nulling_time(1e6) == pytest.approx(FLUID.t1 * math.log(2))


def test_a_drawn_ti_nulls_fluid(takes: list[dict[str, Take]]) -> None:
    residues = []
    for one in takes:
        sequence = one["FLAIR"].protocol.sequence
        residues.append(sequence.signal(FLUID) / sequence.signal(BRAINS[sequence.field].white))
    assert np.median(residues) < 0.25 and np.quantile(residues, 0.98) < 0.75, "of white matter's signal"


def test_times_stay_within_what_is_published_and_fill_it(takes: list[dict[str, Take]]) -> None:
    for contrast, (low, high) in TE.items():
        te = np.array([one[contrast].protocol.sequence.te for one in takes])
        assert te.min() >= low and te.max() <= high and te.std() > (high - low) / 6
    for one in takes:
        flair, t2w = one["FLAIR"].protocol.sequence, one["T2w"].protocol.sequence
        low, high = FLAIR_3D if flair.prep else FLAIR_2D
        assert low <= flair.tr <= high and T2W[0] <= t2w.tr <= T2W[1]
        assert t2w.ti is None and not t2w.prep


def test_magnets_and_kinds_of_flair_differ_but_a_session_has_one_magnet(takes: list[dict[str, Take]]) -> None:
    fields = [one["FLAIR"].protocol.sequence.field for one in takes]
    assert fields == [one["T2w"].protocol.sequence.field for one in takes]
    assert 0.3 < np.mean([field == "3T" for field in fields]) < 0.8
    assert 0.15 < np.mean([one["FLAIR"].protocol.sequence.prep > 0 for one in takes]) < 0.7


def test_shading_is_stronger_at_three_tesla(takes: list[dict[str, Take]]) -> None:
    bias: dict[str, list[float]] = {"1.5T": [], "3T": []}
    for one in takes:
        bias[one["FLAIR"].protocol.sequence.field].append(one["FLAIR"].protocol.bias)
    assert np.median(bias["3T"]) > 1.2 * np.median(bias["1.5T"])


def test_sessions_of_one_hospital_are_more_alike_than_hospitals(takes: list[dict[str, Take]]) -> None:
    levels = np.log([one["FLAIR"].protocol.level for one in takes]).reshape(-1, 3)
    assert 0.1 < levels.std(axis=1).mean() < 0.7 * levels.mean(axis=1).std()


def test_half_of_the_images_are_of_random_brightness(takes: list[dict[str, Take]]) -> None:
    random = [take.effects.mixture is not None for one in takes for take in one.values()]
    assert 0.4 < np.mean(random) < 0.6


def test_little_varies_little() -> None:
    center = replace(CENTERS["karo"], vary=0.05)
    for subject in range(20):
        for contrast, take in draw_takes(center, subject, GRID, 0).items():
            usual, drawn = center.protocols[contrast].sequence, take.protocol.sequence
            assert drawn.te == pytest.approx(usual.te, rel=0.05)
            if drawn.prep == usual.prep:
                assert drawn.ti == (None if usual.ti is None else pytest.approx(usual.ti, rel=0.06))


def test_what_is_drawn_does_not_depend_on_the_voxel_size() -> None:
    center = profile("varied")
    for subject in range(5):
        fine, coarse = (draw_grids(center, subject, spacing, 0) for spacing in (1.0, 3.0))
        assert np.allclose(np.array(coarse[0].voxel) / fine[0].voxel, 3)
        assert draw_takes(center, subject, fine[0], 0) == draw_takes(center, subject, coarse[0], 0)


def test_patients_of_one_hospital_have_slices_of_every_thickness() -> None:
    grids = [draw_grids(profile("varied"), subject, 1.0, 0) for subject in range(200)]
    assert {max(taken.voxel) for taken, _ in grids} == {1.0, 1.5, 2.0, 3.0, 5.0}
    stored = [one.voxel for taken, one in grids if one != taken]
    assert set(stored) == {(1.0, 1.0, 1.0)} and 0.2 < len(stored) / 200 < 0.45
    assert {taken.voxel.index(max(taken.voxel)) for taken, one in grids if one != taken} == {0, 1, 2}


def test_thick_slices_stored_as_thin_ones() -> None:
    """Images, label and the count of lesions are on the finer grid, and of the same patient."""
    center = replace(CENTERS["karo"], slice_ratios=(3.0,), resampled=1.0)
    thick = make_patient(replace(center, resampled=0.0), 1, 3.0, 0)
    fine = make_patient(center, 1, 3.0, 0)
    for image in fine.images.values():
        assert image.shape == fine.label.shape == Grid.covering((3.0, 3.0, 3.0)).shape and image.dtype == np.int16
        assert np.array_equal(image > 0, next(iter(fine.images.values())) > 0)
        assert not fine.label[image == 0].any()
    assert np.abs(np.diag(fine.affine)[:3]).tolist() == [3.0, 3.0, 3.0]
    assert fine.brain_ml == pytest.approx(thick.brain_ml, rel=0.05)
    assert fine.lesion_ml == pytest.approx(thick.lesion_ml, rel=0.25)
    assert fine.label.min() >= 0 and fine.label.max() <= 1
    counted = float((fine.label >= 0.5).sum()) * 0.027
    assert sum(one.ml for one in fine.lesions) == pytest.approx(counted)


def test_a_grid_reads_another_linearly() -> None:
    thick, thin = Grid.covering((4.0, 4.0, 12.0)), Grid.covering((4.0, 4.0, 4.0))
    x, y, z = thick.axes()
    plane = (x[:, None, None] + 0 * y[:, None] + 2 * z).astype(np.float32)
    x, y, z = thin.axes()
    inside = (z >= thick.axes()[2][0]) & (z <= thick.axes()[2][-1])
    expected = x[:, None, None] + 0 * y[:, None] + 2 * z
    assert np.allclose(thick.read(plane, thin)[..., inside], expected[..., inside], atol=1e-3)
    assert thick.read(plane, thick) is plane

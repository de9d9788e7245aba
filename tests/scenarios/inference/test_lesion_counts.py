"""Lesions found, missed and false, by size: counted by hand, and as the scores count them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.evaluation.metrics import score
from scenarios.inference.lesion_counts import SIZES, LesionCounts, count_lesions, total
from tests.support.datasets import grid
from tests.support.validated import VOXEL, mask


def test_lesions_are_counted_by_their_size() -> None:
    """Voxels of 0.05 ml: lesions of 0.05, 0.1, 1 and 1.05 ml, of which those of 0.1 and 1.05 ml are found."""
    truth = mask((0, 0, 1, 0), (0, 3, 5, 0), (0, 10, 30, 0), (0, 10, 31, 4))
    found = mask((0, 4, 6, 0), (0, 12, 15, 4), (0, 18, 21, 4), (0, 35, 38, 8))
    counts = count_lesions(truth, found, VOXEL)
    assert counts == LesionCounts(
        labelled_ml=pytest.approx(44 * 0.05),
        found_ml=pytest.approx(11 * 0.05),
        labelled=(1, 2, 1),
        hit=(0, 1, 1),
        segmented=4,
        false=1,
    )
    assert (counts.lesions, counts.missed) == (4, 2)
    assert total([counts, counts]) == LesionCounts(
        pytest.approx(4.4), pytest.approx(1.1), (2, 4, 2), (0, 2, 2), segmented=8, false=2
    )


@pytest.mark.parametrize("tilt", [0.0, 12.0, 33.0])
def test_a_hundred_voxels_of_a_microlitre_are_a_tenth_of_a_millilitre(tilt: float) -> None:
    """Whatever rounding makes of them."""
    truth = mask((0, 0, 100, 0), shape=(1, 200, 1))
    assert count_lesions(truth, truth, grid((1.0, 1.0, 1.0), tilt)[1]).labelled == (0, 1, 0)


def test_nothing_has_no_lesions() -> None:
    none = mask()
    assert count_lesions(none, none, VOXEL) == LesionCounts(0, 0, (0, 0, 0), (0, 0, 0), 0, 0)
    assert total([]) == LesionCounts(0, 0, (0, 0, 0), (0, 0, 0), 0, 0)
    assert len(SIZES) == 3


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.3), st.floats(0.02, 0.3))
def test_counts_agree_with_the_scores(seed: int, much: float, found_much: float) -> None:
    random = np.random.default_rng(seed)
    truth, found = random.random((6, 6, 6)) < much, random.random((6, 6, 6)) < found_much
    counts, scores = count_lesions(truth, found, VOXEL), score(*(m.astype(np.float32) for m in (found, truth)), VOXEL)
    if counts.lesions:
        assert scores.lesion_sensitivity == pytest.approx(sum(counts.hit) / counts.lesions)
    if counts.segmented:
        assert scores.lesion_precision == pytest.approx(1 - counts.false / counts.segmented)
    assert scores.volume_difference_ml == pytest.approx(abs(counts.labelled_ml - counts.found_ml))

"""Lesion volume and count: against made lesions, an independent count, and the public patients' figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from client.data.lesions import find_lesions, lesion_count, lesion_ml


def test_volume_counts_fractions_of_voxels_in_ml() -> None:
    label = np.zeros((5, 5, 5), np.float32)
    label[1, 1, 1], label[2, 2, 2] = 1, 0.5
    assert lesion_ml(label, np.diag([2.0, -5.0, 10.0, 1.0])) == pytest.approx(0.15)


@pytest.mark.parametrize(("other", "count"), [((1, 1, 2), 1), ((1, 2, 2), 1), ((2, 2, 2), 1), ((1, 1, 3), 2)])
def test_voxels_that_touch_by_face_edge_or_corner_are_one_lesion(other: tuple[int, int, int], count: int) -> None:
    label = np.zeros((4, 4, 4), np.float32)
    label[1, 1, 1] = label[other] = 1
    assert lesion_count(label) == count


def test_a_lesion_begins_at_one_half() -> None:
    assert lesion_count(np.full((2, 2, 2), 0.49, np.float32)) == 0
    assert lesion_count(np.full((2, 2, 2), 0.5, np.float32)) == 1


@given(arrays(np.bool_, st.tuples(*[st.integers(1, 5)] * 3)))
def test_the_count_is_that_of_a_flood_fill(lesion: np.ndarray) -> None:
    left, count = {tuple(voxel) for voxel in np.argwhere(lesion)}, 0
    while left:
        count, reached = count + 1, [left.pop()]
        for x, y, z in reached:
            near = {(x + i, y + j, z + k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)} & left
            left -= near
            reached += near
    assert lesion_count(lesion.astype(np.float32)) == count


def test_every_lesion_has_its_size_and_its_place_and_the_largest_comes_first() -> None:
    label = np.zeros((6, 6, 6), np.float32)
    label[4, 4, 4] = 0.5
    label[0, 0:3, 1] = 1
    affine = np.diag([-2.0, 2.5, 4.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    large, small = find_lesions(label, affine)
    assert (large.voxels, small.voxels) == (3, 1)
    assert (large.ml, small.ml) == (pytest.approx(0.06), pytest.approx(0.02))
    # Voxels (0, 1, 1) and (4, 4, 4).
    assert large.centroid == pytest.approx((10, 22.5, 34)) and small.centroid == pytest.approx((2, 30, 46))


def test_no_lesion_is_none() -> None:
    assert find_lesions(np.full((3, 3, 3), 0.4, np.float32), np.eye(4)) == ()

"""One grid or two: by the distance of corners, and turned without a voxel moved."""

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from client.data.grids import TOLERANCE, corner_distance, is_same_grid, turned
from tests.support.datasets import grid

WIDE = (240, 240, 180)


def changed(**entries: float) -> NDArray:
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    for place, value in entries.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (changed(_03=0.012), True),
        (changed(_03=0.012, _13=-0.012, _23=0.012), True),
        (changed(_03=0.11), False),
        (changed(_00=1.0095), False),  # 2.3 mm at the far corner
        (changed(_00=1.0095, _11=1.0095), False),  # 3.2 mm
        (changed(_00=1.0002), True),
        (changed(_01=0.0005, _10=-0.0005), False),  # 0.03 degrees, 0.17 mm
        (np.diag([-1.0, 1, 1, 1]), False),
    ],
)
def test_a_grid_is_judged_by_its_corners(other: NDArray, same: bool) -> None:
    assert is_same_grid(WIDE, np.eye(4), other) == is_same_grid(WIDE, other, np.eye(4)) == same


def test_the_distance_is_that_of_the_farthest_corner() -> None:
    assert corner_distance(WIDE, np.eye(4), changed(_00=1.0095, _11=1.0095)) == pytest.approx(3.21, abs=0.01)
    assert corner_distance(WIDE, np.eye(4), changed(_13=0.012)) == pytest.approx(0.012)


@given(st.tuples(*[st.floats(-1, 1)] * 3), st.floats(0.3, 4.0))
def test_what_is_one_grid_gives_the_same_label_when_resampled_to_the_nearest(
    shift: tuple[float, float, float], edge: float
) -> None:
    """The tolerance is far below half a voxel, from which on the nearest voxel would be another."""
    one, other = (np.diag([edge, edge, edge, 1.0]) for _ in range(2))
    other[:3, 3] = np.array(shift) * edge * TOLERANCE / np.sqrt(3)
    assert is_same_grid((9, 9, 9), one, other)
    voxels = np.argwhere(np.ones((3, 3, 3)))
    nearest = np.linalg.inv(one)[:3, :3] @ (voxels @ other[:3, :3].T + other[:3, 3]).T
    np.testing.assert_array_equal(np.rint(nearest.T), voxels)


@given(st.sampled_from(["RAS", "LAS", "LPS", "RPI", "PSR", "SLA", "AIL", "IRP"]), st.floats(-40, 40))
def test_an_array_stored_otherwise_is_turned_to_the_voxel(axcodes: str, tilt: float) -> None:
    shape, affine = grid((6.0, 4.0, 3.0), tilt)
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axcodes)))
    stored = nibabel.Nifti1Image(array, affine).as_reoriented(turn)
    back = turned(np.asarray(stored.dataobj), stored.affine, shape, affine)
    assert back is not None
    np.testing.assert_array_equal(back, array)
    forth = turned(array, affine, stored.shape, stored.affine)
    assert forth is not None
    np.testing.assert_array_equal(forth, apply_orientation(array, turn))


@pytest.mark.parametrize(
    "other",
    [
        np.eye(4),
        grid((6.0, 4.0, 3.0), 3.0)[1],
        grid((6.0, 4.0, 3.0))[1] @ np.diag([-1, 1, 1, 1]),  # mirrored about its first voxel, elsewhere
        grid((6.0, 4.0, 3.1))[1],
    ],
)
def test_what_is_another_grid_is_not_turned(other: NDArray) -> None:
    shape, affine = grid((6.0, 4.0, 3.0))
    assert turned(np.zeros(shape, np.float32), other, shape, affine) is None
    assert turned(np.zeros((8, 12, 15), np.float32), affine, shape, affine) is None

"""Which slices of an image are shown, and what each of their voxels is called."""

import numpy as np

from scenarios.inference.worst_slices import FALSE, HIT, MISSED, NOTHING, worst_slices
from tests.support.datasets import grid, patient

SHAPE, AFFINE = grid((2.0, 2.0, 2.0))
IMAGE, _ = patient(SHAPE, AFFINE)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Missed: 9 voxels in plane 6, 8 in 7, 4 in 12, 1 in 18. False: 3 voxels in plane 12, 2 in plane 17."""
    truth, found = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    truth[8:11, 8:11, 6] = True
    truth[8:10, 8:12, 7] = True
    truth[8:10, 8:12, 12] = True
    found[8:10, 10:15, 12] = True
    found[8:10, 14, 12] = False
    found[13, 8, 12] = True
    truth[8, 8, 18] = True
    found[12:14, 8, 17] = True
    return truth, found


def test_slices_of_most_misses_and_of_most_false_voxels_are_shown_apart_from_each_other() -> None:
    """Plane 7 has more misses than 12 and lies beside 6; plane 12, of most false voxels, is there already."""
    truth, found = masks()
    view = worst_slices(IMAGE, AFFINE, truth, found)
    voxel = 0.008
    said = [tuple(round(ml / voxel) for ml in (one.hit_ml, one.missed_ml, one.false_ml)) for one in view.slices]
    assert said == [(0, 9, 0), (4, 4, 5), (0, 0, 2)]
    heights = [one.height for one in view.slices]
    assert heights == sorted(heights) and view.upright and view.aspect == 1


def test_each_voxel_is_what_it_is_and_lies_where_it_lies() -> None:
    truth, found = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    truth[12, 12:14, 12] = True
    found[12, 13, 12] = found[17, 12, 12] = True
    (one,) = worst_slices(IMAGE, AFFINE, truth, found).slices
    places = {kind: np.argwhere(one.kinds == kind) for kind in (HIT, MISSED, FALSE)}
    assert [len(there) for there in places.values()] == [1, 1, 1] and one.image.shape == one.kinds.shape
    assert np.count_nonzero(one.kinds == NOTHING) == one.kinds.size - 3
    hit, missed, false = (there[0] for there in places.values())
    assert (hit - missed).tolist() == [-1, 0], "what is in front is above"
    assert (false - missed).tolist() == [0, -5], "what is on the patient's right is on the left"


def test_where_nothing_is_wrong_nothing_is_shown() -> None:
    truth, _ = masks()
    assert worst_slices(IMAGE, AFFINE, truth, truth).slices == ()


def test_all_missed_shows_no_slice_for_what_is_false() -> None:
    truth, _ = masks()
    view = worst_slices(IMAGE, AFFINE, truth, np.zeros(SHAPE, bool))
    assert len(view.slices) == 2 and all(one.false_ml == 0 for one in view.slices)

"""What is chosen to look at: slices through the lesions, the right way up."""

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from client.qc.slices import slices_of
from tests.support.datasets import grid, patient

SHAPE, AFFINE = grid((2.0, 2.0, 2.0))
IMAGE, LABEL = patient(SHAPE, AFFINE)


def test_each_slice_shows_lesion_and_they_rise() -> None:
    view = slices_of(IMAGE, AFFINE, LABEL)
    assert len(view.slices) == 3 and view.upright and view.aspect == 1
    assert all(one.lesion.any() for one in view.slices)
    levels = [one.level for one in view.slices]
    assert levels == sorted(levels) and levels[0] >= 0 and levels[-1] <= 1


def test_the_patient_s_right_is_on_the_left_and_anterior_is_up() -> None:
    label = np.zeros(SHAPE, np.float32)
    label[16:18, 12, 12] = 1  # RAS: towards the right of the middle, in its depth
    label[12, 16:18, 12] = 1  # in front of it
    view = slices_of(IMAGE, AFFINE, label)
    (shown,) = [one.lesion for one in view.slices if one.lesion.sum() == 4]
    rows, columns = np.nonzero(shown)
    front, right = rows < rows.max(), rows == rows.max()
    assert front.sum() == right.sum() == 2, "what is in front is above"
    assert columns[right].max() < columns[front].min(), "what is on the right is on the left"


@pytest.mark.parametrize("axcodes", ["LPS", "PSR", "SAL"])
def test_the_same_patient_stored_otherwise_is_the_same_picture(axcodes: str) -> None:
    upright = slices_of(IMAGE, AFFINE, LABEL)
    turn = ornt_transform(io_orientation(AFFINE), axcodes2ornt(tuple(axcodes)))
    turned = [nibabel.Nifti1Image(array, AFFINE).as_reoriented(turn) for array in (IMAGE, LABEL)]
    stored = slices_of(np.asarray(turned[0].dataobj), turned[0].affine, np.asarray(turned[1].dataobj))
    for one, other in zip(upright.slices, stored.slices, strict=True):
        np.testing.assert_array_equal(one.lesion, other.lesion)
        np.testing.assert_array_equal(one.image, other.image)


def test_thick_slices_cut_sideways_keep_their_shape() -> None:
    shape, affine = grid((1.0, 3.0, 1.0))
    assert slices_of(*patient(shape, affine)[:1], affine, None).aspect == 3


def test_a_lesion_in_the_air_is_still_shown() -> None:
    label = np.zeros(SHAPE, np.float32)
    label[0, 0, 12] = 1
    assert any(one.lesion.any() for one in slices_of(IMAGE, AFFINE, label).slices)


@pytest.mark.parametrize(
    "image", [np.zeros(SHAPE), np.full(SHAPE, np.nan), np.where(IMAGE > 150, np.inf, IMAGE), -IMAGE, IMAGE[:, :, :1]]
)
@pytest.mark.parametrize("affine", [AFFINE, np.zeros((4, 4)), np.full((4, 4), np.nan)], ids=["good", "zero", "NaN"])
def test_any_image_gives_a_picture(image: np.ndarray, affine: np.ndarray) -> None:
    view = slices_of(image.astype(np.float32), affine, None)
    assert 1 <= len(view.slices) <= 3
    assert view.upright == bool(affine is AFFINE)
    assert all(one.image.size and not one.lesion.any() for one in view.slices)


def test_the_soft_label_is_shown_as_it_is() -> None:
    for one in slices_of(IMAGE, AFFINE, LABEL * 0.8).slices:
        assert one.label.shape == one.image.shape and one.label.max() == pytest.approx(0.8)
        np.testing.assert_array_equal(one.lesion, one.label >= 0.5)

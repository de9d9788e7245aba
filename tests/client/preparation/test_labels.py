"""A label comes onto its image's grid voxel by voxel, or is refused with what to do."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from client.data.nifti import Nifti, read_nifti
from client.preparation.convert import convert
from client.preparation.dicom_files import find_series
from client.preparation.labels import LabelReading, read_label, read_mask
from client.preparation.volume import ScanVolume
from scenarios.inference.dicom_seg import make_dicom_seg
from shared.errors import DataError
from tests.support.datasets import grid, patient, write_image
from tests.support.dicom import Scan, write_series

SHAPE, AFFINE = grid((3.0, 4.0, 6.0), tilt=9.0)
IMAGE, LABEL = patient(SHAPE, AFFINE)
PLAIN = LabelReading()
BINARY = (LABEL >= 0.5).astype(np.float32)


def read(path: Path, array: NDArray, affine: NDArray[np.float64] = AFFINE, how: LabelReading = PLAIN) -> NDArray:
    write_image(path / "label.nii.gz", array, affine)
    return read_label(path / "label.nii.gz", ScanVolume(IMAGE, AFFINE), how).array


def test_a_label_is_taken_as_it_is(tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, LABEL), LABEL)


@pytest.mark.parametrize("axcodes", ["LPS", "PSR", "SAL"])
def test_a_label_stored_in_another_order_is_put_back(tmp_path: Path, axcodes: str) -> None:
    turn = ornt_transform(io_orientation(AFFINE), axcodes2ornt(tuple(axcodes)))
    turned = nibabel.Nifti1Image(LABEL, AFFINE).as_reoriented(turn)
    assert np.array_equal(read(tmp_path, np.asarray(turned.dataobj), turned.affine), LABEL)


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 255), (0, 2), (-1, 1)])
def test_which_value_is_lesion_is_asked_for(tmp_path: Path, values: tuple[int, ...]) -> None:
    array = BINARY * values[-1]
    array[0, 0, : len(values)] = values
    with pytest.raises(DataError, match="say which value is lesion by --lesion-value"):
        read(tmp_path, array)
    found = read(tmp_path, array, how=LabelReading(lesion_value=values[-1]))
    assert np.array_equal(found[1:], BINARY[1:])


def test_a_label_that_lost_its_place_is_refused_until_it_is_said_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--copy-header"):
        read(tmp_path, LABEL, np.eye(4))
    assert np.array_equal(read(tmp_path, LABEL, np.eye(4), LabelReading(copy_header=True)), LABEL)


def test_a_label_of_another_image_is_refused(tmp_path: Path) -> None:
    shape, affine = grid((2.0, 2.0, 2.0))
    with pytest.raises(DataError, match="does not lie on its image's grid"):
        read(tmp_path, patient(shape, affine)[1], affine, LabelReading(copy_header=True))


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "label.nii.gz").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="is no whole gzip file"):
        read_label(tmp_path / "label.nii.gz", ScanVolume(IMAGE, AFFINE), LabelReading())
    with pytest.raises(DataError, match="NaN"):
        read(tmp_path, np.where(BINARY > 0, np.nan, 0))


def test_a_mask_is_whatever_is_above_0(tmp_path: Path) -> None:
    path = write_image(tmp_path / "mask.nii.gz", 255 * BINARY, AFFINE)
    assert np.array_equal(read_mask(path, ScanVolume(IMAGE, AFFINE), LabelReading()), BINARY > 0)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_dicom_segmentation_lies_where_it_was_drawn(tmp_path: Path, backwards: bool) -> None:
    write_series(tmp_path / "series", IMAGE, AFFINE, Scan(), backwards=backwards)
    (series,), _ = find_series(sorted((tmp_path / "series").iterdir()))
    (made,) = convert(series, tmp_path / "work")
    image = read_nifti(made.image, "image")
    assert isinstance(image, Nifti)
    volume = ScanVolume(image.array, image.affine)
    drawn = (image.array > 170).astype(np.float32)
    (tmp_path / "seg.dcm").write_bytes(make_dicom_seg(volume.like(drawn), series))
    assert np.array_equal(read_label(tmp_path / "seg.dcm", volume, LabelReading()).array, drawn)
    (found,), _ = find_series([tmp_path / "seg.dcm"])
    assert found.is_segmentation and found.refers_to == series.uid

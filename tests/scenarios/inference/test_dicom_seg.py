"""A mask goes back to the very pixels of the series that it was made of, however the series was acquired and stored."""

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from client.data.nifti import Nifti, read_nifti
from client.preparation.convert import convert
from client.preparation.dicom_files import find_series
from client.preparation.volume import ScanVolume
from scenarios.inference.dicom_seg import make_dicom_seg, plan_series
from shared.errors import DataError, SettingsError
from tests.support.commands import call, one_line
from tests.support.datasets import grid, patient
from tests.support.dicom import Scan, write_multiframe, write_series

BRIGHT = 700


def tilted(degrees: float, about: int) -> NDArray[np.float64]:
    turn, one, other = np.eye(3), (about + 1) % 3, (about + 2) % 3
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn[[one, other], [one, other]] = cosine
    turn[one, other], turn[other, one] = -sine, sine
    return turn


AXIAL = np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1.0]])
"""Columns: which way rows, columns and slices run, in right, anterior, superior."""
ACQUIRED = {
    "axial": AXIAL,
    "axial from above": AXIAL * [1, 1, -1],
    "sagittal": np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]),
    "coronal": np.array([[-1, 0, 0], [0, 0, 1.0], [0, -1, 0]]),
    "oblique": tilted(17, 0) @ tilted(9, 1) @ AXIAL,
    "oblique sagittal": tilted(11, 2) @ np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]),
}


def noise(axes: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A volume without any symmetry, of three different edges, and its affine."""
    image = np.random.default_rng(1).integers(0, 900, (17, 13, 9))
    affine = np.eye(4)
    affine[:3, :3] = axes * [1.5, 2.0, 5.0]
    affine[:3, 3] = [31.5, -20.25, 12.0]
    return image, affine


def seg_of(folder: Path) -> tuple[pydicom.Dataset, Path]:
    """The segmentation of all that is bright in the one series of a folder."""
    (series,), _ = find_series(sorted(folder.rglob("*")))
    (made,) = convert(series, folder.parent / "work")
    image = read_nifti(made.image, "image")
    assert isinstance(image, Nifti)
    path = folder.parent / "seg.dcm"
    path.write_bytes(make_dicom_seg(ScanVolume((image.array >= BRIGHT).astype(np.float32), image.affine), series))
    return pydicom.dcmread(path), path


@pytest.mark.parametrize("backwards", [False, True], ids=["", "backwards"])
@pytest.mark.parametrize("acquired", ACQUIRED)
def test_every_pixel_of_a_series_has_its_own_mask(tmp_path: Path, acquired: str, backwards: bool) -> None:
    image, affine = noise(ACQUIRED[acquired])
    files = write_series(tmp_path / "series", image, affine, Scan(), backwards=backwards)
    _, path = seg_of(tmp_path / "series")
    seg = highdicom.seg.segread(path)
    for source in map(pydicom.dcmread, files):
        frame = seg.get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)[0]
        assert np.array_equal(frame == 1, source.pixel_array >= BRIGHT)


def test_the_geometry_is_the_series_own(tmp_path: Path) -> None:
    image, affine = noise(ACQUIRED["oblique"])
    write_series(tmp_path / "series", image, affine, Scan())
    _, path = seg_of(tmp_path / "series")
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine  # (slice, row, column) to mm
    bright = np.argwhere(image >= BRIGHT)
    expected = bright @ affine[:3, :3].T + affine[:3, 3]
    found = np.argwhere(volume.array > 0) @ ras[:3, :3].T + ras[:3, 3]
    assert np.allclose(np.sort(found @ [1, 100, 1e4]), np.sort(expected @ [1, 100, 1e4]), atol=2)


def test_an_enhanced_multi_frame_image_is_segmented_too(tmp_path: Path) -> None:
    image, affine = noise(ACQUIRED["oblique sagittal"])
    source = pydicom.dcmread(write_multiframe(tmp_path / "series" / "one.dcm", image, affine, Scan()))
    _, path = seg_of(tmp_path / "series")
    frames = list(range(1, 1 + image.shape[2]))
    seg = highdicom.seg.segread(path)
    read = seg.get_pixels_by_source_frame(source.SOPInstanceUID, frames, combine_segments=True)
    assert np.array_equal(read == 1, source.pixel_array >= BRIGHT)


def test_it_says_what_it_is_and_whose(tmp_path: Path) -> None:
    image, affine = noise(AXIAL)
    scan = Scan(patient="4711")
    write_series(tmp_path / "series", image, affine, scan)
    seg, _ = seg_of(tmp_path / "series")
    (segment,) = seg.SegmentSequence
    assert segment.SegmentLabel == "MS lesion" and segment.SegmentAlgorithmName.startswith("Wardround")
    assert "not for clinical use" in seg.ContentDescription and "not for clinical use" in seg.SeriesDescription
    assert (seg.PatientID, seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("4711", scan.study, scan.frame)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == scan.series != seg.SeriesInstanceUID
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == image.shape[2]


def test_a_series_that_was_converted_onto_another_grid_is_refused(tmp_path: Path) -> None:
    image, affine = noise(AXIAL)
    write_series(tmp_path / "series", image, affine, Scan())
    (series,), _ = find_series(sorted((tmp_path / "series").iterdir()))
    affine[2, 3] += 2.5
    with pytest.raises(DataError, match="uneven or tilted"):
        make_dicom_seg(ScanVolume(image.astype(np.float32), affine), series)


def test_a_folder_of_several_series_is_refused(tmp_path: Path) -> None:
    image, affine = noise(AXIAL)
    write_series(tmp_path / "a" / "1", image, affine, scan := Scan())
    write_series(tmp_path / "a" / "2", image, affine, scan.as_t2w)
    assert "2 MR series" in plan_series([tmp_path / "a"], tmp_path / "out", True)[2][0]
    with pytest.raises(SettingsError, match="leave out --dicom-seg"):
        plan_series([tmp_path / "a.nii.gz"], tmp_path / "out", True)
    (tmp_path / "b").mkdir()
    planned, series, (failed,) = plan_series([tmp_path / "b"], tmp_path / "out", False)
    assert "no MR series" in failed and not planned and not series


def test_the_command_writes_the_segmentation_of_a_folder(
    tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    write_series(tmp_path / "FLAIR", patient(shape, affine)[0], affine, Scan())
    words = [
        "segment",
        str(tmp_path / "FLAIR"),
        "--model",
        str(untrained),
        "--output",
        str(tmp_path / "out"),
        "--dicom-seg",
    ]
    assert call(monkeypatch, capsys, *words) == (0, "")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"FLAIR.nii.gz", "FLAIR_lesion.nii.gz", "FLAIR_lesion-seg.dcm"} <= names
    assert pydicom.dcmread(tmp_path / "out" / "FLAIR_lesion-seg.dcm").NumberOfFrames == shape[2]
    one_line(monkeypatch, capsys, *words, expected="nothing is overwritten")

"""A DICOM series in, a DICOM segmentation out: for a hospital's own PACS, and not for clinical use.

The series is converted by dcm2niix, stripped where it shows a head, and segmented as any image. The mask goes back
frame by frame onto the series' own pixels, wherever the conversion put them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.head import find_head
from client.data.lesions import LESION
from client.data.nifti import read_nifti
from client.data.rules import Finding
from client.data.skull_stripping import is_whole_head
from client.preparation.convert import convert
from client.preparation.dicom_files import DicomSeries, find_series
from client.preparation.extra import extra
from client.preparation.recognise import OTHER, recognise
from client.preparation.stripping import check_brain, find_brain
from client.preparation.volume import ScanVolume, write_volume
from scenarios.inference.segment import NOT_CLINICAL, Job, unwritable
from shared.errors import DataError, SettingsError
from shared.files import write_whole

SEGMENT = "MS lesion"

SERIES_NUMBER = 9000
"""Added to the source's, so that the segmentation stands behind the study's own series."""

OFF_GRID = 0.25
"""Voxels; a pixel that lies farther from a converted voxel has none of its own (slices of uneven distance)."""

Affine = NDArray[np.float64]
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class SeriesJob:
    """A folder with one DICOM series, the image that becomes of it, and where its segmentation goes."""

    series: DicomSeries
    image: Path
    """NIfTI, written beside the segmentation, to look at it on."""
    seg: Path | None


def plan_series(
    inputs: Sequence[Path], output: Path, dicom_seg: bool
) -> tuple[list[Path], dict[Path, SeriesJob], list[str]]:
    """The NIfTI of each input, the series of those that are folders, and why others are left out.

    A folder that does not hold exactly one MR series is left out. Raises `SettingsError` where a file would be written
    twice or over another, or `dicom_seg` is asked of an input that is no folder.
    """
    images: list[Path] = []
    jobs: dict[Path, SeriesJob] = {}
    failed: list[str] = []
    for path in inputs:
        if not path.is_dir():
            if dicom_seg:
                raise SettingsError(f"{path} is no folder of a DICOM series: give folders, or leave out --dicom-seg")
            images.append(path)
            continue
        try:
            series = _only_series(path)
        except DataError as error:
            failed.append(str(error))
            continue
        name = path.resolve().name
        image = output / f"{name}.nii.gz"
        job = SeriesJob(series, image, output / f"{name}_lesion-seg.dcm" if dicom_seg else None)
        if image in jobs:
            raise SettingsError(f"two folders are named {name}: segment them into different folders")
        for there in (image, job.seg):
            if there is not None and (there.exists() or there.is_symlink()):
                raise SettingsError(f"{there} exists, and nothing is overwritten: choose another --output")
        jobs[image] = job
        images.append(image)
    return images, jobs, failed


def _only_series(folder: Path) -> DicomSeries:
    """The one MR series of a folder. Raises `DataError`."""
    found, _ = find_series(path for path in sorted(folder.rglob("*")) if path.is_file())
    series = [one for one in found if one.modality == "MR"]
    if len(series) != 1:
        names = ", ".join(f"{one.number} {one.description}" for one in series)
        shown = f"{len(series)} MR series ({names})" if series else "no MR series in DICOM"
        raise DataError(f"{folder} holds {shown}: give a folder of one series, a FLAIR or a T2w")
    return series[0]


def bring_image(job: SeriesJob) -> list[str]:
    """Convert the series and write its image, stripped where it shows a head; returns what to say of it.

    Raises `DataError` where it cannot be converted or stripped, `ResultsError` where the disk refuses.
    """
    folder = job.series.folder
    with TemporaryDirectory() as work:
        made = convert(job.series, Path(work) / "series")
        if len(made) != 1:
            raise DataError(f"{folder} holds {len(made)} images in one series (echoes, orientations): export one alone")
        read = read_nifti(made[0].image, "image")
        if isinstance(read, Finding):
            raise DataError(f"{folder} {read.text}: {read.mend}")
    volume = ScanVolume(read.array, read.affine)
    seen = recognise(made[0].sidecar, job.series.description.replace("_", " "), min(volume.array.shape))
    said = [f"{folder}: {seen.contrast} ({seen.why})"]
    if seen.contrast == OTHER:
        said.append(f"  warning: {folder} is neither FLAIR nor T2w by its header, and the model knows no other")
    if is_whole_head(find_head(volume.array), volume.affine):
        try:
            brain = find_brain(volume)
            check_brain(brain, volume, None)
        except DataError as error:
            raise DataError(f"{folder} {error}") from None
        volume = volume.like(np.where(brain, volume.array, 0))
        said.append(f"  {folder}: skull-stripped by deepbet")
    try:
        write_volume(job.image, volume)
    except OSError as error:
        raise unwritable(job.image.parent, error) from None
    return said


def write_dicom_seg(one: SeriesJob, job: Job) -> None:
    """Write the lesions of a segmented image as a DICOM segmentation of its series.

    Patient and study are the source's, and each frame refers to the instance that it lies on. Raises `DataError`
    where the series' pixels are not those of the image, `ResultsError` where the disk refuses.
    """
    if one.seg is None:
        return
    soft = read_nifti(job.soft, "image")
    if isinstance(soft, Finding):
        raise DataError(f"{job.soft} {soft.text}: {soft.mend}")
    made = make_dicom_seg(ScanVolume(soft.array, soft.affine), one.series)
    try:
        write_whole(one.seg, made)
    except OSError as error:
        raise unwritable(one.seg.parent, error) from None


def make_dicom_seg(soft: ScanVolume, series: DicomSeries) -> bytes:
    """The bytes of a DICOM segmentation of `soft >= 0.5` on the frames of a series. Raises `DataError`."""
    pydicom, highdicom = extra("pydicom"), extra("highdicom")
    codes = extra("pydicom.sr.codedict").codes
    sources = [pydicom.dcmread(path) for path in series.files]
    frames = [frame for source in sources for frame in _frames(source)]
    rows, columns = int(sources[0].Rows), int(sources[0].Columns)
    lesion = soft.array >= LESION
    mask = np.stack([_on_frame(lesion, soft.affine, frame, rows, columns, series) for frame in frames])
    version = metadata.version("wardround")
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=SEGMENT,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="Wardround", family=codes.DCM.ArtificialIntelligence, version=version
        ),
        anatomic_regions=[codes.SCT.Brain],
    )
    seg = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=mask,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER + series.number,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="Wardround",
        manufacturer_model_name="Wardround MS lesion segmentation",
        software_versions=version,
        device_serial_number="0",
        content_label="MS_LESION",
        content_description=f"MS lesions, {NOT_CLINICAL}",
        series_description=f"MS lesions (Wardround), {NOT_CLINICAL}",
        # So that it has a frame for every slice, and none has to be guessed.
        omit_empty_frames=False,
    )
    buffer = pydicom.filebase.DicomBytesIO()
    seg.save_as(buffer, enforce_file_format=True)
    return bytes(buffer.getvalue())


def _frames(source: Any) -> list[Affine]:
    """For each frame of an instance the way from (column, row) to mm: (4, 4), right, anterior, superior."""
    if "PerFrameFunctionalGroupsSequence" not in source:
        return [_frame(source.ImageOrientationPatient, source.PixelSpacing, source.ImagePositionPatient)]
    shared = source.SharedFunctionalGroupsSequence[0]

    def group(frame: Any, name: str) -> Any:
        return (frame if name in frame else shared)[name][0]

    return [
        _frame(
            group(frame, "PlaneOrientationSequence").ImageOrientationPatient,
            group(frame, "PixelMeasuresSequence").PixelSpacing,
            group(frame, "PlanePositionSequence").ImagePositionPatient,
        )
        for frame in source.PerFrameFunctionalGroupsSequence
    ]


def _frame(orientation: Sequence[float], spacing: Sequence[float], position: Sequence[float]) -> Affine:
    """PS3.3, equation C.7.6.2.1-1: PixelSpacing is between rows first, the orientation along a row first."""
    affine = np.eye(4)
    affine[:3, 0] = np.array(orientation[:3], dtype=float) * float(spacing[1])
    affine[:3, 1] = np.array(orientation[3:], dtype=float) * float(spacing[0])
    affine[:3, 3] = np.array(position, dtype=float)
    placed: Affine = _LPS @ affine
    return placed


def _on_frame(
    lesion: NDArray[np.bool_], affine: Affine, frame: Affine, rows: int, columns: int, series: DicomSeries
) -> NDArray[np.uint8]:
    """The mask on the pixels (row, column) of a frame."""
    row, column = np.mgrid[:rows, :columns]
    pixels = np.stack([column, row, np.zeros_like(row), np.ones_like(row)], axis=-1)
    index = (pixels @ (np.linalg.inv(affine) @ frame).T)[..., :3]
    voxel = np.rint(index).astype(int)
    inside = ((voxel >= 0) & (voxel < lesion.shape)).all(axis=-1)
    if not inside.all() or np.abs(index - voxel).max() > OFF_GRID:
        text = f"{series.folder}: its slices are uneven or tilted, and lie off the grid that dcm2niix made of them"
        raise DataError(f"{text}: its segmentation is there as NIfTI alone")
    on_frame: NDArray[np.uint8] = lesion[tuple(np.moveaxis(voxel, -1, 0))].astype(np.uint8)
    return on_frame

"""DICOM series as scanners export them, written from arrays: one file a slice, or one enhanced multi-frame."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From NIfTI's right, anterior, superior to DICOM's left, posterior, superior."""


@dataclass(frozen=True)
class Scan:
    """What a scanner writes beside the voxels; times in ms."""

    description: str = "t2_space_dark-fluid_sag"
    te: float = 120.0
    tr: float = 8000.0
    ti: float | None = 2400.0
    scanning: str = "SE\\IR"
    patient: str = "4711"
    date: str = "20240105"
    number: int = 3
    image_type: str = "ORIGINAL\\PRIMARY\\M\\ND"
    study: str = field(default_factory=generate_uid)
    series: str = field(default_factory=generate_uid)
    frame: str = field(default_factory=generate_uid)
    texts: dict[str, str] = field(default_factory=dict)
    """Further elements, by keyword."""

    @property
    def as_t2w(self) -> "Scan":
        """The T2-weighted series of the same study."""
        return replace(
            self, description="t2_tse_tra", te=95.0, tr=5000.0, ti=None, scanning="SE", number=4, series=generate_uid()
        )


def write_series(
    folder: Path, image: NDArray[Any], affine: NDArray[np.float64], scan: Scan, *, backwards: bool = False
) -> list[Path]:
    """Write a volume (i, j, k) with its RAS affine as one file a slice k; rows are j, columns i.

    `backwards` numbers instances, and names files, from the last slice to the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(image.shape[2])
    written = []
    for instance, k in enumerate(reversed(numbers) if backwards else numbers, 1):
        one = _common(scan, MRImageStorage, image.shape, affine)
        one.InstanceNumber = instance
        one.SliceThickness = f"{np.linalg.norm(affine[:3, 2]):.6g}"
        one.PixelSpacing = [_ds(np.linalg.norm(affine[:3, 1])), _ds(np.linalg.norm(affine[:3, 0]))]
        one.ImageOrientationPatient = _orientation(affine)
        one.ImagePositionPatient = _position(affine, k)
        one.EchoTime, one.RepetitionTime = _ds(scan.te), _ds(scan.tr)
        if scan.ti is not None:
            one.InversionTime = _ds(scan.ti)
        one.PixelData = np.ascontiguousarray(image[:, :, k].T.astype(np.uint16)).tobytes()
        written.append(_save(one, folder / f"IM{instance:04d}"))
    return written


def write_multiframe(path: Path, image: NDArray[Any], affine: NDArray[np.float64], scan: Scan) -> Path:
    """Write a volume as one enhanced MR image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one = _common(scan, EnhancedMRImageStorage, image.shape, affine)
    one.InstanceNumber, one.NumberOfFrames = 1, image.shape[2]
    measures = Dataset()
    measures.SliceThickness = _ds(np.linalg.norm(affine[:3, 2]))
    measures.SpacingBetweenSlices = measures.SliceThickness
    measures.PixelSpacing = [_ds(np.linalg.norm(affine[:3, 1])), _ds(np.linalg.norm(affine[:3, 0]))]
    orientation = Dataset()
    orientation.ImageOrientationPatient = _orientation(affine)
    echo, timing, modifier = Dataset(), Dataset(), Dataset()
    echo.EffectiveEchoTime, timing.RepetitionTime = scan.te, scan.tr
    timing.FlipAngle, timing.EchoTrainLength = 150.0, 16
    modifier.InversionRecovery = "NO" if scan.ti is None else "YES"
    if scan.ti is not None:
        modifier.InversionTimes = scan.ti
    values = Dataset()
    values.RescaleIntercept, values.RescaleSlope, values.RescaleType = "0", "1", "US"
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.MREchoSequence = Sequence([echo])
    shared.MRTimingAndRelatedParametersSequence = Sequence([timing])
    shared.MRModifierSequence = Sequence([modifier])
    shared.PixelValueTransformationSequence = Sequence([values])
    one.SharedFunctionalGroupsSequence = Sequence([shared])
    organization = Dataset()
    organization.DimensionOrganizationUID = generate_uid()
    one.DimensionOrganizationSequence = Sequence([organization])
    frames = []
    for k in range(image.shape[2]):
        position, content, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = _position(affine, k)
        content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", k + 1, [1, k + 1]
        frame.PlanePositionSequence, frame.FrameContentSequence = Sequence([position]), Sequence([content])
        frames.append(frame)
    one.PerFrameFunctionalGroupsSequence = Sequence(frames)
    one.PixelData = np.ascontiguousarray(image.transpose(2, 1, 0).astype(np.uint16)).tobytes()
    return _save(one, path)


def _common(scan: Scan, kind: UID, shape: tuple[int, ...], affine: NDArray[np.float64]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = scan.study, scan.series, scan.frame
    one.Modality, one.Manufacturer, one.ManufacturerModelName = "MR", "SIEMENS", "Skyra"
    one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = scan.patient, "Doe^Jane", "19800102", "F"
    one.StudyDate = one.SeriesDate = one.AcquisitionDate = one.ContentDate = scan.date
    one.StudyTime = one.SeriesTime = one.AcquisitionTime = one.ContentTime = "101500"
    one.AccessionNumber, one.StudyID, one.ReferringPhysicianName = "", "1", ""
    one.SeriesNumber, one.SeriesDescription, one.ProtocolName = scan.number, scan.description, scan.description
    one.ImageType, one.ScanningSequence, one.SequenceVariant = scan.image_type, scan.scanning, "SK"
    one.ScanOptions, one.MRAcquisitionType, one.MagneticFieldStrength = "", "2D", "3"
    one.FlipAngle, one.EchoTrainLength, one.PatientPosition = "150", 16, "HFS"
    one.Columns, one.Rows = shape[:2]
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
    for keyword, text in scan.texts.items():
        setattr(one, keyword, text)
    return one


def _save(one: FileDataset, path: Path) -> Path:
    one.save_as(path, enforce_file_format=True)
    return path


def _orientation(affine: NDArray[np.float64]) -> list[str]:
    axes = (LPS @ affine)[:3, :2]
    return [_ds(value) for value in (axes / np.linalg.norm(axes, axis=0)).T.ravel()]


def _position(affine: NDArray[np.float64], k: int) -> list[str]:
    return [_ds(value) for value in (LPS @ affine @ [0, 0, k, 1])[:3]]


def _ds(value: float) -> str:
    """A number in the 16 characters that DICOM gives it."""
    return f"{value:.9f}"[:16]

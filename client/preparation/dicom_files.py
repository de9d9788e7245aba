"""Finding the series in a folder of DICOM files, however they are nested and named."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.preparation.extra import extra

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
"""SOP class of a DICOM segmentation (PS3.4, B.5)."""

_READ = (
    *("SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "PatientName"),
    *("StudyDate", "SeriesDate", "AcquisitionDate", "SeriesNumber", "SeriesDescription", "ReferencedSeriesSequence"),
)
_PREAMBLE = 128


@dataclass(frozen=True)
class DicomSeries:
    """The files of one series, and what its header says of whom, when and how."""

    uid: str
    files: tuple[Path, ...]
    modality: str
    patient: str
    """PatientID, or what there is in its place."""
    date: str
    """Of the study, as YYYYMMDD."""
    number: int
    description: str
    refers_to: str = ""
    """The series that a segmentation was drawn on."""

    @property
    def is_segmentation(self) -> bool:
        """Whether it is a label and no image."""
        return self.modality == "SEG"

    @property
    def folder(self) -> Path:
        """Where its first file lies."""
        return self.files[0].parent


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its preamble."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False


def find_series(paths: Iterable[Path]) -> tuple[list[DicomSeries], list[Path]]:
    """The series among files, by patient, date and number; and the DICOM files that could not be read."""
    headers: dict[str, list[tuple[Path, Any]]] = {}
    damaged: list[Path] = []
    for path in paths:
        if not is_dicom(path):
            continue
        header = _header(path)
        if header is None:
            damaged.append(path)
        elif uid := str(header.get("SeriesInstanceUID", "")):
            headers.setdefault(uid, []).append((path, header))
    series = [_series(uid, sorted(members, key=lambda one: one[0])) for uid, members in headers.items()]
    return sorted(series, key=lambda one: (one.patient, one.date, one.number, one.uid)), damaged


def _header(path: Path) -> Any:
    pydicom = extra("pydicom")
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_READ))
        for name in _READ:
            header.get(name)  # a garbled element is found here, and not in the middle of the work
        return header
    except Exception:
        # pydicom raises whatever its parts do, and a file may hold anything.
        return None


def _series(uid: str, members: list[tuple[Path, Any]]) -> DicomSeries:
    header = members[0][1]
    modality = str(header.get("Modality", ""))
    refers_to = ""
    if str(header.get("SOPClassUID", "")) == SEGMENTATION:
        modality = "SEG"
        refers_to = next(
            (str(one.get("SeriesInstanceUID", "")) for one in header.get("ReferencedSeriesSequence", [])), ""
        )
    patient = _first(header, "PatientID", "PatientName", "StudyInstanceUID")
    date = _first(header, "StudyDate", "AcquisitionDate", "SeriesDate", "StudyInstanceUID")
    number = header.get("SeriesNumber")
    return DicomSeries(
        uid=uid,
        files=tuple(path for path, _ in members),
        modality=modality,
        patient=patient,
        date=date,
        number=int(number) if number is not None else 0,
        description=str(header.get("SeriesDescription", "") or ""),
        refers_to=refers_to,
    )


def _first(header: Any, *names: str) -> str:
    return next((text for name in names if (text := str(header.get(name, "") or "").strip())), "unknown")

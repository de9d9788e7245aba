"""DICOM to NIfTI by dcm2niix (Li et al. 2016), whose wheel holds the program."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.preparation.dicom_files import DicomSeries
from client.preparation.extra import extra
from shared.errors import DataError


@dataclass(frozen=True)
class Converted:
    """One image of a series, and what dcm2niix says of how it was acquired."""

    image: Path
    sidecar: dict[str, Any]


def convert(series: DicomSeries, work: Path) -> tuple[Converted, ...]:
    """The images of a series, written into the new folder `work`: one, or one an echo or orientation.

    Raises `DataError` where there is none, and `SettingsError` where the extra is not installed.
    """
    program = extra("dcm2niix").bin
    inside, outside = work / "in", work / "out"
    inside.mkdir(parents=True)
    outside.mkdir()
    for number, path in enumerate(series.files):
        (inside / f"{number:06d}.dcm").symlink_to(path.resolve())
    # -ba y: no name, date or number of the patient in what it writes.
    words = [program, "-b", "y", "-ba", "y", "-z", "n", "-f", "image", "-o", str(outside), str(inside)]
    made = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    images = sorted(outside.glob("*.nii"))
    if not images:
        lines = [line for line in (made.stdout + made.stderr).splitlines() if "rror" in line or "arning" in line]
        why = lines[-1].strip() if lines else f"exit code {made.returncode}"
        text = f"{series.folder}: series {series.number} ({series.description or 'no description'})"
        raise DataError(
            f"{text} cannot be converted by dcm2niix ({why}): export it again, or take it out of the folder"
        )
    return tuple(Converted(image, _sidecar(image.with_suffix(".json"))) for image in images)


def _sidecar(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}

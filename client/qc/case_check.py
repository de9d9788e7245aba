"""Checking one case: everything that is wrong with it, what it measures, and slices to look at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import orientations as nib_orientations
from numpy.typing import NDArray

from client.data.duplicates import fingerprint
from client.data.inventory import Case
from client.data.lesions import lesion_count, lesion_ml
from client.data.nifti import Nifti
from client.data.reading import read_case
from client.data.rules import Examined, Finding, unexpected
from client.qc.slices import View, slices_of

orientations: Any = nib_orientations  # its functions carry no types


@dataclass(frozen=True)
class Measurements:
    """What an image that could be read measures."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    """mm along each of the stored axes."""
    orientation: str
    """Towards which the stored axes run, such as `RAS`; empty where the affine does not tell."""
    intensity: tuple[float, float]
    """Least and greatest value."""
    lesion_ml: float | None = None
    """By fractions of voxels; None where the label cannot be trusted."""
    lesion_count: int | None = None


@dataclass(frozen=True, eq=False)
class CaseCheck(Examined):
    """One image of a subject and what was found."""

    subject: str
    contrast: str
    image: Path | None
    findings: tuple[Finding, ...]
    label: Path | None = None
    """The file that was taken for its label, or nearly was."""
    measured: Measurements | None = None
    fingerprint: str = ""
    """Of the voxels, however they are compressed; empty where they could not be read."""
    view: View | None = None

    @property
    def ok(self) -> bool:
        """Whether it can be used."""
        return not self.problems


def check_case(case: Case, allow_empty: bool = False) -> CaseCheck:
    """Read a case once and say all that is wrong with it. Raises nothing for any file."""
    try:
        return _check(case, allow_empty)
    except Exception as error:
        # Measuring one patient must not stop the check of the others, as reading does not.
        return CaseCheck(case.subject, case.contrast, case.image, (unexpected(error),), case.label)


def _check(case: Case, allow_empty: bool) -> CaseCheck:
    reading = read_case(case, allow_empty)
    measured, view = None, None
    if (image := reading.image) is not None:
        trusted = reading.label if reading.trusted else None
        measured = _measurements(image, trusted)
        if image.array.ndim == 3:
            view = slices_of(image.array, image.affine, trusted.array if trusted else None)
    return CaseCheck(
        *(case.subject, case.contrast, case.image, reading.findings, case.label),
        measured=measured,
        fingerprint=fingerprint(reading),
        view=view,
    )


def _measurements(image: Nifti, label: Nifti | None) -> Measurements:
    """Measurements; those of lesions only where the label can be trusted."""
    with np.errstate(all="ignore"):
        spacing = np.nan_to_num(np.linalg.norm(image.affine[:3, :3], axis=0), posinf=0, neginf=0)
    finite = image.array[np.isfinite(image.array)]
    return Measurements(
        shape=tuple(image.array.shape),
        spacing=tuple(round(float(edge), 4) for edge in spacing),
        orientation=_orientation(image.affine) if image.oriented else "",
        intensity=(float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0),
        lesion_ml=None if label is None else round(lesion_ml(label.array, image.affine), 3),
        lesion_count=None if label is None else lesion_count(label.array),
    )


def _orientation(affine: NDArray[np.float64]) -> str:
    try:
        return "".join(orientations.aff2axcodes(affine))
    except (ValueError, TypeError, np.linalg.LinAlgError):
        return ""

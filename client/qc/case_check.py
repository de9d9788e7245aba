"""Checking one case: everything that is wrong with it, what it measures, and slices to look at."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import orientations as nib_orientations
from numpy.typing import NDArray

from client.data.inventory import Case
from client.data.lesions import lesion_count, lesion_ml
from client.data.nifti import Nifti, read_nifti
from client.data.rules import (
    Finding,
    Part,
    grid_findings,
    image_findings,
    label_findings,
    pair_findings,
    problem,
    warning,
)
from client.data.skull_stripping import is_whole_head
from client.qc.slices import View, slices_of

orientations: Any = nib_orientations  # its functions carry no types


@dataclass(frozen=True)
class Facts:
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
class Checked:
    """One image of a subject and what was found."""

    subject: str
    contrast: str
    image: Path | None
    findings: tuple[Finding, ...]
    facts: Facts | None = None
    fingerprint: str = ""
    """Of the voxels, however they are compressed; empty where they could not be read."""
    view: View | None = None

    @property
    def ok(self) -> bool:
        """Whether it can be used."""
        return not self.problems

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What keeps it out."""
        return tuple(finding for finding in self.findings if finding.problem)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What should be looked at."""
        return tuple(finding for finding in self.findings if not finding.problem)


def check_case(case: Case, allow_empty: bool = False) -> Checked:
    """Read a case once and say all that is wrong with it. Raises nothing for any file."""
    try:
        return _check(case, allow_empty)
    except Exception as error:
        # One patient must not stop the check of the others, whatever the files do.
        text = f"stopped the check ({type(error).__name__}: {error})"
        finding = problem("unexpected", "pair", text, "look at both files, and report this as a bug")
        return Checked(case.subject, case.contrast, case.image, (finding,))


def _check(case: Case, allow_empty: bool) -> Checked:
    findings: list[Finding] = []
    image = _read(case.image, "image", findings)
    label = _read(case.label, "label", findings)
    facts, fingerprint, view = None, "", None
    label_good = image_good = False
    if label is not None:
        own = [*grid_findings(label.array.shape, label.affine, label.oriented, "label")]
        own += label_findings(label.array, allow_empty)
        label_good = not any(finding.problem and finding.code != "empty" for finding in own)
        findings += own
    if image is not None:
        grid = [*grid_findings(image.array.shape, image.affine, image.oriented, "image")]
        values = [*image_findings(image.array)]
        findings += grid + values
        image_good = not any(finding.problem for finding in grid + values)
        if image_good and label is not None and label_good:
            off = [*pair_findings(image.array, image.affine, label.array, label.affine)]
            label_good = not any(finding.problem for finding in off)
            findings += off
        if image_good and is_whole_head(image.array, image.affine):
            text = "shows skull and scalp, where a skull-stripped brain is expected"
            findings.append(warning("whole-head", "image", text, "strip the skull (HD-BET, SynthStrip)"))
        trusted = label if image_good and label_good else None
        facts = _facts(image, trusted)
        if not any(finding.problem for finding in values):
            # An image of nothing is like many others.
            fingerprint = _fingerprint(image.array)
        if image.array.ndim == 3:
            view = slices_of(image.array, image.affine, trusted.array if trusted else None)
    # Problems first, and in each kind as they were found.
    ordered = tuple(sorted(findings, key=lambda finding: not finding.problem))
    return Checked(case.subject, case.contrast, case.image, ordered, facts, fingerprint, view)


def _read(path: Path, part: Part, findings: list[Finding]) -> Nifti | None:
    read = read_nifti(path, part)
    if isinstance(read, Finding):
        findings.append(read)
        return None
    return read


def _facts(image: Nifti, label: Nifti | None) -> Facts:
    """Measurements; those of lesions only where the label can be trusted."""
    with np.errstate(all="ignore"):
        spacing = np.nan_to_num(np.linalg.norm(image.affine[:3, :3], axis=0), posinf=0, neginf=0)
    finite = image.array[np.isfinite(image.array)]
    return Facts(
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


def _fingerprint(array: NDArray[np.float32]) -> str:
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

"""What can be wrong with an image: each rule is a function of arrays that returns what it found.

A *problem* keeps a case out of training and testing; a *warning* lets it in, to be looked at. Rules are
independent of each other where they can be, so that all that is wrong with a case is said at once. These, and those
of labels (`client/data/label_rules.py`), are the only rules: `wardround hospital check`, a run, `wardround segment` and
`wardround realism` judge by them alike (`client/data/reading.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from client.data.grids import Affine
from client.data.head import FoundHead
from client.data.skull_stripping import is_whole_head
from shared.errors import DataError

Array = NDArray[np.float32]
Part = Literal["image", "label", "pair", "subject"]
"""What a finding is about: a file, both, or a subject whose files are missing."""

SPACING = (0.1, 20.0)
"""mm; a voxel outside these is not one of a brain MRI, but most likely given in another unit."""

INTENSITY = (1e-4, 1e12)
"""An image's values span the first and stay below the second, or its scaling is garbled and normalising it would be."""

LEVELS = 1e-5
"""The least span of values as a share of the greatest, for float32 to keep a hundred levels of them apart."""

THICK = 3.0
"""mm; the thickest slices that MAGNIMS, CMSC and NAIMS recommend for MS (Wattjes et al. 2021)."""

PUBLIC = {
    "air": "has an image of nothing but air",
    "annex-pointer": "cannot be read",
    "affine-missing": "has no affine",
    "affine-not-finite": "has a singular affine",
    "affine-singular": "has a singular affine",
    "constant": "has an image of a single value",
    "dangling-link": "cannot be read",
    "dtype": "is of a wrong type",
    "duplicate": "has an image that another subject has, too",
    "empty": "has a label that marks no lesion",
    "empty-file": "cannot be read",
    "garbled": "cannot be read",
    "intensity": "has impossible intensities",
    "lfs-pointer": "cannot be read",
    "link-loop": "cannot be read",
    "missing": "cannot be read",
    "not-3d": "has a wrong shape",
    "not-finite": "holds NaN or infinity",
    "not-gzip": "cannot be read",
    "not-nifti": "cannot be read",
    "off-grid": "has a label off its image's grid",
    "out-of-range": "has a label outside [0, 1]",
    "spacing": "has an impossible voxel size",
    "thin": "has a wrong shape",
    "too-large": "has a wrong shape",
    "truncated": "cannot be read",
    "unexpected": "cannot be used",
    "unreadable": "cannot be read",
    "zero-size": "has a wrong shape",
    "contrast-unknown": "is of unknown contrast",
    "format": "is in a format that is not read",
    "several-labels": "has several labels, of which none is chosen",
}
"""What a deployed hospital tells the coordinator of each problem: its kind, without names, numbers or contents."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a case, where, and what to do."""

    code: str
    """Its name for programs."""
    problem: bool
    part: Part
    text: str
    mend: str

    def __str__(self) -> str:
        about = {"image": "image ", "label": "label ", "pair": "image and label ", "subject": ""}
        return f"{about[self.part]}{self.text}: {self.mend}"


class Examined:
    """Whatever was examined by the rules."""

    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What keeps it out."""
        return tuple(finding for finding in self.findings if finding.problem)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What should be looked at."""
        return tuple(finding for finding in self.findings if not finding.problem)


def problem(code: str, part: Part, text: str, mend: str) -> Finding:
    """A finding that keeps the case out."""
    return Finding(code, True, part, text, mend)


def warning(code: str, part: Part, text: str, mend: str) -> Finding:
    """A finding that lets the case in."""
    return Finding(code, False, part, text, mend)


class RefusedError(DataError):
    """A file that cannot be used for a problem that the rules found."""

    def __init__(self, path: Path, finding: Finding) -> None:
        super().__init__(f"{path} {finding.text}: {finding.mend}", PUBLIC[finding.code])
        self.finding = finding


def refusal(path: Path, finding: Finding) -> RefusedError:
    """The error for a file that cannot be used for this problem."""
    return RefusedError(path, finding)


def unexpected(error: Exception) -> Finding:
    """The problem of a case that stopped a reader or a rule in a way nobody foresaw."""
    text = f"stopped the check ({type(error).__name__}: {error})"
    return problem("unexpected", "pair", text, "look at both files, and report this as a bug")


def grid_findings(shape: tuple[int, ...], affine: Affine, oriented: bool, part: Part) -> Iterator[Finding]:
    """Whether a grid is one 3D volume with a usable way from voxel to mm.

    `oriented` says whether the header gives orientation at all.
    """
    if len(shape) != 3:
        text = f"has shape {by(shape)}, but must be one 3D volume"
        yield problem("not-3d", part, text, "keep one volume of it, one contrast or time point a file")
    elif min(shape) < 2:
        text = f"has shape {by(shape)}, a single slice, but must be one 3D volume"
        yield problem("thin", part, text, "give the whole volume")
    if not oriented:
        text = "has no affine: its header gives neither orientation nor position (sform and qform code 0)"
        yield problem("affine-missing", part, text, "convert it again from DICOM")
        return
    if not np.isfinite(affine).all():
        text = "has a singular affine, which holds NaN or infinity"
        yield problem("affine-not-finite", part, text, "convert it again from DICOM")
        return
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    # By direction alone, so that a small voxel is no singular one.
    if voxel.min() == 0 or abs(np.linalg.det(affine[:3, :3] / voxel)) < 1e-3:
        text = "has a singular affine, which gives voxels no volume"
        yield problem("affine-singular", part, text, "convert it again from DICOM")
    elif voxel.min() < SPACING[0] or voxel.max() > SPACING[1]:
        text = f"has voxels of {by(voxel)} mm, which no brain MRI has"
        yield problem("spacing", part, text, "correct the voxel size in its header; its unit is mm")
    elif part == "image" and voxel.max().round(3) > THICK:
        text = f"has slices of {voxel.max():.3g} mm, in which small lesions fade"
        yield warning("thick-slices", part, text, f"prefer images of at most {THICK:g} mm")


def image_findings(image: Array) -> Iterator[Finding]:
    """Whether an image's values can be trained on, wherever their zero is."""
    if bad := int(np.count_nonzero(~np.isfinite(image))):
        yield problem("not-finite", "image", f"holds NaN or infinity in {bad} voxels", "replace them, by 0 in air")
        return
    low, high = float(image.min()), float(image.max())
    greatest, span = max(high, -low), high - low
    if low == high == 0:
        yield problem("air", "image", "holds nothing but air (no value but 0)", "check how it was made")
    elif low == high:
        yield problem("constant", "image", f"holds nothing but {low:g}", "check how it was made")
    elif greatest > INTENSITY[1] or span < INTENSITY[0] or span < LEVELS * greatest:
        text = f"has values from {low:.3g} to {high:.3g}, which no scanner writes"
        yield problem("intensity", "image", text, "correct the scaling in its header (scl_slope), or convert it again")


def head_findings(head: FoundHead, affine: Affine) -> Iterator[Finding]:
    """Whether an image on a usable grid shows a brain without its skull, and nothing but tissue."""
    if is_whole_head(head, affine):
        text = "shows skull and scalp, where a skull-stripped brain is expected"
        yield warning("whole-head", "image", text, "strip the skull (wardround hospital prepare, HD-BET, SynthStrip)")
    yield from _outliers(head)


def _outliers(head: FoundHead) -> Iterator[Finding]:
    spikes, counts = head.spikes, []
    if spikes.hot:
        times = (spikes.highest - head.floor) / max(spikes.usual - head.floor, 1e-30)
        counts.append(f"{spikes.hot} of up to {spikes.highest:g} ({times:.3g} times the head's 99.9th percentile)")
    if spikes.cold:
        counts.append(f"{spikes.cold} down to {spikes.lowest:g}")
    if counts:
        text = f"has voxels that are no tissue: {' and '.join(counts)}"
        mend = "look at the picture; single ones are replaced by their surroundings, but many hide what is there"
        yield warning("outliers", "image", text, mend)


def contrast_findings(contrast: str, known: Sequence[str]) -> Iterator[Finding]:
    """Whether an image's contrast is one of those that a model learnt from."""
    if contrast not in known:
        shown = "neither FLAIR nor T2w" if contrast == "other" else contrast
        names = " and ".join(known)
        yield warning("contrast", "image", f"is {shown}, and the model knows {names}", f"give it {names} images")


def by(numbers: object) -> str:
    """Edges as a person writes them, such as `1 x 1 x 3`."""
    return " x ".join(f"{number:.4g}" for number in np.asarray(numbers).ravel()) or "0"

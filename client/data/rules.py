"""What can be wrong with an image and its label: each rule is a function of arrays that returns what it found.

A *problem* keeps a case out of training and testing; a *warning* lets it in, to be looked at. Rules are
independent of each other where they can be, so that all that is wrong with a case is said at once. These are the
only rules: `wardround hospital check`, a run, `wardround segment` and `wardround realism` judge by them alike
(`client/data/reading.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from client.data.lesions import LESION
from client.data.skull_stripping import is_whole_head
from shared.errors import DataError

Array = NDArray[np.float32]
Affine = NDArray[np.float64]
Part = Literal["image", "label", "pair", "subject"]
"""What a finding is about: a file, both, or a subject whose files are missing."""

GRID_TOLERANCE = 1e-2
"""By how much an entry of the label's affine may differ from the image's (mm, or mm a voxel)."""

SPACING = (0.1, 20.0)
"""mm; a voxel outside these is not one of a brain MRI, but most likely given in another unit."""

INTENSITY = (1e-4, 1e12)
"""An image's greatest value by size lies in these, or its scaling is garbled and normalising it would be, too."""

THICK = 3.0
"""mm; the thickest slices that MAGNIMS, CMSC and NAIMS recommend for MS (Wattjes et al. 2021)."""

RANGE_TOLERANCE = 1e-3
"""By how much interpolation may take a label out of [0, 1]."""

AIR = 0.02
"""Voxels up to this share of the image's 99.5th percentile count as air."""

MUCH_IN_AIR = 0.1
MUCH_OF_HEAD = 0.2
"""Shares of lesion in air, and of the head in lesion, from which a label is more likely misplaced or inverted."""

PUBLIC = {
    "air": "has an image of nothing but air",
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


def air_level(image: Array) -> float:
    """The intensity up to which a voxel of an image is air."""
    return AIR * float(np.percentile(image, 99.5))


def grid_findings(shape: tuple[int, ...], affine: Affine, oriented: bool, part: Part) -> Iterator[Finding]:
    """Whether a grid is one 3D volume with a usable way from voxel to mm.

    `oriented` says whether the header gives orientation at all.
    """
    if len(shape) != 3:
        text = f"has shape {_by(shape)}, but must be one 3D volume"
        yield problem("not-3d", part, text, "keep one volume of it, one contrast or time point a file")
    elif min(shape) < 2:
        text = f"has shape {_by(shape)}, a single slice, but must be one 3D volume"
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
        text = f"has voxels of {_by(voxel)} mm, which no brain MRI has"
        yield problem("spacing", part, text, "correct the voxel size in its header; its unit is mm")
    elif part == "image" and voxel.max() > THICK:
        text = f"has slices of {voxel.max():.3g} mm, in which small lesions fade"
        yield warning("thick-slices", part, text, f"prefer images of at most {THICK:g} mm")


def image_findings(image: Array) -> Iterator[Finding]:
    """Whether an image's values can be trained on."""
    if bad := int(np.count_nonzero(~np.isfinite(image))):
        yield problem("not-finite", "image", f"holds NaN or infinity in {bad} voxels", "replace them, by 0 in air")
    elif image.max() <= 0:
        yield problem("air", "image", "holds nothing but air (no value above 0)", "check how it was made")
    elif image.min() == image.max():
        yield problem("constant", "image", f"holds nothing but {image.min():g}", "check how it was made")
    elif not INTENSITY[0] <= float(high := max(image.max(), -image.min())) <= INTENSITY[1]:
        text = f"has values up to {high:.3g}, which no scanner writes"
        yield problem("intensity", "image", text, "correct the scaling in its header (scl_slope), or convert it again")


def head_findings(image: Array, affine: Affine) -> Iterator[Finding]:
    """Whether an image of finite values on a usable grid shows a brain without its skull."""
    if is_whole_head(image, affine):
        text = "shows skull and scalp, where a skull-stripped brain is expected"
        yield warning("whole-head", "image", text, "strip the skull (HD-BET, SynthStrip)")


def contrast_findings(contrast: str, known: Sequence[str]) -> Iterator[Finding]:
    """Whether an image's contrast is one of those that a model learnt from."""
    if contrast not in known:
        shown = "neither FLAIR nor T2w" if contrast == "other" else contrast
        names = " and ".join(known)
        yield warning("contrast", "image", f"is {shown}, and the model knows {names}", f"give it {names} images")


def label_findings(label: Array, allow_empty: bool = False) -> Iterator[Finding]:
    """Whether a label is one of lesions in [0, 1], with lesions in it unless `allow_empty`."""
    if bad := int(np.count_nonzero(~np.isfinite(label))):
        yield problem("not-finite", "label", f"holds NaN or infinity in {bad} voxels", "replace them by 0")
        return
    low, high = float(label.min()), float(label.max())
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        values = np.unique(label)
        mend = "divide it by its maximum" if len(values) <= 2 or high > 100 else "set lesions to 1 and all else to 0"
        text = f"runs from {low:g} to {high:g}, but a lesion label lies in [0, 1]"
        yield problem("out-of-range", "label", text, mend)
    elif high < LESION and not allow_empty:
        yield without_lesion(high)


def without_lesion(high: float) -> Finding:
    """The problem of a label that reaches only `high`, which is below what counts as lesion."""
    why = "it is empty" if high <= RANGE_TOLERANCE else f"it reaches only {high:.2g}, and {LESION:g} is lesion"
    mend = "label it, or allow patients without lesions (--allow-empty; in a run empty-labels = 'keep')"
    return problem("empty", "label", f"marks no lesion ({why})", mend)


def pair_findings(image: Array, affine: Affine, label: Array, label_affine: Affine) -> Iterator[Finding]:
    """Whether image and label, both of finite values, lie on one grid and show one head."""
    mend = "resample the label to the image (nearest neighbour)"
    if label.shape != image.shape:
        text = f"does not lie on its image's grid (shape {_by(label.shape)}, the image's {_by(image.shape)})"
        yield problem("off-grid", "label", text, mend)
        return
    if not np.allclose(label_affine, affine, atol=GRID_TOLERANCE):
        away = _away(image.shape, affine, label_affine)
        text = f"does not lie on its image's grid (off by up to {away:.3g} mm)"
        yield problem("off-grid", "label", text, mend)
        return
    lesion = label >= LESION
    if not lesion.any():
        return
    head = image > air_level(image)
    outside = np.count_nonzero(lesion & ~head) / np.count_nonzero(lesion)
    if outside > MUCH_IN_AIR:
        text = f"has {outside:.0%} of its lesions in air"
        yield warning("lesion-in-air", "label", text, "look at the picture: it may be flipped or another patient's")
    elif head.any() and (share := np.count_nonzero(lesion & head) / np.count_nonzero(head)) > MUCH_OF_HEAD:
        text = f"covers {share:.0%} of the head"
        yield warning("much-lesion", "label", text, "look at the picture: it may be inverted, or not of lesions")


def _away(shape: tuple[int, ...], one: Affine, other: Affine) -> float:
    """The greatest distance between corresponding corners of two grids, in mm."""
    corners = np.stack(np.meshgrid(*[(0, edge - 1) for edge in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    difference = one - other
    return float(np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max())


def _by(numbers: object) -> str:
    return " x ".join(f"{number:.4g}" for number in np.asarray(numbers).ravel()) or "0"

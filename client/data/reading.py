"""Reading an image, alone or with its label, and judging it by all rules at once.

Whoever uses a hospital's data reads them here: `wardround hospital check`, a run, `wardround segment` and
`wardround realism` therefore refuse and warn alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client.data.grids import is_same_grid, turned
from client.data.head import FoundHead, find_head
from client.data.inventory import Case
from client.data.label_rules import choose_value, copy_or, label_findings, pair_findings
from client.data.lesions import LESION
from client.data.nifti import Nifti, read_nifti
from client.data.rules import (
    Examined,
    Finding,
    Part,
    grid_findings,
    head_findings,
    image_findings,
    refusal,
    unexpected,
    warning,
)

NAMED = 3
"""Images that a line of warnings names."""


@dataclass(frozen=True, eq=False)
class Reading(Examined):
    """What was read and what was found; no problem means that it can be used."""

    image_path: Path
    label_path: Path | None
    image: Nifti | None = None
    """None where it could not be read."""
    head: FoundHead | None = None
    """Where the head is in the image; None where that cannot be used."""
    label: Nifti | None = None
    """In [0, 1] and on the image's grid where it can be used; None where it could not be read, or was not asked for."""
    trusted: bool = False
    """Whether the label can be laid over the image: nothing is wrong but that it may mark no lesion."""
    empty: Finding | None = None
    """Why the label marks no lesion, also where such labels are let in."""
    findings: tuple[Finding, ...] = ()
    """Problems before warnings, and those of the image before those of the label."""

    def usable_image(self) -> Nifti:
        """The image. Raises `DataError`, by the first problem, where it cannot be used."""
        for finding in self.problems:
            raise refusal((self.label_path or self.image_path) if finding.part == "label" else self.image_path, finding)
        if self.image is None:
            raise ValueError("an image that was not read has no problem")
        return self.image

    def usable_head(self) -> FoundHead:
        """The image as its head was found in it. Raises `DataError`, by the first problem, where it cannot be used."""
        self.usable_image()
        if self.head is None:
            raise ValueError("an image that was not read has no problem")
        return self.head

    def usable_pair(self) -> tuple[Nifti, Nifti]:
        """Image and label. Raises `DataError`, by the first problem, where one cannot be used."""
        image = self.usable_image()
        if self.label is None:
            raise ValueError("a label that was not read has no problem")
        return image, self.label


def read_image(path: Path) -> Reading:
    """Read an image that has no label. Raises nothing for any file."""
    return _guarded(path, None, False)


def read_case(case: Case, allow_empty: bool = False) -> Reading:
    """Read an image and its label; `allow_empty` lets in labels without lesion. Raises nothing for any file."""
    return _guarded(case.image, case, allow_empty)


def _guarded(path: Path, case: Case | None, allow_empty: bool) -> Reading:
    try:
        reading = _read_image(path)
        read = reading if case is None else _with_label(reading, case, allow_empty)
        return replace(read, findings=tuple(sorted(read.findings, key=lambda finding: not finding.problem)))
    except Exception as error:
        # One patient must not stop the others, whatever the files do.
        return Reading(path, None if case is None else case.label, findings=(unexpected(error),))


def _read_image(path: Path) -> Reading:
    findings: list[Finding] = []
    image = _file(path, "image", findings)
    if image is None:
        return Reading(path, None, findings=tuple(findings))
    findings += grid_findings(image.array.shape, image.affine, image.oriented, "image")
    findings += image_findings(image.array)
    if any(finding.problem for finding in findings):
        return Reading(path, None, image, findings=tuple(findings))
    head = find_head(image.array)
    findings += head_findings(head, image.affine)
    return Reading(path, None, image, head, findings=tuple(findings))


def _with_label(reading: Reading, case: Case, allow_empty: bool) -> Reading:
    """The reading of an image, together with its label."""
    image, head, found = reading.image, reading.head, [*reading.findings]
    own: list[Finding] = []
    label = _file(case.label, "label", own)
    if label is None:
        return replace(reading, label_path=case.label, findings=(*found, *own))
    of_grid = [*grid_findings(label.array.shape, label.affine, label.oriented, "label")]
    if case.lesion_value is None:
        of_values = [*label_findings(label.array, affine=label.affine)]
    else:
        array, of_values = choose_value(label.array, case.lesion_value, label.affine)
        label = replace(label, array=array)
    empty = next((finding for finding in of_values if finding.code == "empty"), None)
    own += of_values
    if image is not None and head is not None:
        if of_grid and label.array.shape == image.array.shape:
            mend = copy_or("export it again with its header", head, image.affine, label.array >= LESION)
            of_grid = [replace(finding, mend=mend) for finding in of_grid]
        elif not of_grid and label.array.ndim == 3 and all(one is empty or not one.problem for one in of_values):
            label, of_pair = _on_grid(label, image, head)
            own += of_pair
    own = [*of_grid, *own]
    trusted = head is not None and all(one is empty or not one.problem for one in own)
    if trusted and image is not None:
        label = replace(label, affine=image.affine)
    kept = [one for one in own if not (allow_empty and one is empty)]
    return Reading(reading.image_path, case.label, image, head, label, trusted, empty, (*found, *kept))


def _on_grid(label: Nifti, image: Nifti, head: FoundHead) -> tuple[Nifti, list[Finding]]:
    """The label in its image's form, where it is only stored otherwise, and what is wrong with the pair."""
    shape, findings = image.array.shape, []
    if label.array.shape != shape or not is_same_grid(shape, image.affine, label.affine):
        there = turned(label.array, label.affine, shape, image.affine)
        if there is not None:
            text = "is stored with other axes than its image, and was turned to it by the headers"
            mend = "look at the picture, left and right above all: nothing is to do where lesions are in their place"
            findings.append(warning("reoriented", "label", text, mend))
            label = replace(label, array=there, affine=image.affine)
    findings += pair_findings(head, image.affine, label.array, label.affine)
    return label, findings


def _file(path: Path, part: Part, findings: list[Finding]) -> Nifti | None:
    read = read_nifti(path, part)
    if isinstance(read, Finding):
        findings.append(read)
        return None
    return read


def warning_lines(found: Sequence[tuple[Case, Sequence[Finding]]]) -> list[str]:
    """The warnings of many images in a line a kind, which names some of the images and counts the others."""
    kinds: dict[str, list[tuple[Case, Finding]]] = {}
    for case, findings in found:
        for finding in findings:
            kinds.setdefault(finding.code, []).append((case, finding))
    lines = []
    for warned in kinds.values():
        names = ", ".join(f"{case.subject} {case.contrast}" for case, _ in warned[:NAMED])
        more = f" and {len(warned) - NAMED} more" if len(warned) > NAMED else ""
        lines.append(f"warning: {warned[0][1]} ({names}{more})")
    return lines

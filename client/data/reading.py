"""Reading an image, alone or with its label, and judging it by all rules at once.

Whoever uses a hospital's data reads them here: `wardround hospital check`, a run, `wardround segment` and
`wardround realism` therefore refuse and warn alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.data.inventory import Case
from client.data.nifti import Nifti, read_nifti
from client.data.rules import (
    Examined,
    Finding,
    Part,
    grid_findings,
    head_findings,
    image_findings,
    label_findings,
    pair_findings,
    refusal,
    unexpected,
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
    label: Nifti | None = None
    """None where it could not be read, or was not asked for."""
    trusted: bool = False
    """Whether the label can be laid over the image: nothing is wrong but that it may mark no lesion."""
    findings: tuple[Finding, ...] = ()
    """Problems before warnings, and those of the image before those of the label."""

    def usable_image(self) -> Nifti:
        """The image. Raises `DataError`, by the first problem, where it cannot be used."""
        for finding in self.problems:
            raise refusal((self.label_path or self.image_path) if finding.part == "label" else self.image_path, finding)
        if self.image is None:
            raise ValueError("an image that was not read has no problem")
        return self.image

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
    return _guarded(case.image, case.label, allow_empty)


def _guarded(image: Path, label: Path | None, allow_empty: bool) -> Reading:
    try:
        return _read(image, label, allow_empty)
    except Exception as error:
        # One patient must not stop the others, whatever the files do.
        return Reading(image, label, findings=(unexpected(error),))


def _read(image_path: Path, label_path: Path | None, allow_empty: bool) -> Reading:
    findings: list[Finding] = []
    image = _file(image_path, "image", findings)
    if image is not None:
        findings += grid_findings(image.array.shape, image.affine, image.oriented, "image")
        findings += image_findings(image.array)
    image_good = not any(finding.problem for finding in findings)
    label, trusted = None, False
    if label_path is not None:
        own: list[Finding] = []
        label = _file(label_path, "label", own)
        if label is not None:
            own += grid_findings(label.array.shape, label.affine, label.oriented, "label")
            own += label_findings(label.array, allow_empty)
            trusted = image_good and not any(finding.problem and finding.code != "empty" for finding in own)
            if image is not None and trusted:
                pair = [*pair_findings(image.array, image.affine, label.array, label.affine)]
                trusted = not any(finding.problem for finding in pair)
                own += pair
        findings += own
    if image is not None and image_good:
        findings += head_findings(image.array, image.affine)
    ordered = tuple(sorted(findings, key=lambda finding: not finding.problem))
    return Reading(image_path, label_path, image, label, trusted, ordered)


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

"""Checking a hospital's whole data folder: all cases, duplicates among them, a summary and a verdict."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any

from client.data.duplicates import duplicate, twins
from client.data.inventory import Inventory, Remark
from client.data.rules import Finding, problem, warning
from client.data.split import LEAST_SUBJECTS
from client.data.subjects import Doubt
from client.qc.case_check import CaseCheck, check_case
from shared.text import counted

DOUBTFUL = "doubtful-subject"
"""Code of the warning of an image whose subject's name may mean another patient."""

MOST_KINDS = 4
"""So many different values of one kind are listed in the summary."""

AfterEach = Callable[[int, int, CaseCheck], None]
"""Called after each case with how many are done, how many there are, and what was found."""


class DatasetVerdict(StrEnum):
    """How a data folder is."""

    good = "good"
    some = "some set aside"
    none = "none usable"


@dataclass(frozen=True, eq=False)
class DatasetCheck:
    """What the check of a data folder found."""

    folder: Path
    layout: str
    contrasts: tuple[str, ...]
    checked: tuple[CaseCheck, ...]
    """Every image of the wanted contrasts, and every subject that should have one; in order of subject."""
    passed_over: tuple[Remark, ...]
    """What was passed over as it should be, and what a subject can do without."""
    doubts: tuple[Doubt, ...] = ()
    """Subjects whose names may mean another patient."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was passed over, in a line each."""
        return tuple(f"{remark.subject}: {remark.text}" for remark in self.passed_over)

    def files(self) -> list[tuple[str, str, str]]:
        """Subject, image and label of each image, as paths in the data folder."""
        return [
            (one.subject, self.path(one.image), "" if _without_label(one) else self.path(one.label))
            for one in self.checked
            if one.image is not None
        ]

    def path(self, file: Path | None) -> str:
        """A file's path in the data folder; empty for none."""
        root = self.folder if self.folder.is_dir() else self.folder.parent
        return "" if file is None else str(file.relative_to(root)) if file.is_relative_to(root) else str(file)

    @property
    def verdict(self) -> DatasetVerdict:
        """`good` only where nothing was set aside."""
        good = sum(checked.ok for checked in self.checked)
        return (
            DatasetVerdict.none
            if not good
            else DatasetVerdict.good
            if good == len(self.checked)
            else DatasetVerdict.some
        )

    @property
    def set_aside(self) -> tuple[CaseCheck, ...]:
        """What cannot be used."""
        return tuple(checked for checked in self.checked if not checked.ok)

    @property
    def warned(self) -> int:
        """Images that can be used but should be looked at."""
        return sum(bool(checked.warnings) for checked in self.checked if checked.ok)

    @property
    def good_subjects(self) -> int:
        """Subjects of whom at least one image can be used."""
        return len({checked.subject for checked in self.checked if checked.ok})

    def conclusion(self) -> str:
        """The verdict in a sentence."""
        images, usable = len(self.checked), len(self.checked) - len(self.set_aside)
        whose = f"of {counted(self.good_subjects, 'subject')}"
        lines = {
            DatasetVerdict.good: f"all {counted(images, 'image')} {whose} can be used",
            DatasetVerdict.some: f"{usable} of {counted(images, 'image')} can be used, {whose}; "
            f"{len(self.set_aside)} set aside until mended",
            DatasetVerdict.none: f"none of {counted(images, 'image')} can be used",
        }
        sentence = lines[self.verdict]
        if self.warned:
            sentence += f"; {self.warned} with a warning"
        if 0 < self.good_subjects < LEAST_SUBJECTS:
            sentence += f"; a center needs {LEAST_SUBJECTS} subjects, one to train on and one to test on"
        return sentence

    def summary(self) -> list[tuple[str, str]]:
        """What the images that could be read are like, as rows of a name and a text."""
        measured = [checked.measured for checked in self.checked if checked.measured is not None]
        load = [one.lesion_ml for one in measured if one.lesion_ml is not None]
        count = [one.lesion_count for one in measured if one.lesion_count is not None]
        rows = [
            ("layout", self.layout),
            ("subjects", str(len({checked.subject for checked in self.checked}))),
            ("images", _counted(checked.contrast or "missing" for checked in self.checked)),
            ("voxel size", _counted(" x ".join(f"{edge:.3g}" for edge in one.spacing) + " mm" for one in measured)),
            ("shape", _counted(" x ".join(map(str, one.shape)) for one in measured)),
            ("orientation", _counted(one.orientation or "not told" for one in measured)),
            ("lesion volume", _spread(load, "ml")),
            ("lesion count", _spread(count, "")),
        ]
        for contrast in sorted({checked.contrast for checked in self.checked if checked.measured}):
            ranges = [one.measured.intensity for one in self.checked if one.measured and one.contrast == contrast]
            low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
            rows.append((f"intensity, {contrast}", f"{number(low)} to {number(high)}"))
        return [(name, text) for name, text in rows if text]

    def to_json(self) -> dict[str, Any]:
        """What scripts read; it names subjects and files and stays in the hospital."""
        return {
            "folder": str(self.folder),
            "layout": self.layout,
            "contrasts": list(self.contrasts),
            "verdict": self.verdict.value,
            "conclusion": self.conclusion(),
            "summary": dict(self.summary()),
            "notes": list(self.notes),
            "passed_over": [_passed_over(remark) for remark in self.passed_over],
            "doubts": [{"subject": doubt.subject, "code": DOUBTFUL, "text": doubt.text} for doubt in self.doubts],
            "subjects": [_entry(checked) for checked in self.checked],
        }


def check_inventory(inventory: Inventory, allow_empty: bool = False, progress: AfterEach | None = None) -> DatasetCheck:
    """Check all cases of an inventory, one after the other; `progress(done, total, checked)` follows each.

    Raises nothing for any file.
    """
    checked: list[CaseCheck] = []
    for case in inventory.cases:
        checked.append(check_case(case, allow_empty))
        if progress is not None:
            progress(len(checked), len(inventory.cases), checked[-1])
    used = {case.subject for case in inventory.cases}
    passed_over = []
    said: dict[Path | str, list[Finding]] = {}
    for doubt in inventory.doubts:
        said.setdefault(doubt.subject, []).append(_warning(DOUBTFUL, doubt.text))
    for remark in inventory.remarks:
        # A subject can do without an image that was never labelled, but not without a file that was meant to be used.
        if remark.problem and (remark.subject not in used or remark.code != "missing" or remark.label is not None):
            checked.append(_missing(remark))
        elif remark.code == "mixed-labels" and remark.image is not None:
            said.setdefault(remark.image, []).append(_warning(remark.code, remark.text))
        else:
            passed_over.append(remark)
    found = sorted(_with_duplicates(checked), key=lambda one: (one.subject, one.contrast, str(one.image)))
    return DatasetCheck(
        *(inventory.folder, inventory.layout, inventory.contrasts),
        checked=tuple(_with(one, [*said.get(one.image or "", []), *said.get(one.subject, [])]) for one in found),
        passed_over=tuple(passed_over),
        doubts=inventory.doubts,
    )


def number(value: float) -> str:
    """An intensity as a person writes it."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _without_label(checked: CaseCheck) -> bool:
    """Whether its label is one that was only nearly taken."""
    return any(finding.part == "subject" for finding in checked.problems)


def _missing(remark: Remark) -> CaseCheck:
    text, _, mend = remark.text.partition(": ")
    finding = problem(remark.code, "subject", text, mend)
    return CaseCheck(remark.subject, remark.contrast, remark.image, (finding,), remark.label)


def _warning(code: str, said: str) -> Finding:
    text, _, mend = said.partition(": ")
    return warning(code, "subject", text, mend)


def _with(checked: CaseCheck, more: Sequence[Finding]) -> CaseCheck:
    return replace(checked, findings=(*checked.findings, *more)) if more else checked


def _passed_over(remark: Remark) -> dict[str, Any]:
    return {
        "subject": remark.subject,
        "contrast": remark.contrast,
        "image": remark.image and str(remark.image),
        "label": remark.label and str(remark.label),
        "code": remark.code,
        "text": remark.text,
    }


def _with_duplicates(checked: Sequence[CaseCheck]) -> list[CaseCheck]:
    """The same, with a finding for each image that is there more than once."""
    marked = []
    for one, places in zip(checked, twins([one.fingerprint for one in checked]), strict=True):
        others = [checked[place] for place in places]
        if strangers := {other.subject for other in others} - {one.subject}:
            one = replace(one, findings=(duplicate(strangers), *one.findings))
        elif others:
            names = ", ".join(sorted(other.image.name for other in others if other.image))
            finding = warning("repeated", "image", f"is the same as {names}", "keep one, or copy the right one there")
            one = replace(one, findings=(*one.findings, finding))
        marked.append(one)
    return marked


def _entry(checked: CaseCheck) -> dict[str, Any]:
    measured = checked.measured
    return {
        "subject": checked.subject,
        "contrast": checked.contrast,
        "image": checked.image and str(checked.image),
        "label": checked.label and str(checked.label),
        "ok": checked.ok,
        "problems": [str(finding) for finding in checked.problems],
        "warnings": [str(finding) for finding in checked.warnings],
        "codes": [finding.code for finding in checked.findings],
        "lesion_ml": measured and measured.lesion_ml,
        "lesion_count": measured and measured.lesion_count,
        "spacing": measured and list(measured.spacing),
        "shape": measured and list(measured.shape),
        "orientation": measured and measured.orientation,
        "intensity": measured and list(measured.intensity),
    }


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    shown = [f"{value} ({count})" for value, count in counts.most_common(MOST_KINDS)]
    if len(counts) > MOST_KINDS:
        shown.append(f"{len(counts) - MOST_KINDS} others")
    return ", ".join(shown)


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    low, middle, high = (f"{value:.3g}" for value in (min(values), median(values), max(values)))
    return f"{low} to {high} {unit}".rstrip() + f", median {middle}"

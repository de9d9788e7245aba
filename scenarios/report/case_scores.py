"""What the runs' own results say beyond R: each test case's scores, and what went otherwise than planned."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scenarios.results.study import RunEntry, Study
from shared.errors import DamagedError, ResultsError
from shared.files import read_document
from shared.methods import spec_of
from shared.paths import LAUNCH
from shared.result_notes import collapsed_lines, not_learnt_lines, passed_over_lines
from shared.results import RunResults, read_results
from shared.text import counted

SCORES = {
    "dice": "Dice",
    "soft_dice": "Soft Dice",
    "precision": "Precision",
    "recall": "Recall",
    "lesion_f1": "Lesion F1",
    "lesion_sensitivity": "Lesion sensitivity",
    "lesion_precision": "Lesion precision",
    "volume_difference_ml": "Volume difference, ml",
    "hd95_mm": "HD95, mm",
}
"""The scores that a report knows how to name; others that a run has come under their own names."""


@dataclass(frozen=True)
class CaseScores:
    """One test image and the scores of the model that its center ends with."""

    method: str
    order_name: str
    seed: int
    center: str
    subject: str
    contrast: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Details:
    """Of all runs of a study whose results can be read."""

    cases: tuple[CaseScores, ...]
    notes: tuple[str, ...]
    """Sentences on what went otherwise than planned."""
    simulated: bool | None
    """Whether all runs were over simulated hospitals; None where that is not known."""


def read_details(study: Study, folder: Path) -> Details:
    """Read `results.json` of every run that has a folder; what cannot be read becomes a note."""
    cases: list[CaseScores] = []
    notes: list[str] = []
    simulated: set[bool | None] = set()
    for run in study.runs:
        if not run.folder:
            continue
        try:
            results = read_results(folder / run.folder)
        except ResultsError as error:
            notes.append(str(error))
            continue
        cases += _cases(run, results)
        simulated.add(_simulated(folder / run.folder, results))
        notes += [f"{label(run)}: {note}" for note in _notes(results)]
    return Details(tuple(cases), tuple(dict.fromkeys(notes)), simulated.pop() if len(simulated) == 1 else None)


def _simulated(folder: Path, results: RunResults) -> bool | None:
    if results.settings.get("data-dir") != "":
        return False
    try:
        return read_document(folder / LAUNCH)["superlink"] is None
    except (OSError, DamagedError, KeyError, TypeError):
        return None  # started by Flower's own command


def label(run: RunEntry) -> str:
    """A run's name in a sentence."""
    return " ".join(part for part in (run.method, run.order_name, f"seed {run.seed}") if part)


def _cases(run: RunEntry, results: RunResults) -> Iterator[CaseScores]:
    alone = spec_of(run.method).fresh
    for image in results.test_scores if alone else results.final_images:
        if image.center not in run.order:  # an evaluator's: no center that the models learnt
            continue
        # A single-domain model counts at its own center alone.
        if alone and image.stage != run.order.index(image.center):
            continue
        yield CaseScores(
            run.method,
            run.order_name,
            run.seed,
            image.center,
            image.subject,
            image.contrast,
            image.scores,
        )


def _notes(results: RunResults) -> Iterator[str]:
    yield from not_learnt_lines(results)
    yield from collapsed_lines(results)
    for cell in results.missing:
        yield f"{cell.center} was not tested after stage {cell.stage + 1}: it {cell.reason}"
    yield from passed_over_lines(results.passed_over)
    for stage in results.stages:
        for reason, number in stage.set_aside.items():
            each = "it" if number == 1 else "each"
            yield f"{counted(number, 'subject')} set aside at {stage.center}: {each} {reason}"
    tested: dict[tuple[str, str], int] = {}
    for stage in results.stages:
        for center, reasons in stage.test_set_aside.items():
            for reason, number in reasons.items():
                tested[center, reason] = max(number, tested.get((center, reason), 0))
    for (center, reason), number in sorted(tested.items()):
        each = "it" if number == 1 else "each"
        yield f"{counted(number, 'test subject')} set aside at {center}: {each} {reason}"
    for center, number in results.withdrawn.items():
        yield f"{center} withdrew subjects after their exemplars had left: {number}"
    for stopped in results.history.interruptions:
        yield f"interrupted at {stopped.at} and resumed"
    yield from results.notes

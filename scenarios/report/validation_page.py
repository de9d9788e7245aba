"""An external validation as one HTML page that needs no other file, with the worst slices of its worst images."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from markupsafe import Markup

from scenarios.inference.bootstrap import CONFIDENCE, LEAST, Estimate
from scenarios.inference.external_validation import ExternalValidation, ScoredCase
from scenarios.inference.validation_groups import Group, groups_of, notes
from scenarios.report.error_slices import COLORS, draw_errors, words_of
from scenarios.report.figures import to_svg
from scenarios.report.html_parts import both_themes, raster, render_page
from scenarios.report.validation_tables import draw_loads, lesions_table, scores_table
from shared.errors import ResultsError
from shared.files import write_whole
from shared.text import counted

WORST = 3
"""Images of each hospital and contrast whose slices are shown, those of least Dice first."""

LEGEND = dict(zip(COLORS.values(), ("hit", "missed", "false"), strict=True))
"""What each colour of a slice means."""


@dataclass(frozen=True)
class Shown:
    """An image with its worst slices."""

    title: str
    scores: str
    picture: Markup | None
    """None where no voxel is missed or false."""


def write_validation(found: ExternalValidation, model: str, page: Path, when: datetime) -> None:
    """Write the page of what is called `model`, for its owner's eyes alone.

    Raises `ResultsError` where it cannot be written.
    """
    averaged = found.averaged
    groups = groups_of(averaged)
    pictures = [draw_loads(averaged)] if averaged else []
    text = render_page(
        "validation.html",
        model=model,
        when=f"{when:%Y-%m-%d %H:%M}",
        hospitals=found.hospitals,
        headline=headline(groups),
        sentences=sentences(groups),
        tables=[scores_table(groups), lesions_table(groups)] if groups else [],
        pictures=pictures,
        drawn={one.name: both_themes(one, to_svg(one.figure, one.name)) for one in pictures},
        legend=LEGEND,
        worst=[_shown(one) for one in worst_of(averaged)],
        worst_of_each=WORST,
        empty=[(_title(one), f"{one.counts.found_ml:.2f} ml", one.counts.false) for one in found.empty],
        warnings=notes(found.scored),
        skipped=found.skipped,
    )
    try:
        write_whole(page, text.encode(), private=True)
    except OSError as error:
        raise ResultsError(f"{page} cannot be written ({error.strerror or error}): give another --html") from None


def headline(groups: Sequence[Group]) -> str:
    """The result in a sentence, that of the last group, which is all images."""
    if not groups:
        return "No image has a lesion, so that there is no mean."
    one = groups[-1]
    over = f"{counted(one.images, 'image')} of {counted(one.patients, 'patient')}"
    return f"Mean Dice {one.dice.mean:.3f} over {over}{_interval(one.dice)}."


def _interval(one: Estimate) -> str:
    if one.interval is None:
        return ""
    return f" ({CONFIDENCE:.0%} interval {one.interval[0]:.3f} to {one.interval[1]:.3f})"


def sentences(groups: Sequence[Group]) -> list[str]:
    """What the headline leaves open: what is missed and what is false, and why there is no interval."""
    if not groups:
        return []
    one, counts = groups[-1], groups[-1].counts
    said = [
        f"On average {one.scores['recall'].mean:.0%} of an image's labelled voxels are found (recall), and "
        f"{one.scores['precision'].mean:.0%} of the found voxels are labelled (precision). Of "
        f"{counted(counts.lesions, 'labelled lesion')} {counts.missed} are missed; {counts.false} of the "
        f"{counts.segmented} found are false. {counts.labelled_ml:.1f} ml are labelled, {counts.found_ml:.1f} ml found."
    ]
    if one.dice.interval is None:
        said.append(f"There is no interval: fewer than {LEAST} patients, or patients who are all alike, give none.")
    return said


def worst_of(cases: Sequence[ScoredCase]) -> list[ScoredCase]:
    """The images of least Dice of each hospital and contrast, at most `WORST`, the least first."""
    kinds: dict[tuple[str, str], list[ScoredCase]] = {}
    for one in sorted(cases, key=lambda one: one.scores.dice):
        kinds.setdefault((one.hospital, one.contrast), []).append(one)
    return sorted((one for own in kinds.values() for one in own[:WORST]), key=lambda one: one.scores.dice)


def _title(one: ScoredCase) -> str:
    return f"{one.hospital} · {one.id} · {one.contrast}"


def _shown(one: ScoredCase) -> Shown:
    scores, counts = one.scores, one.counts
    said = (
        f"Dice {scores.dice:.3f}, recall {scores.recall:.3f}, precision {scores.precision:.3f}; "
        f"{counts.labelled_ml:.2f} ml labelled, {counts.found_ml:.2f} ml found; of {counted(counts.lesions, 'lesion')} "
        f"{counts.missed} missed; {counts.false} false"
    )
    if one.worst is None or not one.worst.slices:
        return Shown(_title(one), said, None)
    alternative = f"Slices of {_title(one)}, from below. " + ". ".join(words_of(part) for part in one.worst.slices)
    return Shown(_title(one), said, raster(draw_errors(one.worst), f"{alternative}."))

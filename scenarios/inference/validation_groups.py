"""The images of an external validation by hospital and contrast: means with intervals, and what was missed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from client.data.filenames import CONTRASTS
from scenarios.inference.bootstrap import CONFIDENCE, LEAST, RESAMPLES, SEED, Estimate, estimate
from scenarios.inference.external_validation import ExternalValidation, ScoredCase
from scenarios.inference.lesion_counts import SIZES, LesionCounts, total

ALL = "all"
"""Stands for all hospitals, or all contrasts."""

SCORES: dict[str, Callable[[ScoredCase], float]] = {
    "dice": lambda one: one.scores.dice,
    "lesion_f1": lambda one: one.scores.lesion_f1,
    "recall": lambda one: one.scores.recall,
    "precision": lambda one: one.scores.precision,
}
"""The scores whose means are told: Dice, F1 of lesions, and the share of lesion voxels that is found (recall) and of
found voxels that is lesion (precision)."""

NO_INTERVAL = f"no interval: fewer than {LEAST} patients, or all alike"


@dataclass(frozen=True)
class Group:
    """Images of one hospital and contrast, or of several."""

    hospital: str
    contrast: str
    images: int
    patients: int
    scores: dict[str, Estimate]
    """By the names of `SCORES`."""
    counts: LesionCounts

    @property
    def dice(self) -> Estimate:
        """Mean Dice."""
        return self.scores["dice"]

    def to_json(self) -> dict[str, Any]:
        """As `--json` writes it."""
        return {
            "hospital": self.hospital,
            "contrast": self.contrast,
            "images": self.images,
            "patients": self.patients,
            **{name: {"mean": one.mean, "interval": one.interval} for name, one in self.scores.items()},
            **counts_json(self.counts),
        }


def groups_of(cases: Sequence[ScoredCase]) -> tuple[Group, ...]:
    """Each hospital's images of each contrast, then all hospitals' of each, then all; no group twice over.

    `cases` have a lesion each.
    """
    hospitals = tuple(dict.fromkeys(one.hospital for one in cases))
    contrasts = tuple(c for c in CONTRASTS if any(one.contrast == c for one in cases))
    return tuple(_groups(cases, hospitals, contrasts))


def _groups(cases: Sequence[ScoredCase], hospitals: Sequence[str], contrasts: Sequence[str]) -> Iterator[Group]:
    for hospital in hospitals:
        for contrast in contrasts:
            if own := [one for one in cases if (one.hospital, one.contrast) == (hospital, contrast)]:
                yield _group(hospital, contrast, own)
    if len(hospitals) > 1:
        for contrast in contrasts:
            yield _group(ALL, contrast, [one for one in cases if one.contrast == contrast])
    if len(contrasts) > 1:
        yield _group(ALL if len(hospitals) > 1 else hospitals[0], ALL, cases)


def _group(hospital: str, contrast: str, cases: Sequence[ScoredCase]) -> Group:
    return Group(
        hospital=hospital,
        contrast=contrast,
        images=len(cases),
        patients=len({one.patient for one in cases}),
        scores={name: estimate((one.patient, of(one)) for one in cases) for name, of in SCORES.items()},
        counts=total(one.counts for one in cases),
    )


def counts_json(counts: LesionCounts) -> dict[str, Any]:
    """Volumes and lesions, as `--json` writes them."""
    return {
        "labelled_ml": counts.labelled_ml,
        "found_ml": counts.found_ml,
        "lesions": counts.lesions,
        "missed_lesions": counts.missed,
        "false_lesions": counts.false,
        "lesions_by_size": {
            name: {"labelled": labelled, "found": hit}
            for name, labelled, hit in zip(SIZES, counts.labelled, counts.hit, strict=True)
        },
    }


def to_json(found: ExternalValidation) -> dict[str, Any]:
    """What `--json` writes; an interval of null could not be given."""
    averaged = found.averaged
    dice = estimate((one.patient, one.scores.dice) for one in averaged).mean if averaged else None
    return {
        "cases": [_case_json(one) for one in averaged],
        "without_lesion": [
            {
                "id": one.id,
                "hospital": one.hospital,
                "contrast": one.contrast,
                "found_ml": one.counts.found_ml,
                "false_lesions": one.counts.false,
            }
            for one in found.empty
        ],
        "mean_dice": dice,
        "groups": [group.to_json() for group in groups_of(averaged)],
        "bootstrap": {"over": "patients", "confidence": CONFIDENCE, "resamples": RESAMPLES, "seed": SEED},
        "skipped": list(found.skipped),
    }


def _case_json(one: ScoredCase) -> dict[str, Any]:
    return {
        "id": one.id,
        "hospital": one.hospital,
        "subject": one.subject,
        "contrast": one.contrast,
        **{name: of(one) for name, of in SCORES.items()},
        **counts_json(one.counts),
    }


WIDTH = 24
"""Of a table's first column; a longer name moves what follows."""

HEADING = f"{'case':<{WIDTH}}  contrast   Dice  lesion F1  recall  precision  labelled     found"


def line_of(one: ScoredCase) -> str:
    """One image's line below `HEADING`."""
    if one.empty:
        found = f"{one.counts.found_ml:.2f} ml found" if one.scores.dice < 1 else "nothing found"
        return f"{one.id:<{WIDTH}}  {one.contrast:<8}  no lesion labelled, {found}: not in the means"
    scores, counts = one.scores, one.counts
    return (
        f"{one.id:<{WIDTH}}  {one.contrast:<8}  {scores.dice:.3f}      {scores.lesion_f1:.3f}   {scores.recall:.3f}"
        f"      {scores.precision:.3f}  {counts.labelled_ml:>5.1f} ml  {counts.found_ml:>5.1f} ml"
    )


def tables_of(groups: Sequence[Group]) -> list[str]:
    """The groups in two tables of plain text: scores, and lesions."""
    if not groups:
        return ["no image has a lesion, so that there are no means"]
    width = max(len("hospital"), *(len(one.hospital) for one in groups))

    def line(hospital: str, contrast: str, *cells: str) -> str:
        return "  ".join([f"{hospital:<{width}}", f"{contrast:<8}", *cells])

    sizes = [f"{f'found {name}':>18}" for name in SIZES]
    scores = line("hospital", "contrast", "patients", "images", f"{'Dice':<23}", f"{'lesion F1':<23}", "recall")
    return [
        f"{scores}  precision",
        *(
            line(
                *(one.hospital, one.contrast, f"{one.patients:>8}", f"{one.images:>6}"),
                *(f"{said(one.scores[name]):<23}" for name in ("dice", "lesion_f1")),
                *(f"{one.scores[name].mean:>{width}.3f}" for name, width in (("recall", 6), ("precision", 9))),
            )
            for one in groups
        ),
        "",
        line("hospital", "contrast", " labelled", "    found", "lesions", "missed", "false", *sizes),
        *(
            line(
                *(one.hospital, one.contrast, f"{one.counts.labelled_ml:>6.1f} ml", f"{one.counts.found_ml:>6.1f} ml"),
                *(f"{one.counts.lesions:>7}", f"{one.counts.missed:>6}", f"{one.counts.false:>5}"),
                *(f"{part:>18}" for part in found_by_size(one.counts)),
            )
            for one in groups
        ),
    ]


def said(one: Estimate) -> str:
    """A mean with its interval, such as `0.443 (0.210 to 0.611)`."""
    if one.interval is None:
        return f"{one.mean:.3f} (no interval)"
    return f"{one.mean:.3f} ({one.interval[0]:.3f} to {one.interval[1]:.3f})"


def found_by_size(counts: LesionCounts) -> list[str]:
    """How many lesions of each size were found, such as `3 of 12`."""
    return [f"{hit} of {lesions}" for hit, lesions in zip(counts.hit, counts.labelled, strict=True)]


def footnotes(groups: Sequence[Group]) -> list[str]:
    """What the tables' intervals are."""
    if not groups:
        return []
    notes = [f"in parentheses: {CONFIDENCE:.0%} interval of the mean by the bootstrap over patients (seed {SEED})"]
    if any(one.dice.interval is None for one in groups):
        notes.append(NO_INTERVAL)
    return notes


def notes(scored: Sequence[ScoredCase]) -> list[str]:
    """The warnings, each with its image."""
    return [f"{one.id} {one.contrast}: {text}" for one in scored for text in one.warnings]

"""An external validation as tables and a figure of a page."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from client.data.filenames import CONTRASTS
from scenarios.inference.bootstrap import CONFIDENCE, LEAST, RESAMPLES, SEED, Estimate
from scenarios.inference.external_validation import ScoredCase
from scenarios.inference.lesion_counts import SIZES
from scenarios.inference.validation_groups import ALL, SCORES, Group, found_by_size, said
from scenarios.report.figures import Picture, grid
from scenarios.report.style import PALETTE, Theme
from scenarios.report.table import MISSING, Table, score

TITLES = {"dice": "Dice", "lesion_f1": "Lesion F1", "recall": "Recall", "precision": "Precision"}

LINEAR = 0.1
"""ml; below it axes of volume are linear, so that nothing (0 ml) has a place."""

LEAST_SHOWN = -0.02
"""ml, where axes begin, so that points at 0 are seen whole."""

MARKERS = dict(zip(CONTRASTS, "o^", strict=True))


def scores_table(groups: Sequence[Group]) -> Table:
    """Means with their intervals."""
    return Table(
        name="scores",
        title="Mean scores by hospital and contrast",
        caption=f"Over images with a lesion; in parentheses the {CONFIDENCE:.0%} interval of the mean, by bootstrap "
        f"over patients: a patient's images are drawn together ({RESAMPLES:,} draws, seed {SEED}). {MISSING} in its "
        f"place: fewer than {LEAST} patients, or all alike, give none; below twenty or so patients it is too narrow. "
        "Recall: the share of labelled voxels that is found. Precision: the share of found voxels that is labelled.",
        columns=("Hospital", "Contrast", "Patients", "Images", *(TITLES[name] for name in SCORES)),
        rows=tuple(
            (one.hospital, one.contrast, str(one.patients), str(one.images), *(_cell(one.scores[n]) for n in SCORES))
            for one in groups
        ),
        wordy=frozenset({0, 1}),
        strong=_strong(groups),
    )


def lesions_table(groups: Sequence[Group]) -> Table:
    """Volumes and lesions, found, missed and false."""
    return Table(
        name="lesions",
        title="Lesions found, missed and false",
        caption="Totals over images with a lesion. A lesion is found where one of its voxels is, and false where none "
        "of its voxels is labelled. The last columns: how many of the labelled lesions of each size are found.",
        columns=(
            "Hospital",
            "Contrast",
            "Labelled, ml",
            "Found, ml",
            "Lesions",
            "Missed",
            "False",
            *(f"Found, {n}" for n in SIZES),
        ),
        rows=tuple(
            (
                *(one.hospital, one.contrast, f"{one.counts.labelled_ml:.1f}", f"{one.counts.found_ml:.1f}"),
                *(str(number) for number in (one.counts.lesions, one.counts.missed, one.counts.false)),
                *found_by_size(one.counts),
            )
            for one in groups
        ),
        wordy=frozenset({0, 1}),
        strong=_strong(groups),
    )


def _strong(groups: Sequence[Group]) -> frozenset[int]:
    return frozenset(i for i, one in enumerate(groups) if ALL in (one.hospital, one.contrast))


def _cell(one: Estimate) -> str:
    return f"{score(one.mean)} ({MISSING})" if one.interval is None else said(one)


def draw_loads(cases: Sequence[ScoredCase]) -> Picture:
    """Volume found against volume labelled, and Dice against it, a point an image; `cases` have a lesion each."""
    largest = max(cases, key=lambda one: one.counts.labelled_ml)
    worst = min(cases, key=lambda one: one.scores.dice)
    return Picture(
        name="loads",
        title="Lesion volume found, and Dice, by lesion volume labelled",
        caption="A point is an image. Left: on the line the volumes are the same, below it too little is found. Right: "
        f"the Dice of the same images. Volumes are on a logarithmic scale from {LINEAR} ml on.",
        alternative=f"Two scatter plots of {len(cases)} images. Largest load: {_words(largest)}. "
        f"Least Dice: {_words(worst)}.",
        draw=lambda theme: _draw(cases, theme),
    )


def _words(one: ScoredCase) -> str:
    return f"{one.counts.labelled_ml:.1f} ml labelled, {one.counts.found_ml:.1f} ml found, Dice {one.scores.dice:.3f}"


def _draw(cases: Sequence[ScoredCase], theme: Theme) -> Figure:
    hospitals = tuple(dict.fromkeys(one.hospital for one in cases))
    contrasts = tuple(c for c in CONTRASTS if any(one.contrast == c for one in cases))
    rows = -(-(len(hospitals) + len(contrasts)) // 5)
    figure = Figure(figsize=(8.6, 4.0 + 0.22 * rows))
    figure.set_layout_engine("constrained", wspace=0.08)
    volumes, dices = figure.subplots(1, 2)
    end = 1.6 * max(max(one.counts.labelled_ml, one.counts.found_ml, LINEAR) for one in cases)
    volumes.plot((0, end), (0, end), color=theme.quiet, linewidth=1, zorder=1)
    for i, hospital in enumerate(hospitals):
        for contrast in contrasts:
            own = [one for one in cases if (one.hospital, one.contrast) == (hospital, contrast)]
            look = {
                "color": _color(i, theme),
                "marker": MARKERS[contrast],
                "linestyle": "none",
                "markersize": 6,
                "markeredgecolor": theme.paper,
                "markeredgewidth": 0.6,
                "alpha": 0.9,
            }
            labelled = [one.counts.labelled_ml for one in own]
            volumes.plot(labelled, [one.counts.found_ml for one in own], **look)
            dices.plot(labelled, [one.scores.dice for one in own], **look)
    for axes in (volumes, dices):
        grid(axes)
        axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.4)
        axes.set_xlim(LEAST_SHOWN, end)
        axes.set_xticks([*map(float, _ticks(end))], _ticks(end))
        axes.set_xlabel("Lesion volume labelled, ml")
    volumes.set_yscale("symlog", linthresh=LINEAR, linscale=0.4)
    volumes.set_ylim(LEAST_SHOWN, end)
    volumes.set_yticks([*map(float, _ticks(end))], _ticks(end))
    volumes.set_ylabel("Lesion volume found, ml")
    dices.set_ylim(-0.03, 1.03)
    dices.set_ylabel("Dice")
    _legend(figure, hospitals, contrasts, theme)
    return figure


def _ticks(end: float) -> list[str]:
    """ml, as far as an axis goes."""
    return [text for text in ("0", "0.1", "1", "10", "100", "1000") if float(text) <= end]


def _color(place: int, theme: Theme) -> str:
    """A hospital's colour; the first of the palette is too pale for points."""
    light, dark, _, _ = PALETTE[1 + place % (len(PALETTE) - 1)]
    return dark if theme.dark else light


def _legend(figure: Figure, hospitals: Sequence[str], contrasts: Sequence[str], theme: Theme) -> None:
    marks = [
        *(Line2D([], [], color=_color(i, theme), marker="s", linestyle="none") for i in range(len(hospitals))),
        *(Line2D([], [], color=theme.quiet, marker=MARKERS[contrast], linestyle="none") for contrast in contrasts),
    ]
    figure.legend(marks, [*hospitals, *contrasts], loc="outside lower center", ncols=min(5, len(marks)))

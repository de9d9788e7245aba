"""What was simulated in pictures and numbers, beside what is published of patients.

Published: the lesions of 330 patients with early MS by region (Pongratz et al., NeuroImage: Clinical 37:103311,
2023), and of 30 patients by the consensus of three raters (Lesjak et al., Neuroinformatics 16:51-63, 2018: 3316
lesions of 567 ml in all). Cohorts, scanners and raters differ as much as hospitals do: the rows are there to be
looked at side by side, not to be met to the digit.
"""

import csv
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean, median
from typing import get_args

from client.data.filenames import CONTRASTS
from client.data.layouts import find_cases
from client.data.lesions import lesion_count, lesion_ml
from client.data.reading import read_case
from client.qc.montage import draw_views
from client.qc.slices import slices_of
from scenarios.simulation.bids_writer import LESIONS
from scenarios.simulation.dataset import Simulation
from shared.errors import ResultsError
from shared.phantoms.atlas import Place
from shared.text import counted

PLACES: tuple[Place, ...] = get_args(Place)
SUMMARY = "summary.csv"
SHOWN = 12
"""Subjects on a contact sheet at most."""


@dataclass(frozen=True)
class Row:
    """Lesions of one cohort; None is what was not published. Counts and ml without other words are means a subject."""

    cohort: str
    subjects: int
    lesion_free: int | None = None
    lesions: float | None = None
    ml: float | None = None
    median_ml: float | None = None
    median_lesion_ml: float | None = None
    """Of all lesions of the cohort, the median volume of one."""
    mean_lesion_ml: float | None = None
    periventricular: float | None = None
    juxtacortical: float | None = None
    deep: float | None = None
    infratentorial: float | None = None
    periventricular_ml: float | None = None


PUBLISHED = (
    Row("Pongratz 2023, early MS", 330, deep=13.0, periventricular_ml=2.287),
    Row("Lesjak 2018, consensus", 30, lesions=3316 / 30, ml=567 / 30, mean_lesion_ml=567 / 3316),
)


def summarise(simulation: Simulation) -> tuple[Row, ...]:
    """Return a row a center, of what lies in the folder, and the published ones. Raises `ResultsError`."""
    rows = []
    for center in simulation.centers:
        path = simulation.folder / center.name / "derivatives" / "labels" / LESIONS
        try:
            with path.open(newline="") as file:
                lesions = [
                    (line["participant_id"], line["place"], float(line["ml"]))
                    for line in csv.DictReader(file, delimiter="\t")
                ]
        except (OSError, ValueError, KeyError) as error:
            raise ResultsError(f"{path} cannot be read ({error}): delete its center's folder, and go on") from None
        rows.append(row_of(center.title, simulation.subjects(center), lesions))
    return (*rows, *PUBLISHED)


def row_of(cohort: str, subjects: int, lesions: list[tuple[str, str, float]]) -> Row:
    """Return the statistics of a cohort, of which each lesion is given by subject, place and ml."""
    volumes = {name: 0.0 for name, _, _ in lesions}
    for name, _, ml in lesions:
        volumes[name] += ml
    free = subjects - len(volumes)
    counts = Counter(place for _, place, _ in lesions)
    sizes = [ml for _, _, ml in lesions]
    return Row(
        cohort=cohort,
        subjects=subjects,
        lesion_free=free,
        lesions=len(lesions) / subjects,
        ml=sum(sizes) / subjects,
        median_ml=median([*volumes.values(), *[0.0] * free]),
        median_lesion_ml=median(sizes) if sizes else None,
        mean_lesion_ml=fmean(sizes) if sizes else None,
        periventricular_ml=sum(ml for _, place, ml in lesions if place == "periventricular") / subjects,
        **{place: counts[place] / subjects for place in PLACES},
    )


def table(rows: tuple[Row, ...]) -> list[str]:
    """The rows as lines of text, two headings first."""
    heads = (
        *("cohort", "subjects", "without", "lesions", "ml", "ml", "ml of one", "ml of one"),
        *("periv.", "juxta.", "deep", "infrat.", "periv. ml"),
    )
    units = ("", "", "lesions", "a subject", "mean", "median", "median", "mean", *["a subject"] * 5)
    cells = [heads, units, *([_text(getattr(row, field.name)) for field in fields(Row)] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) if not number else cell.rjust(width) for number, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in cells)
    ]


def _text(value: str | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_summary(rows: tuple[Row, ...], folder: Path) -> Path:
    """Write the rows as CSV, an empty cell where nothing was published. Raises `ResultsError`."""
    path = folder / SUMMARY
    names = [field.name for field in fields(Row)]
    try:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror}): choose another folder") from None
    return path


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def draw_sheet(center: Path, picture: Path) -> None:
    """Write the contact sheet of a center's folder: slices of its first subjects, with the lesions' outline.

    Raises `DataError` or `ResultsError`.
    """
    views = []
    for case in find_cases(center, CONTRASTS)[:SHOWN]:
        image, label = read_case(case, allow_empty=True).usable_pair()
        lesions = counted(lesion_count(label.array), "lesion")
        title = f"{case.subject}  ·  {case.contrast}  ·  {lesion_ml(label.array, image.affine):.1f} ml in {lesions}"
        views.append((slices_of(image.array, image.affine, label.array), title, True))
    draw_views(views, picture)

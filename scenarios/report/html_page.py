"""The report as one HTML page that needs no other file, no script and no network, and its parts as files."""

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from scenarios.report.case_scores import Details, read_details
from scenarios.report.caveats import caveats
from scenarios.report.comparisons import comparisons
from scenarios.report.conclusion import QUESTION, Answer, answer
from scenarios.report.curves import draw_curves
from scenarios.report.evaluators import draw_evaluators
from scenarios.report.figures import Picture, to_png, to_svg
from scenarios.report.forest_plot import draw_forest
from scenarios.report.heatmaps import draw_heatmaps
from scenarios.report.html_parts import both_themes, raster, render_page
from scenarios.report.overlays import Examples, draw_overlays
from scenarios.report.result_tables import comparison_table, cost_table, final_table, scores_table, transfer_table
from scenarios.report.subject_scores import draw_subjects
from scenarios.report.table import Table
from scenarios.results.study import ANY_ORDER, Study
from shared.errors import ResultsError
from shared.files import write_whole
from shared.paths import writable_folder

PAGE, PARTS = "report.html", "report"
"""In the study's folder: the page, and the folder of its figures and tables."""

PLACES = {"output-dir", "data-dir", "cache-dir", "resume"}

NAMES = (
    "curves",
    "heatmaps",
    "evaluators",
    "slices",
    "differences",
    "subjects",
    "transfer",
    "final",
    "comparisons",
    "scores",
    "costs",
)
"""Of all figures and tables."""

RASTER = {"slices"}
"""Pictures made of voxels, which the page holds as PNG."""


@dataclass(frozen=True, eq=False)
class Report:
    """All that the page shows."""

    study: Study
    answer: Answer
    transfer: Table
    final: Table
    comparison: Table | None
    scores: Table | None
    cost: Table | None
    curves: Picture | None
    heatmaps: Picture | None
    evaluators: Picture | None
    slices: Picture | None
    forest: Picture | None
    subjects: Picture | None
    examples: Examples
    details: Details
    caveats: tuple[str, ...]

    @property
    def orders(self) -> dict[str, tuple[str, ...]]:
        """The order of visits by its name, of the runs that have one."""
        return {run.order_name: run.order for run in self.study.runs if run.order_name != ANY_ORDER}

    @property
    def settings(self) -> dict[str, str]:
        """What all runs were set to, by key; where files lie is nobody's concern."""
        return {key: str(value) for key, value in sorted(self.study.settings.items()) if key not in PLACES}

    @property
    def pictures(self) -> list[Picture]:
        """Those that there are, in the order of the page."""
        found = (self.curves, self.heatmaps, self.evaluators, self.slices, self.forest, self.subjects)
        return [picture for picture in found if picture is not None]

    @property
    def tables(self) -> list[Table]:
        """Those that there are, in the order of the page."""
        found = (self.transfer, self.final, self.comparison, self.scores, self.cost)
        return [table for table in found if table is not None]


def make_report(study: Study, folder: Path, examples: Examples) -> Report:
    """Everything that a study says; its runs lie in `folder`."""
    compared, details = comparisons(study), read_details(study, folder)
    return Report(
        study=study,
        answer=answer(study, compared),
        transfer=transfer_table(study),
        final=final_table(study),
        comparison=comparison_table(compared),
        scores=scores_table(details),
        cost=cost_table(study),
        curves=draw_curves(study),
        heatmaps=draw_heatmaps(study),
        evaluators=draw_evaluators(study),
        slices=draw_overlays(examples),
        forest=draw_forest(compared),
        subjects=draw_subjects(study, details),
        examples=examples,
        details=details,
        caveats=caveats(study, details),
    )


def write_page(report: Report, folder: Path) -> Path:
    """Write `report.html`, and figures (SVG, PNG) and tables (CSV) under `report/`; the page's path.

    Raises `ResultsError` where the folder cannot be written.
    """
    parts = writable_folder(folder / PARTS, "report folder")
    try:
        _clear(parts)
        drawn: dict[str, Markup] = {}
        for picture in report.pictures:
            svg, png = to_svg(picture.figure, picture.name), to_png(picture.figure)
            write_whole(parts / f"{picture.name}.svg", svg.encode())
            write_whole(parts / f"{picture.name}.png", png)
            write_whole(parts / f"{picture.name}.csv", picture.sheet.to_csv().encode())
            made = raster(png, picture.alternative) if picture.name in RASTER else both_themes(picture, svg)
            drawn[picture.name] = made
        for table in report.tables:
            write_whole(parts / f"{table.name}.csv", table.sheet.to_csv().encode())
        page = folder / PAGE
        write_whole(page, render(report, drawn).encode())
    except OSError as error:
        raise ResultsError(
            f"the report cannot be written to {folder} ({error.strerror or error}): free the disk, or copy the study"
        ) from None
    return page


def _clear(parts: Path) -> None:
    """Remove what an earlier report left, which this one may not have: a patient's slice, for instance."""
    for name in NAMES:
        for ending in ("svg", "png", "csv"):
            (parts / f"{name}.{ending}").unlink(missing_ok=True)


def render(report: Report, drawn: dict[str, Markup]) -> str:
    """The page's text, with each picture as it was drawn."""
    return render_page(
        "page.html", report=report, study=report.study, drawn=drawn, question=QUESTION, parts_folder=PARTS
    )

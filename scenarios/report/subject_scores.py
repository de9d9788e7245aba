"""Every test case of the final models: how evenly a method serves the patients of each center."""

from collections.abc import Sequence
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scenarios.report.case_scores import CaseScores, Details
from scenarios.report.figures import LETTER, Picture, grid
from scenarios.report.style import Theme, in_order, look_of
from scenarios.report.table import Number, Sheet
from scenarios.results.study import Study
from shared.methods import spec_of

ACROSS = 4
"""Panels in a row."""

ROOM = 7.0
"""Inches for the panels of a row."""

HALF = 0.3
"""Of the height of a row that its points may take."""


def draw_subjects(study: Study, details: Details) -> Picture | None:
    """One panel a center, one row a method, one point a test case and run; None where no case has a score."""
    cases = [case for case in details.cases if "dice" in case.scores]
    if not cases:
        return None
    methods = in_order(case.method for case in cases)
    centers = [center for center in study.centers if any(case.center == center for case in cases)]
    silent = [center for center in study.centers if center not in centers]
    medians = (f"{look_of(m).name} {median(c.scores['dice'] for c in cases if c.method == m):.2f}" for m in methods)
    return Picture(
        name="subjects",
        title="Test Dice of each patient with the final model",
        caption="One point is one test image in one run; the box holds the middle half, the line in it is the median. "
        "n counts the test images of all seeds, "
        "which every method and order shares; points of one patient are not independent. "
        + ("Single-domain shows each center's own model." if any(spec_of(m).fresh for m in methods) else "")
        + (f" No scores of single patients came from {', '.join(silent)}." if silent else ""),
        alternative=f"Strip and box plots of test Dice by center and method. Medians over all cases: "
        f"{', '.join(medians)}.",
        draw=lambda theme: _draw(cases, methods, centers, theme),
        sheet=_sheet(details.cases),
    )


def _draw(cases: Sequence[CaseScores], methods: Sequence[str], centers: Sequence[str], theme: Theme) -> Figure:
    panel = max(ROOM / ACROSS, LETTER * (max(map(len, centers)) + len("  (n = 999)")))
    columns = max(1, min(len(centers), int(ROOM / panel)))
    rows = -(-len(centers) // columns)
    height = rows * (0.3 * len(methods) + 0.5) + 0.45
    figure = Figure(figsize=(max(4.2, panel * columns + 1.2), height), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axes, center in zip(panels, centers, strict=False):
        _panel(axes, center, [case for case in cases if case.center == center], methods, theme)
    for axes in panels[len(centers) :]:
        axes.set_axis_off()
    for place, axes in enumerate(panels[: len(centers)]):
        if place + columns >= len(centers):
            axes.tick_params(labelbottom=True)
    panels[0].set_yticks(range(len(methods)), [look_of(method).name for method in methods])
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    panels[0].set_xlim(-0.03, 1.03)
    panels[0].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    figure.supxlabel("Test Dice", fontsize=9)
    return figure


def _panel(axes: Axes, center: str, cases: Sequence[CaseScores], methods: Sequence[str], theme: Theme) -> None:
    grid(axes, "x")
    images = len({(case.seed, case.subject, case.contrast) for case in cases})
    axes.set_title(f"{center}  (n = {images})", loc="left", fontsize=8.5)
    for row, method in enumerate(methods):
        values = [case.scores["dice"] for case in cases if case.method == method]
        if not values:
            continue
        axes.plot(
            values,
            row + swarm(values),
            linestyle="none",
            marker=look_of(method).marker,
            markersize=3.6,
            color=theme.color(method),
            alpha=0.6,
            markeredgewidth=0,
        )
        if len(values) >= 4:
            axes.boxplot(
                [values],
                positions=[row],
                orientation="horizontal",
                widths=0.62,
                showfliers=False,
                showcaps=False,
                manage_ticks=False,
                boxprops={"color": theme.ink, "linewidth": 0.8},
                whiskerprops={"color": theme.ink, "linewidth": 0.8},
                medianprops={"color": theme.ink, "linewidth": 1.6},
            )


def swarm(values: Sequence[float], near: float = 0.03) -> NDArray[np.float64]:
    """Where each point lies across its row, within `HALF`: those less than `near` apart lie side by side."""
    places = np.zeros(len(values))
    run: list[int] = []
    order = sorted(range(len(values)), key=values.__getitem__)
    for place in [*order, -1]:
        if run and (place == -1 or values[place] - values[run[0]] > near):
            for i, member in enumerate(run):
                places[member] = 0 if len(run) == 1 else HALF * (2 * i / (len(run) - 1) - 1) * min(1, len(run) / 4)
            run = []
        run.append(place)
    return places


def _sheet(cases: Sequence[CaseScores]) -> Sheet:
    names = list(dict.fromkeys(name for case in cases for name in case.scores))
    rows: list[tuple[Number, ...]] = [
        (c.method, c.order_name, c.seed, c.center, c.subject, c.contrast, *(c.scores.get(name) for name in names))
        for c in cases
    ]
    return Sheet(("method", "order", "seed", "center", "subject", "contrast", *names), tuple(rows))

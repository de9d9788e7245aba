"""Paired differences between methods: every pair as a point, the mean with its interval."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scenarios.report.comparisons import MEASURES, Comparison
from scenarios.report.figures import Picture, grid
from scenarios.report.statistics import CONFIDENCE
from scenarios.report.style import Theme, look_of
from scenarios.report.table import Sheet, signed


def draw_forest(compared: Sequence[Comparison]) -> Picture | None:
    """One panel a measure, one row a comparison; None where nothing could be compared."""
    if not compared:
        return None
    said = "; ".join(
        f"{one.measure}, {_title(one)}: {signed(one.paired.mean)}"
        + (f" ({signed(one.paired.interval[0])} to {signed(one.paired.interval[1])})" if one.paired.interval else "")
        for one in compared
    )
    return Picture(
        name="differences",
        title="Paired differences between methods",
        caption="First method minus second; right of zero, the first is better. Grey points are the pairs of the table "
        f"above, bars the {CONFIDENCE:.0%} confidence interval of their mean by Student's t.",
        alternative=f"Points and intervals of paired differences. {said}.",
        draw=lambda theme: _draw(compared, theme),
        sheet=Sheet(
            ("measure", "first", "second", "pair", "difference"),
            tuple(
                (one.measure, one.first, one.second, i, difference)
                for one in compared
                for i, difference in enumerate(one.paired.differences, 1)
            ),
        ),
    )


def _draw(compared: Sequence[Comparison], theme: Theme) -> Figure:
    groups = [(m, found) for m in MEASURES if (found := [one for one in compared if one.measure == m])]
    rows = [len(found) for _, found in groups]
    figure = Figure(figsize=(7.6, 0.42 * sum(rows) + 0.75 * len(groups) + 0.2), layout="constrained")
    panels: list[Axes] = list(
        figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=[n + 0.6 for n in rows]).flat
    )
    for axes, (measure, found) in zip(panels, groups, strict=True):
        _panel(axes, measure, found, theme)
    panels[-1].set_xlabel("Difference (first minus second)")
    return figure


def _panel(axes: Axes, measure: str, found: Sequence[Comparison], theme: Theme) -> None:
    grid(axes, "x")
    axes.axvline(0, color=theme.ink, linewidth=1)
    for row, one in enumerate(found):
        method, paired = one.second if one.first == "replay" else one.first, one.paired
        color = theme.color(method)
        # Pairs lie a little below their interval, evenly, so that none hides another.
        below = row + 0.2 + 0.12 * (np.arange(paired.n) % 3 - 1)
        axes.plot(paired.differences, below, "o", markersize=3.5, color=theme.quiet, alpha=0.75, markeredgewidth=0)
        if paired.interval:
            axes.plot(paired.interval, (row - 0.08, row - 0.08), color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot(
            paired.mean,
            row - 0.08,
            marker=look_of(method).marker,
            markersize=8,
            color=color,
            markeredgecolor=theme.paper,
            markeredgewidth=0.8,
        )
    axes.set_yticks(range(len(found)), [f"{_title(one)}  (n = {one.paired.n})" for one in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_title(measure, loc="left", fontweight="bold")
    axes.spines["left"].set_visible(False)


def _title(one: Comparison) -> str:
    return f"{look_of(one.first).name} − {look_of(one.second).name}"

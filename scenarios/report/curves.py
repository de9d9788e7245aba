"""The paper's Figure 2: the mean test Dice over all centers, as one center after another has been visited."""

from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scenarios.report.comparisons import is_sequential, methods_of, runs_of, sequential_methods
from scenarios.report.figures import Picture, crowded, grid
from scenarios.report.statistics import Summary, summarize
from scenarios.report.style import Theme, look_of
from scenarios.report.table import Number, Sheet, score
from scenarios.results.study import RunEntry, Study

WIDTH = 7.6
"""Inches."""

BAND = 0.16
"""Opacity."""

LEAST_RANGE = 0.3
"""Of Dice."""


def draw_curves(study: Study) -> Picture | None:
    """One line a sequential method, with the others as levels; None where no method is sequential."""
    sequential = sequential_methods(study)
    if not sequential:
        return None
    curves = {method: _curve(runs_of(study, method)) for method in sequential}
    levels = {
        method: level
        for method in methods_of(study)
        if method not in sequential and (level := _level(runs_of(study, method))) is not None
    }
    ends = [f"{look_of(m).name} {score(curve[0].mean)} to {score(curve[-1].mean)}" for m, curve in curves.items()]
    ends += [f"{look_of(m).name} level at {score(level.mean)}" for m, level in levels.items()]
    return Picture(
        name="curves",
        title="Test Dice over all centers, as centers arrive",
        caption=_caption(study, curves, levels),
        alternative=f"Line chart of the mean test Dice over all centers against the number of centers visited: "
        f"{'; '.join(ends)}.",
        draw=lambda theme: _draw(study, curves, levels, theme),
        sheet=_sheet(curves, levels),
    )


def _curve(runs: Sequence[RunEntry]) -> list[Summary]:
    """Mean and standard deviation over the runs, after each stage. Stages without any score are left out."""
    stages = [
        [fmean(there) for row in rows if (there := [c for c in row if c is not None])] for rows in _by_stage(runs)
    ]
    return [found for values in stages if (found := summarize(values)) is not None]


def _by_stage(runs: Sequence[RunEntry]) -> list[tuple[tuple[float | None, ...], ...]]:
    return list(zip(*(tuple(map(tuple, run.R)) for run in runs if is_sequential(run)), strict=True))


def _level(runs: Sequence[RunEntry]) -> Summary | None:
    return summarize([run.acc for run in runs])


def _draw(study: Study, curves: dict[str, list[Summary]], levels: dict[str, Summary], theme: Theme) -> Figure:
    figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
    axes = figure.subplots()
    grid(axes, "y")
    last = max(map(len, curves.values()))
    for method, level in levels.items():
        look, color = look_of(method), theme.color(method)
        if level.deviation:
            axes.axhspan(level.mean - level.deviation, level.mean + level.deviation, color=color, alpha=0.09, lw=0)
        axes.axhline(level.mean, color=color, linestyle=look.dashes, linewidth=1.3, label=_named(method, level.n))
    # The method in question is drawn last, on top.
    for method in reversed(curves):
        look, color, curve = look_of(method), theme.color(method), curves[method]
        x = list(range(1, len(curve) + 1))
        if any(point.deviation for point in curve):
            low = [point.mean - (point.deviation or 0) for point in curve]
            high = [point.mean + (point.deviation or 0) for point in curve]
            axes.fill_between(x, low, high, color=color, alpha=BAND, linewidth=0)
        axes.plot(
            x,
            [point.mean for point in curve],
            color=color,
            linestyle=look.dashes,
            linewidth=2,
            marker=look.marker,
            markersize=6.5,
            label=_named(method, curve[-1].n),
        )
    axes.set_xlim(0.8, last + 0.2)
    _widen(axes)
    orders = {run.order for run in study.runs if is_sequential(run)}
    names = next(iter(orders)) if len(orders) == 1 else ()
    if names and crowded(names, WIDTH - 1):
        labels = [f"{i} {center}" for i, center in enumerate(names, 1)]
        axes.set_xticks(range(1, last + 1), labels, rotation=45, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(range(1, last + 1), [f"{i}\n{center}" for i, center in enumerate(names, 1)] or None)
    axes.set_xlabel("Centers visited" + (", in this order" if names else ""))
    axes.set_ylabel("Mean test Dice over all centers")
    handles, labels = axes.get_legend_handles_labels()
    order = [*reversed(range(len(levels), len(handles))), *range(len(levels))]
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside upper left",
        ncols=min(4, len(order)),
        handlelength=3.4,
    )
    return figure


def _widen(axes: Axes) -> None:
    """Let the scale cover `LEAST_RANGE`, so that noise does not look like a landslide, and stay within [0, 1]."""
    bottom, top = axes.get_ylim()
    lacking = max(0.0, LEAST_RANGE - (top - bottom)) / 2
    bottom, top = bottom - lacking, top + lacking
    axes.set_ylim(max(0.0, bottom - max(0.0, top - 1)), min(1.0, top + max(0.0, -bottom)))


def _named(method: str, n: int) -> str:
    return f"{look_of(method).name} (n = {n})"


def _caption(study: Study, curves: dict[str, list[Summary]], levels: dict[str, Summary]) -> str:
    parts = ["Each point is the mean over all centers, visited or not yet, of the test Dice after that many visits."]
    if any(point.deviation for curve in curves.values() for point in curve):
        parts.append("Bands are one standard deviation over the runs (orders and seeds; n in the legend).")
    else:
        parts.append("Each method has one run, so the spread between runs is unknown.")
    if any(run.not_asked for run in study.runs if is_sequential(run)):
        parts.append(
            "Before the last visit a model was tested at its own center and at a sample of the others alone, and its "
            "point is their mean: it leans towards the center just visited."
        )
    if levels:
        names = ", ".join(look_of(method).name for method in levels)
        parts.append(f"Horizontal lines are of methods that visit no center after another: {names}.")
    if len({run.order for run in study.runs if is_sequential(run)}) > 1:
        parts.append("Different orders are averaged by position.")
    return " ".join(parts)


def _sheet(curves: dict[str, list[Summary]], levels: dict[str, Summary]) -> Sheet:
    rows: list[tuple[Number, ...]] = [
        (method, stage, point.n, point.mean, point.deviation, point.least, point.most)
        for method, curve in curves.items()
        for stage, point in enumerate(curve, 1)
    ]
    rows += [
        (method, None, level.n, level.mean, level.deviation, level.least, level.most)
        for method, level in levels.items()
    ]
    return Sheet(("method", "centers_visited", "runs", "mean_dice", "sd", "least", "most"), tuple(rows))

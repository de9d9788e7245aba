"""The paper's Figure 5: the matrix R of each sequential method, its mean and its standard deviation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from scenarios.report.comparisons import is_sequential, methods_of, runs_of
from scenarios.report.figures import Picture, crowded
from scenarios.report.style import look_of
from scenarios.report.table import Number, Sheet
from scenarios.results.study import RunEntry, Study
from shared.metrics.transfer import mean_known

FloatArray = NDArray[np.float64]

COLORS = "cividis"
"""Even in lightness, so that it is read in grey, and the same under colour blindness (Nunez et al. 2018)."""


MANY, MOST_NUMBERS = 12, 22
"""Centers above which numbers lose their leading zero, and above which only the CSV has them."""


@dataclass(frozen=True, eq=False)
class Averaged:
    """R over the runs of one method; shape (K, K), NaN where no run has a score."""

    names: tuple[str, ...]
    """Of rows and columns: centers, or places in the order where orders differ."""
    mean: FloatArray
    deviation: FloatArray
    """NaN where fewer than two runs have a score."""
    count: NDArray[np.int64]


def average(runs: list[RunEntry]) -> Averaged:
    """The mean matrix, by place in the order: row i is the i-th visit, column j the center of the j-th."""
    matrices = np.array([[[np.nan if c is None else c for c in row] for row in run.R] for run in runs], dtype=float)
    mean, count = mean_over_runs(matrices)
    squares = (np.where(np.isnan(matrices), 0, matrices - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(np.divide(squares, count - 1, out=np.full(mean.shape, np.nan), where=count > 1))
    orders = {run.order for run in runs}
    names = next(iter(orders)) if len(orders) == 1 else tuple(_ordinal(i) for i in range(1, len(runs[0].order) + 1))
    return Averaged(tuple(names), mean, deviation, count)


def mean_over_runs(matrices: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Of matrices (runs, rows, columns), NaN where there is no score: mean and number of scores, (rows, columns)."""
    there = ~np.isnan(matrices)
    count = there.sum(axis=0)
    total = np.where(there, matrices, 0).sum(axis=0)
    mean: FloatArray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean, count


def draw_heatmaps(study: Study) -> Picture | None:
    """Two panels a method; None where no method gave a whole matrix."""
    averaged = {
        method: average(runs)
        for method in methods_of(study)
        if (runs := [run for run in runs_of(study, method) if is_sequential(run)])
    }
    if not averaged:
        return None
    spreads = any(np.isfinite(one.deviation).any() for one in averaged.values())
    by_place = any(one.names and one.names[0] == _ordinal(1) for one in averaged.values())
    top = highest([one.mean for one in averaged.values()])
    parts = [
        "Rows: after the visit to this center. Columns: tested at this center. Framed: a center's own visit; below it "
        "is what is kept, above it what is not yet learnt. A column that darkens downwards was forgotten."
    ]
    parts.append(f"Colours of the means run from 0 (dark) to {top:.1f} (light).")
    if spreads:
        parts.append("Right: standard deviation over the runs.")
    if by_place:
        parts.append("The orders differ, so that rows and columns are places in the order, not particular centers.")
    if any((one.count == 0).any() for one in averaged.values()):
        spared = sum(run.not_asked for method in averaged for run in runs_of(study, method) if is_sequential(run))
        parts.append(f"Hatched: not evaluated{f' ({spared} cells were not asked for)' if spared else ''}.")
    return Picture(
        name="heatmaps",
        title="Test Dice at each center after each visit",
        caption=" ".join(parts),
        alternative="Heat maps of R, one a method. " + " ".join(_in_words(m, one) for m, one in averaged.items()),
        draw=lambda theme: _draw(averaged),
        sheet=_sheet(averaged),
    )


def _draw(averaged: dict[str, Averaged]) -> Figure:
    spreads = any(np.isfinite(one.deviation).any() for one in averaged.values())
    k = max(len(one.names) for one in averaged.values())
    edge = edge_of(k)
    columns = 2 if spreads or len(averaged) > 1 else 1
    rows = len(averaged) if spreads else -(-len(averaged) // columns)
    figure = Figure(figsize=(columns * edge + 0.9, rows * (edge + 0.25) + 0.1), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    top, widest = (
        highest([one.mean for one in averaged.values()]),
        highest([one.deviation for one in averaged.values()]),
    )
    for i, (method, one) in enumerate(averaged.items()):
        runs = int(one.count.max())
        name = look_of(method).name
        if spreads:
            draw_matrix(panels[2 * i], one.names, one.names, one.mean, f"{name}: mean (n = {runs})", top)
            draw_matrix(panels[2 * i + 1], one.names, one.names, one.deviation, f"{name}: standard deviation", widest)
        else:
            draw_matrix(panels[i], one.names, one.names, one.mean, name, top)
    for panel in panels[len(averaged) * (2 if spreads else 1) :]:
        panel.remove()
    return figure


def edge_of(k: int) -> float:
    """Inches of a panel of k centers, its labels included."""
    return min(4.1, max(2.3, 0.48 * k + 0.5))


def _short(value: float, k: int) -> str:
    """A value as wide as its cell allows."""
    text = f"{value:.2f}"
    return text if k <= MANY else "1.0" if text == "1.00" else text.removeprefix("0")


def draw_matrix(
    axes: Axes, rows: tuple[str, ...], columns: tuple[str, ...], values: FloatArray, title: str, top: float
) -> None:
    """Scores after each visit (rows) at each center (columns), an own visit framed; colours end at `top`."""
    k = max(len(rows), len(columns))
    colors = colormaps[COLORS]
    axes.pcolormesh(np.ma.masked_invalid(values), cmap=colors, vmin=0, vmax=top, edgecolors="face", linewidth=0.4)
    size = 8.5 if k <= 6 else 7.5 if k <= 9 else 6 if k <= MOST_NUMBERS else 0
    for i, row in enumerate(rows):
        for j in range(len(columns)):
            if np.isnan(values[i, j]):
                axes.add_patch(Rectangle((j, i), 1, 1, facecolor="none", edgecolor="#8a9199", hatch="////", lw=0))
                continue
            if not size:
                continue
            red, green, blue, _ = colors(min(1.0, values[i, j] / top))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.46
            ink = "#ffffff" if dark else "#000000"
            axes.text(j + 0.5, i + 0.52, _short(values[i, j], k), ha="center", va="center", color=ink, fontsize=size)
        if row in columns:
            axes.add_patch(Rectangle((i, i), 1, 1, facecolor="none", edgecolor="#ffffff", lw=1.2))
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_aspect("equal")
    axes.invert_yaxis()
    turn = 45 if crowded(columns, (edge_of(k) - 1) * len(columns) / k) else 0
    across = np.arange(len(columns)) + 0.5
    axes.set_xticks(across, columns, rotation=turn, ha="right" if turn else "center", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("tested at")
    axes.set_ylabel("after the visit to")


def _in_words(method: str, one: Averaged) -> str:
    own, last = np.diagonal(one.mean), one.mean[-1]
    name = look_of(method).name
    return f"{name}: own visit {mean_known(own):.2f} on average, after the last visit {mean_known(last):.2f}."


def highest(matrices: Sequence[FloatArray]) -> float:
    """Where the colours of all panels of a kind end: the highest value, rounded up to a tenth."""
    values = np.concatenate([matrix[np.isfinite(matrix)] for matrix in matrices])
    return float(np.ceil(values.max() * 10) / 10) if values.size and values.max() > 0 else 1.0


def _ordinal(i: int) -> str:
    ending = "th" if 10 <= i % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(i % 10, "th")
    return f"{i}{ending}"


def _sheet(averaged: dict[str, Averaged]) -> Sheet:
    rows: list[tuple[Number, ...]] = []
    for method, one in averaged.items():
        for i, after in enumerate(one.names):
            for j, tested in enumerate(one.names):
                cell = [float(part[i, j]) if np.isfinite(part[i, j]) else None for part in (one.mean, one.deviation)]
                rows.append((method, after, tested, int(one.count[i, j]), *cell))
    return Sheet(("method", "after", "tested_at", "runs", "mean_dice", "sd"), tuple(rows))

"""How well the models do at evaluators: centers that test, and that no model is ever trained on."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scenarios.report.comparisons import methods_of, runs_of
from scenarios.report.figures import Picture
from scenarios.report.heatmaps import average, draw_matrix, edge_of, highest, mean_over_runs
from scenarios.report.style import look_of
from scenarios.report.table import Number, Sheet
from scenarios.results.study import RunEntry, Study
from shared.metrics.transfer import mean_known

FloatArray = NDArray[np.float64]

ACROSS = 3
"""Panels in a row."""

AT_ONCE = "all"
"""The one row of a method that trains at all centers at once."""


def evaluators_of(study: Study) -> tuple[str, ...]:
    """The evaluators of a study's runs."""
    return tuple(dict.fromkeys(name for run in study.runs for name in run.evaluators))


def draw_evaluators(study: Study) -> Picture | None:
    """One panel a method, a row a stage, a column an evaluator; None where no run has an evaluator."""
    names = evaluators_of(study)
    if not names:
        return None
    found = {
        method: (_rows(runs), _mean(runs, names))
        for method in methods_of(study)
        if (runs := [run for run in runs_of(study, method) if run.evaluators])
    }
    means = {look_of(method).name: mean_known(values[-1]) for method, (_, values) in found.items()}
    ends = [f"{name} {mean:.3f}" for name, mean in means.items() if not np.isnan(mean)]
    return Picture(
        name="evaluators",
        title="Test Dice where no model was ever trained",
        caption="Columns: evaluators, which test every model and give no data to any training. Rows: after the visit "
        f"to this center ({AT_ONCE}: after training at all centers at once). Mean over runs; hatched: no score. "
        "No other figure, mean or test on this page counts these scores, but for the rows of tables that name "
        "evaluators.",
        alternative=f"Heat maps of test Dice at {', '.join(names)}, one a method. Mean in the last row: "
        f"{', '.join(ends) or 'no score'}.",
        draw=lambda theme: _draw(found, names),
        sheet=_sheet(found, names),
    )


def _rows(runs: Sequence[RunEntry]) -> tuple[str, ...]:
    """What the rows are called: by centers, or by places in the order where orders differ."""
    return average(list(runs)).names if len(runs[0].R) > 1 else (AT_ONCE,)


def _mean(runs: Sequence[RunEntry], names: Sequence[str]) -> FloatArray:
    """The mean over runs; shape (stages, evaluators), NaN where no run has a score."""
    stacked = np.full((len(runs), len(runs[0].R), len(names)), np.nan)
    for i, run in enumerate(runs):
        for row, scores in enumerate(run.R_evaluators):
            for name, value in zip(run.evaluators, scores, strict=True):
                stacked[i, row, names.index(name)] = np.nan if value is None else value
    return mean_over_runs(stacked)[0]


def _draw(found: dict[str, tuple[tuple[str, ...], FloatArray]], names: tuple[str, ...]) -> Figure:
    columns = min(ACROSS, len(found))
    rows = -(-len(found) // columns)
    height = edge_of(max(len(stages) for stages, _ in found.values()))
    width = max(2.1, 0.48 * len(names) + 1.2)
    figure = Figure(figsize=(columns * width + 0.6, rows * (height + 0.4) + 0.1), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    top = highest([values for _, values in found.values()])
    for axes, (method, (stages, values)) in zip(panels, found.items(), strict=False):
        draw_matrix(axes, stages, names, values, look_of(method).name, top)
    for axes in panels[len(found) :]:
        axes.remove()
    return figure


def _sheet(found: dict[str, tuple[tuple[str, ...], FloatArray]], names: Sequence[str]) -> Sheet:
    rows: list[tuple[Number, ...]] = [
        (method, stage, name, float(values[i, j]) if np.isfinite(values[i, j]) else None)
        for method, (stages, values) in found.items()
        for i, stage in enumerate(stages)
        for j, name in enumerate(names)
    ]
    return Sheet(("method", "after", "evaluator", "mean_dice"), tuple(rows))

"""The end of a run, as a person reads it at the terminal."""

from collections.abc import Sequence
from pathlib import Path

from shared.paths import MODEL, RESULTS
from shared.result_notes import collapsed_lines, evaluator_lines, not_learnt_lines, passed_over_lines
from shared.results import RunResults
from shared.text import counted

NOT_ASKED = "."
"""In place of a score that the run did not ask for."""


def describe(results: RunResults, folder: Path) -> str:
    """The matrix as a table, ACC and BWT, and where the files lie."""
    lines = ["Test Dice at each center (columns) after each stage (rows):", "", *_table(results)]
    lines += ["", f"ACC  {results.acc:.3f}   mean Dice over all centers after the last stage"]
    if results.bwt is not None:
        lines.append(f"BWT  {results.bwt:+.3f}  backward transfer; below zero, the model forgot")
    if results.learning_accuracy is not None:
        lines.append(f"LA   {results.learning_accuracy:.3f}   learning accuracy: mean Dice at each center's own stage")
    lines += evaluator_lines(results)
    lines += not_learnt_lines(results)
    lines += (collapsed := collapsed_lines(results))
    if missing := results.missing:
        cells = ", ".join(f"{cell.center} after stage {cell.stage + 1}" for cell in missing)
        lines.append(f"NOTE the means leave out cells without a score: {cells}")
    lines += [f"NOTE {line}" for line in passed_over_lines(results.passed_over)]
    lines += [f"NOTE {line}" for line in _set_aside(results)]
    lines += [f"NOTE {note}" for note in results.notes if note not in collapsed]
    for center, subjects in results.withdrawn.items():
        lines.append(f"NOTE {center} withdrew subjects after their exemplars had left: {subjects}")
    training = results.training_seconds
    computing = sum(stage.compute_seconds for stage in results.stages)
    lines.append(f"time {training:.0f} s training, {computing / training:.0%} of it in forward, backward and step")
    lines += ["", f"results {folder / RESULTS}", f"model   {folder / MODEL}"]
    return "\n".join(lines)


def _table(results: RunResults) -> list[str]:
    """R, and beside it what the evaluators measured."""
    order, evaluators = results.order, results.evaluators
    rows = [stage.center for stage in results.stages]
    width = max(len(name) for name in [*order, *rows, "trained at"])
    failed = {(cell.stage, cell.center) for cell in results.missing}

    def cells(stage: int, row: Sequence[float | None], centers: Sequence[str]) -> list[str]:
        blanks = ["-" if (stage, center) in failed else NOT_ASKED for center in centers]
        return [_cell(v, blank, len(c)) for v, blank, c in zip(row, blanks, centers, strict=True)]

    heads = [[f"{center:>6}" for center in centers] for centers in (order, evaluators)]
    lines = [_line(f"{'trained at':<{width}}", *heads)]
    for stage, (name, row, beside) in enumerate(zip(rows, results.R, results.R_evaluators, strict=True)):
        lines.append(_line(f"{name:<{width}}", cells(stage, row, order), cells(stage, beside, evaluators)))
    return lines


def _line(name: str, cells: Sequence[str], beside: Sequence[str]) -> str:
    return "  ".join([name, *cells, *(["|", *beside] if beside else [])])


def _set_aside(results: RunResults) -> list[str]:
    """How many subjects each center could not use though they were divided; results.json has the reasons."""
    # Of a center's stages, rounds and tests the one with most: in each the same subjects may be set aside again.
    training: dict[str, int] = {}
    testing: dict[str, int] = {}
    for stage in results.stages:
        training[stage.center] = max(training.get(stage.center, 0), sum(stage.set_aside.values()))
        for center, reasons in stage.test_set_aside.items():
            testing[center] = max(testing.get(center, 0), sum(reasons.values()))
    return [
        f"{center} set aside {counted(number, 'subject')} while the run lasted: {RESULTS} says why"
        for center in dict.fromkeys((*training, *testing))
        if (number := training.get(center, 0) + testing.get(center, 0))
    ]


def _cell(value: float | None, otherwise: str, name_width: int) -> str:
    return f"{otherwise if value is None else f'{value:.3f}':>{max(6, name_width)}}"

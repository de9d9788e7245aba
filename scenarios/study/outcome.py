"""What a study has found, as a person reads it at the terminal."""

from pathlib import Path

from scenarios.results.study import STUDY, MeanSd, Study, run_entry
from scenarios.study.plan import Cell
from shared.results import RunResults


def describe_run(cell: Cell, results: RunResults) -> str:
    """ACC and BWT of one run, in a few words. Raises `ResultsError` where its scores are missing."""
    run = run_entry(cell.method, cell.seed, cell.order_name, results.order, results.R)
    return f"ACC {run.acc:.3f}" if run.bwt is None else f"ACC {run.acc:.3f}, BWT {run.bwt:+.3f}"


def describe_study(study: Study, folder: Path) -> str:
    """ACC and BWT of each method, mean and standard deviation over its runs, and what is missing."""
    rows = [("method", "runs", "ACC", "BWT", "learning accuracy")]
    for method, summary in study.summary.items():
        cells = _spread(summary.acc, ""), _spread(summary.bwt, "+"), _spread(summary.learning_accuracy, "")
        rows.append((method, str(summary.runs), *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["Mean and standard deviation over the runs of each method:", ""]
    lines += ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [
        "",
        "ACC  mean test Dice over all centers of the last model; for single, of each center's own",
        "BWT  backward transfer; below zero, the model forgot",
    ]
    lines += [f"NOTE {run.name} is missing: {run.reason}" for run in study.missing]
    gaps = [run.name for run in study.runs if run.method != "single" and run.gaps]
    if gaps:
        lines.append(f"NOTE the means leave out cells without a score, in {', '.join(gaps)}")
    lines += ["", f"study   {folder / STUDY}"]
    return "\n".join(lines)


def _spread(spread: MeanSd | None, sign: str) -> str:
    if spread is None:
        return "-"
    mean = f"{spread.mean:{sign}.3f}"
    return mean if spread.sd is None else f"{mean} ± {spread.sd:.3f}"

"""Studies over two centers, of which every run ends with the ACC and BWT that a test names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenarios.results.study import ANY_ORDER, Costs, RunEntry, Study, run_entry
from shared.methods import spec_of
from tests.support.results import COUNTED, make_results, make_stage

CENTERS = ("here", "there")


def make_run(
    method: str,
    seed: int,
    acc: float,
    bwt: float = 0.0,
    order_name: str = "descending",
    far: float | None = None,
    **costs: Any,
) -> RunEntry:
    """A run of this ACC and, where one model goes from center to center, BWT; `far` is its score at an evaluator."""
    if method in ("pooled", "fedavg"):
        r: list[list[float | None]] = [[acc, acc]]
    elif method == "single":
        r = [[acc, 0.1], [0.1, acc]]
    else:
        r = [[acc - bwt, 0.1], [acc, acc]]
    name = ANY_ORDER if spec_of(method).order_free else order_name
    order = CENTERS[::-1] if name == "random-1" else CENTERS
    evaluated = None if far is None else (("far",), [[far]] * len(r))
    return run_entry(method, seed, name, order, r, Costs(**costs), evaluated)


def make_study(runs: Sequence[RunEntry], **changes: Any) -> Study:
    """The study that these runs make."""
    return Study(
        **{
            "title": "A study of tests",
            "created": "2026-11-24T12:00:00+00:00",
            "methods": tuple(dict.fromkeys(run.method for run in runs)),
            "seeds": tuple(dict.fromkeys(run.seed for run in runs)),
            "orders": tuple(dict.fromkeys(run.order_name for run in runs if run.order_name != ANY_ORDER)),
            "centers": CENTERS,
            "settings": {},
            "versions": {},
            "runs": tuple(runs),
        }
        | changes
    )


def study_of(accs: Mapping[str, Sequence[float]], bwts: Mapping[str, Sequence[float]] | None = None) -> Study:
    """One run a value, with seeds 0, 1, ...; BWT is 0 where nothing else is said."""
    runs = [
        make_run(method, seed, acc, (bwts or {}).get(method, [0.0] * len(values))[seed])
        for method, values in accs.items()
        for seed, acc in enumerate(values)
    ]
    return make_study(runs)


def write_run(folder: Path, run: RunEntry, tests: int = 2, **changes: Any) -> None:
    """`results.json` of a run, with so many test images a center, all of the score that R has."""
    folder.mkdir(parents=True, exist_ok=True)
    counted = dict(zip(COUNTED, (1, 2, 3, 4), strict=True))
    written: dict[str, Any] = {
        "method": run.method,
        "seed": run.seed,
        "bwt": run.bwt,
        "settings": {"order": "descending", "data-dir": "", "steps": 3, "seed": run.seed, "method": run.method},
        "versions": {"python": "3.11"},
        "stages": [make_stage(i, run.order[i] if len(run.R) > 1 else "all", **counted) for i in range(len(run.R))],
        "test_scores": [
            {"stage": i, "center": center, "subject": f"{center}-{n}", "contrast": "FLAIR", "dice": cell, "recall": 0.5}
            for i, row in enumerate(zip(run.R, run.R_evaluators or [()] * len(run.R), strict=True))
            for center, cell in zip((*run.order, *run.evaluators), (*row[0], *row[1]), strict=True)
            if cell is not None
            for n in range(tests)
        ],
    }
    if run.evaluators:
        evaluated = "evaluators", "R_evaluators", "acc_evaluators"
        written |= {key: getattr(run, key) for key in evaluated}
    (folder / "results.json").write_bytes(make_results(run.order, run.R, **written | changes).to_json())

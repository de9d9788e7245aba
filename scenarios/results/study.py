"""`study.json`: methods x orders x seeds, each with its matrix R, and what they come to.

`wardround compare` writes it, and the report reads nothing else of a study but the folders
of the runs that it names.

Some methods do not depend on the order of the visits (`order_free` in shared/methods.py): their models are
trained by each center alone, or by all at once. They run once a seed, under the order name
`any`, and stand beside every order of that seed. (Another order of visits would draw other
random numbers, and so give other bits, but not another experiment.)
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from shared.errors import ResultsError
from shared.files import write_whole
from shared.json_object import damaged, read_object
from shared.methods import spec_of
from shared.metrics.transfer import accuracy, backward_transfer, intransigence, learning_accuracy, mean_known

FORMAT: Final = 1
STUDY = "study.json"

ANY_ORDER = "any"
"""The order name of a run whose method does not depend on the order."""


Dice = Annotated[float, Field(ge=0, le=1)]
Matrix = Sequence[Sequence[float | None]]


class Entry(BaseModel):
    """A part of `study.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RunEntry(Entry):
    """One run: a method with a seed, over one order of the centers."""

    method: str
    seed: int
    order_name: str
    """`descending`, `random-0` and so on, or `any`."""
    order: tuple[str, ...] = Field(min_length=1)
    """The centers as they were visited; rows and columns of R go by it."""
    R: tuple[tuple[Dice | None, ...], ...]
    """Test Dice at each center (column) after each stage (row), one row where all train at once; null: missing,
    or not asked for."""
    not_asked: int = Field(default=0, ge=0)
    """How many cells of R are null because the run did not ask for them (`tested-others`)."""
    evaluators: tuple[str, ...] = ()
    """Centers that were tested and never trained on."""
    R_evaluators: tuple[tuple[Dice | None, ...], ...] = ()
    """As R, with the evaluators for columns; empty where there is none."""
    acc_evaluators: Dice | None = None
    """Mean test Dice over the evaluators of the last model, and for `single` of all centers' models; null where there
    is no score."""
    acc: Dice
    """Mean test Dice over the centers of the model that each center ends up with: the last
    row of R, and for `single`, whose centers keep their own models, its diagonal."""
    bwt: float | None
    """Backward transfer, the paper's A.1.2; null where no model went from center to center."""
    learning_accuracy: float | None
    """Mean diagonal of R; null where R has one row."""
    folder: str = ""
    """The run's results folder, relative to the study's; empty where there is none."""
    seconds: float | None = None
    """Wall time of the whole command, all its attempts together."""
    training_seconds: float | None = None
    bytes_moved: int | None = None
    """Contents of the messages to and from hospitals, as the server counted them."""
    peak_mb: float | None = None
    """Most memory of all the run's processes together (proportional set size), sampled; 1 MB = 1e6 bytes."""

    @model_validator(mode="after")
    def _shape(self) -> Self:
        if len(self.R) not in (1, len(self.order)) or any(len(row) != len(self.order) for row in self.R):
            raise ValueError(f"R must have {len(self.order)} columns, and as many rows or one")
        if self.evaluators and len(self.R_evaluators) != len(self.R):
            raise ValueError("R_evaluators must have as many rows as R")
        if any(len(row) != len(self.evaluators) for row in self.R_evaluators):
            raise ValueError(f"R_evaluators must have {len(self.evaluators)} columns")
        return self

    @property
    def gaps(self) -> int:
        """How many cells of R were asked for and are missing."""
        return sum(cell is None for row in self.R for cell in row) - self.not_asked

    @property
    def name(self) -> str:
        """What the run is called: `replay-descending-seed0`."""
        return cell_name(self.method, self.order_name, self.seed)


class Missing(Entry):
    """A run that the study lacks, and why."""

    method: str
    seed: int
    order_name: str
    reason: str

    @property
    def name(self) -> str:
        """What the run is called, as in `RunEntry`."""
        return cell_name(self.method, self.order_name, self.seed)


class MeanSd(Entry):
    """Some values, their mean, and their standard deviation (n - 1; null where there is one value)."""

    mean: float
    sd: float | None
    values: tuple[float, ...]


class MethodSummary(Entry):
    """What the runs of one method come to."""

    runs: int
    acc: MeanSd
    acc_is: Literal["mean of the last row of R", "mean of the diagonal of R"]
    bwt: MeanSd | None
    learning_accuracy: MeanSd | None
    intransigence: MeanSd | None
    """Over the runs whose seed was also run with pooled training."""
    acc_evaluators: MeanSd | None


class Study(Entry):
    """All of `study.json`."""

    format: Literal[1] = FORMAT
    title: str
    created: str
    """Date and time, ISO 8601 with the time zone."""
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    orders: tuple[str, ...]
    """Names of the orders, without `any`."""
    centers: tuple[str, ...]
    settings: dict[str, str | int | float | bool]
    """The run-config that all runs have in common."""
    versions: dict[str, str]
    runs: tuple[RunEntry, ...]
    missing: tuple[Missing, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> dict[str, MethodSummary]:
        """Each method that has runs, in the order of `methods`."""
        of = {method: [run for run in self.runs if run.method == method] for method in self.methods}
        return {method: summarise(runs, self.intransigence) for method, runs in of.items() if runs}

    def intransigence(self, run: RunEntry) -> float | None:
        """How far a run's diagonal is below pooled training of the same seed (shared/metrics/transfer.py).

        None where the study has no such run, or where the run has no diagonal.
        """
        pooled = next((o for o in self.runs if spec_of(o.method).course == "pooled" and o.seed == run.seed), None)
        if pooled is None or len(run.R) != len(run.order) or set(run.order) != set(pooled.order):
            return None
        scores = dict(zip(pooled.order, pooled.R[-1], strict=True))
        return _number(intransigence(run.R, [scores[center] for center in run.order]))


def cell_name(method: str, order_name: str, seed: int) -> str:
    """`replay-descending-seed0`; without the order where the method does not depend on it."""
    return "-".join(part for part in (method, order_name, f"seed{seed}") if part != ANY_ORDER)


def final_accuracy(method: str, r: Matrix) -> float:
    """ACC as it compares between methods: see `RunEntry.acc`. NaN where no cell of it is known."""
    if spec_of(method).fresh:
        return learning_accuracy(r)
    return accuracy(r) if len(r) > 1 else mean_known(r[0])


def evaluator_scores(run: RunEntry) -> dict[str, float | None]:
    """Test Dice at each evaluator in the end: of the last model, and for `single` the mean over all centers' models."""
    rows = run.R_evaluators if spec_of(run.method).fresh else run.R_evaluators[-1:]
    return {name: _number(mean_known([row[i] for row in rows])) for i, name in enumerate(run.evaluators)}


def run_entry(
    method: str,
    seed: int,
    order_name: str,
    order: Sequence[str],
    r: Matrix,
    costs: "Costs | None" = None,
    evaluated: tuple[Sequence[str], Matrix] | None = None,
) -> RunEntry:
    """A run with what its matrix says; `evaluated` are its evaluators and what they measured.

    Raises `ResultsError` where the scores for its ACC are all missing.
    """
    acc = final_accuracy(method, r)
    if np.isnan(acc):
        raise ResultsError(
            f"{cell_name(method, order_name, seed)} has no test score that its ACC could be made of: "
            "ask for the missing ones by 'wardround evaluate'"
        )
    square = len(r) == len(order)
    evaluators, beside = evaluated or ((), ())
    run = RunEntry(
        method=method,
        seed=seed,
        order_name=order_name,
        order=tuple(order),
        R=tuple(tuple(row) for row in r),
        evaluators=tuple(evaluators),
        R_evaluators=tuple(tuple(row) for row in beside) if evaluators else (),
        acc=acc,
        bwt=_number(backward_transfer(r)) if square and not spec_of(method).order_free else None,
        learning_accuracy=_number(learning_accuracy(r)) if square else None,
        **(costs or Costs()).model_dump(),
    )
    return run.model_copy(update={"acc_evaluators": _number(mean_known([*evaluator_scores(run).values()]))})


class Costs(Entry):
    """Where a run lies, what it took, and what it left out; the meanings are those of `RunEntry`."""

    folder: str = ""
    not_asked: int = 0
    seconds: float | None = None
    training_seconds: float | None = None
    bytes_moved: int | None = None
    peak_mb: float | None = None


def summarise(runs: Sequence[RunEntry], intransigence_of: Callable[[RunEntry], float | None]) -> MethodSummary:
    """What the runs of one method, at least one, come to."""
    return MethodSummary(
        runs=len(runs),
        acc=mean_sd([run.acc for run in runs]),
        acc_is="mean of the diagonal of R" if spec_of(runs[0].method).fresh else "mean of the last row of R",
        bwt=_of_known([run.bwt for run in runs]),
        learning_accuracy=_of_known([run.learning_accuracy for run in runs]),
        intransigence=_of_known([intransigence_of(run) for run in runs]),
        acc_evaluators=_of_known([run.acc_evaluators for run in runs]),
    )


def mean_sd(values: Sequence[float]) -> MeanSd:
    """Mean and standard deviation of at least one value."""
    return MeanSd(mean=fmean(values), sd=stdev(values) if len(values) > 1 else None, values=tuple(values))


def write_study(folder: Path, study: Study) -> Path:
    """Write `study.json` whole and return its path. Raises `ResultsError` where the disk refuses."""
    path = folder / STUDY
    try:
        write_whole(path, (study.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be written ({error.strerror or error}): free or choose another disk"
        ) from None
    return path


def read_study(folder: Path) -> Study:
    """The study in a folder. Raises `ResultsError` where there is none, or it is damaged or of another format."""
    path = folder / STUDY
    content = read_object(path, "the folder that 'wardround compare' wrote", _MEND)
    if "format" not in content:
        raise ResultsError(f"{path} is damaged (it is not what a study writes): {_MEND}")
    if content["format"] != FORMAT:
        raise ResultsError(
            f"{path} has format {content['format']!r}, but this Wardround reads {FORMAT}: use the one that wrote it"
        )
    content.pop("summary", None)  # it follows from the runs
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise damaged(path, error, _MEND) from None


_MEND = "delete it, and 'wardround compare' with the same folder writes it again"


def _of_known(values: Sequence[float | None]) -> MeanSd | None:
    known = [value for value in values if value is not None]
    return mean_sd(known) if known else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value

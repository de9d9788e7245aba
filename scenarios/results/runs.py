"""Folders of single runs, read as a study."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from scenarios.results.study import ANY_ORDER, Costs, RunEntry, Study, run_entry
from shared.errors import ResultsError
from shared.methods import spec_of
from shared.results import RunResults, read_results


def study_of_runs(folders: Sequence[Path], now: datetime) -> Study:
    """The study that some finished runs make. Raises `ResultsError` where they do not belong together."""
    read = {folder.absolute(): read_results(folder) for folder in folders}
    centers = [tuple(sorted(results.order)) for results in read.values()]
    if len(set(centers)) > 1:
        first, other = (list(read)[i] for i in (0, next(i for i, c in enumerate(centers) if c != centers[0])))
        raise ResultsError(f"{first} and {other} visited different centers: report on each of them by itself")
    names = _order_names(list(read.values()))
    runs = tuple(_entry(folder, results, names) for folder, results in read.items())
    keys = [run.name for run in runs]
    if twice := next((run for run in runs if keys.count(run.name) > 1), None):
        same = " and ".join(run.folder for run in runs if run.name == twice.name)
        raise ResultsError(f"{same} are runs of one method, order and seed: give one of them")
    settings = [results.settings for results in read.values()]
    return Study(
        title=_title(runs),
        created=now.isoformat(timespec="seconds"),
        methods=tuple(dict.fromkeys(run.method for run in runs)),
        seeds=tuple(dict.fromkeys(run.seed for run in runs)),
        orders=tuple(dict.fromkeys(run.order_name for run in runs if run.order_name != ANY_ORDER)),
        centers=runs[0].order,
        settings={key: value for key, value in settings[0].items() if all(one.get(key) == value for one in settings)},
        versions=_common([results.versions for results in read.values()]),
        runs=runs,
    )


def bytes_moved(results: RunResults) -> int | None:
    """Bytes of the messages' contents to and from the hospitals, in all stages of a run.

    None for pooled training, which would have to move the images themselves.
    """
    return None if spec_of(results.method).course == "pooled" else sum(stage.moved_bytes for stage in results.stages)


def _entry(folder: Path, results: RunResults, names: dict[tuple[str, ...], str]) -> RunEntry:
    history = results.history
    costs = Costs(
        folder=str(folder),
        not_asked=results.not_asked,
        # An extended run's earlier stages were another run's. An attempt whose end was not recorded counts as none.
        seconds=None
        if history.extends or not history.attempts
        else sum(one.seconds or 0.0 for one in history.attempts),
        training_seconds=results.training_seconds,
        bytes_moved=None if history.extends else bytes_moved(results),
    )
    name = ANY_ORDER if spec_of(results.method).order_free else names[results.order]
    return entry_of(results, name, costs)


def entry_of(results: RunResults, order_name: str, costs: Costs | None = None) -> RunEntry:
    """A run as a study has it. Raises `ResultsError` where the scores for its ACC are all missing."""
    evaluated = results.evaluators, results.R_evaluators
    return run_entry(results.method, results.seed, order_name, results.order, results.R, costs, evaluated)


def _order_names(read: Sequence[RunResults]) -> dict[tuple[str, ...], str]:
    """What each order is called: as its run's setting says, or by number where there are several."""
    orders = {one.order: str(one.settings.get("order", "given")) for one in reversed(read)}
    orders = dict(reversed(orders.items()))
    if len(orders) == 1:
        return orders
    return {order: f"order-{i}" for i, order in enumerate(orders, 1)}


def _title(runs: Sequence[RunEntry]) -> str:
    if len(runs) == 1:
        return f"{spec_of(runs[0].method).title}, seed {runs[0].seed}"
    return (
        f"{len(runs)} runs of {', '.join(spec_of(method).term for method in dict.fromkeys(run.method for run in runs))}"
    )


def _common(found: Sequence[dict[str, str]]) -> dict[str, str]:
    """Versions; where runs differ, all of them."""
    return {
        name: " / ".join(dict.fromkeys(one[name] for one in found if name in one))
        for name in dict.fromkeys(name for one in found for name in one)
    }

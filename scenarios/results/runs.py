"""Folders of single runs, read as a study."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from scenarios.report.style import look_of
from scenarios.results.bytes_moved import bytes_moved
from scenarios.results.study import ANY_ORDER, ORDER_FREE, Costs, RunEntry, Study, run_entry
from shared.errors import ResultsError
from shared.paths import RESULTS
from shared.results import MEND, read_results


def study_of_runs(folders: Sequence[Path], now: datetime) -> Study:
    """The study that some finished runs make. Raises `ResultsError` where they do not belong together."""
    read = {folder.absolute(): read_results(folder) for folder in folders}
    centers = [tuple(sorted(results["order"])) for results in read.values()]
    if len(set(centers)) > 1:
        first, other = (list(read)[i] for i in (0, next(i for i, c in enumerate(centers) if c != centers[0])))
        raise ResultsError(f"{first} and {other} visited different centers: report on each of them by itself")
    names = _order_names(list(read.values()))
    runs = tuple(_entry(folder, results, names) for folder, results in read.items())
    keys = [run.name for run in runs]
    if twice := next((run for run in runs if keys.count(run.name) > 1), None):
        same = " and ".join(run.folder for run in runs if run.name == twice.name)
        raise ResultsError(f"{same} are runs of one method, order and seed: give one of them")
    settings = [results.get("settings", {}) for results in read.values()]
    return Study(
        title=_title(runs),
        created=now.isoformat(timespec="seconds"),
        methods=tuple(dict.fromkeys(run.method for run in runs)),
        seeds=tuple(dict.fromkeys(run.seed for run in runs)),
        orders=tuple(dict.fromkeys(run.order_name for run in runs if run.order_name != ANY_ORDER)),
        centers=runs[0].order,
        settings={key: value for key, value in settings[0].items() if all(one.get(key) == value for one in settings)},
        versions=_common([results.get("versions", {}) for results in read.values()]),
        runs=runs,
    )


def _entry(folder: Path, results: dict[str, Any], names: dict[tuple[str, ...], str]) -> RunEntry:
    order, method = tuple(results["order"]), results["method"]
    attempts = results.get("history", {}).get("attempts", [])
    extends = results.get("history", {}).get("extends")
    try:
        costs = Costs(
            folder=str(folder),
            not_asked=results.get("not_asked", 0),
            # An extended run's earlier stages were another run's.
            seconds=None if extends or not attempts else sum(map(_lasted, attempts)),
            training_seconds=sum(stage["training_seconds"] for stage in results["stages"]),
            bytes_moved=None if extends else bytes_moved(results),
        )
        name = ANY_ORDER if method in ORDER_FREE else names[order]
        return run_entry(method, results["seed"], name, order, results["R"], costs)
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ResultsError(f"{folder / RESULTS} is damaged ({reason}): {MEND}") from None


def _lasted(attempt: dict[str, Any]) -> float:
    """Seconds; an attempt that ended without a word lasted nobody knows how long."""
    if attempt.get("ended") is None:
        return 0.0
    return (datetime.fromisoformat(attempt["ended"]) - datetime.fromisoformat(attempt["started"])).total_seconds()


def _order_names(read: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], str]:
    """What each order is called: as its run's setting says, or by number where there are several."""
    orders = {tuple(one["order"]): one.get("settings", {}).get("order", "given") for one in reversed(read)}
    orders = dict(reversed(orders.items()))
    if len(orders) == 1:
        return orders
    return {order: f"order-{i}" for i, order in enumerate(orders, 1)}


def _title(runs: Sequence[RunEntry]) -> str:
    if len(runs) == 1:
        return f"{look_of(runs[0].method).name}, seed {runs[0].seed}"
    return (
        f"{len(runs)} runs of {', '.join(look_of(method).noun for method in dict.fromkeys(run.method for run in runs))}"
    )


def _common(found: Sequence[dict[str, str]]) -> dict[str, str]:
    """Versions; where runs differ, all of them."""
    return {
        name: " / ".join(dict.fromkeys(str(one[name]) for one in found if name in one))
        for name in dict.fromkeys(name for one in found for name in one)
    }

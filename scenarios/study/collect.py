"""From the results of a study's runs to `study.json`."""

from collections.abc import Mapping
from pathlib import Path

from scenarios.results.runs import bytes_moved, entry_of
from scenarios.results.study import Costs, Missing, RunEntry, Study
from scenarios.study.plan import Cell, StudyPlan
from scenarios.study.run_folder import RUNS, CellFolder
from shared.config.settings import CIRCUMSTANCES
from shared.errors import ResultsError
from shared.results import RunResults, read_results

NOT_YET = "not run yet"


def collect(folder: Path, plan: StudyPlan, failed: Mapping[str, str]) -> Study:
    """All that the runs of a study have found so far; `failed` gives reasons by name.

    A run whose results cannot be used is a missing one, with the reason.
    """
    runs: list[RunEntry] = []
    missing: list[Missing] = []
    versions: dict[str, list[str]] = {}
    for cell in plan.cells():
        place = CellFolder(folder, cell.name)
        reason = failed.get(cell.name, NOT_YET)
        if place.state == "finished":
            try:
                results = finished_results(place, cell)
                runs.append(_entry(place, cell, results))
                for name, version in results.versions.items():
                    if version not in versions.setdefault(name, []):
                        versions[name].append(version)
                continue
            except ResultsError as error:
                reason = str(error)
        missing.append(Missing(method=cell.method, seed=cell.seed, order_name=cell.order_name, reason=reason))
    return Study(
        title=plan.title,
        created=plan.created,
        methods=plan.methods,
        seeds=plan.seeds,
        orders=plan.order_names,
        centers=plan.centers,
        settings=plan.common,
        versions={name: " and ".join(found) for name, found in versions.items()},
        runs=tuple(runs),
        missing=tuple(missing),
    )


def finished_results(place: CellFolder, cell: Cell) -> RunResults:
    """`results.json` of a finished run. Raises `ResultsError` where it is damaged, or of another run."""
    results = read_results(place.run)
    theirs, ours = results.settings, cell.settings.to_run_config()
    differs = [
        f"{key} = {theirs.get(key)!r} there, {value!r} in the plan"
        for key, value in ours.items()
        if key not in CIRCUMSTANCES and theirs.get(key) != value
    ]
    if differs:
        raise ResultsError(f"{place.run} holds another run ({'; '.join(differs)}): move it away, and run again")
    return results


def _entry(place: CellFolder, cell: Cell, results: RunResults) -> RunEntry:
    record = place.read_record()
    costs = Costs(
        folder=f"{RUNS}/{place.name}",
        not_asked=results.not_asked,
        seconds=record.seconds,
        training_seconds=results.training_seconds,
        bytes_moved=bytes_moved(results),
        peak_mb=record.peak_mb,
    )
    return entry_of(results, cell.order_name, costs)

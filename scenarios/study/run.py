"""Running what a study lacks, on this machine or a cluster, and keeping what it finds as it comes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from scenarios.processes.ray_address import cluster_address
from scenarios.processes.resources import free_mb
from scenarios.processes.tree import signals_raise
from scenarios.results.study import Study, write_study
from scenarios.study.capacity import AUTO, Asked, Capacity, choose_jobs, expected_gpu_mb, expected_mb
from scenarios.study.collect import collect, finished_results
from scenarios.study.executor import StudyProgress, StudyWork, seconds_of_methods
from scenarios.study.plan import Cell, StudyPlan
from scenarios.study.ray_cluster import Need, cluster_workers
from scenarios.study.run_folder import CellFolder
from scenarios.study.terminal import describe_run, watching
from scenarios.study.worker import Task, Workers, local_workers
from server.tracking import check_tracking
from shared.config.settings import Settings
from shared.cores import cores_here
from shared.errors import LaunchError, ResultsError


@dataclass(frozen=True)
class Share:
    """What the command line says of the machines; None where it leaves that to us."""

    jobs: Asked = None
    gpus: float | None = None


def run_study(folder: Path, plan: StudyPlan, share: Share, say: Callable[[str], None]) -> Study:
    """Do the runs that the study in `folder` lacks, and return what it has found.

    `study.json` is written anew after each run. Whatever ends this, no run goes on without it.
    """
    cells = plan.cells()
    places = {cell.name: CellFolder(folder, cell.name) for cell in cells}
    waiting = [cell for cell in cells if places[cell.name].state != "finished"]
    if not waiting:
        found = collect(folder, plan, {})
        write_study(folder, found)
        return found
    check_tracking(cells[0].settings)
    from scenarios.simulation.hospitals import prepare_hospitals  # Flower takes seconds, which --help need not wait for

    prepare_hospitals(cells[0].settings, say)
    for cell in waiting:
        places[cell.name].prepare(cell)
    with signals_raise(), _workers(folder, plan, share, places, say) as (workers, cores):
        say(f"{len(waiting)} of {len(cells)} runs to do, {workers.slots} at once, in {folder}")
        records = [(cell, places[cell.name].read_record()) for cell in cells if cell not in waiting]
        progress = StudyProgress(cells, workers.slots, waiting, seconds=seconds_of_methods(records))

        def keep() -> Study:
            found = collect(folder, plan, progress.failed)
            write_study(folder, found)
            return found

        def task(cell: Cell) -> Task:
            return Task(places[cell.name], plan.cpus, cores, share.gpus)

        def reached(cell: Cell) -> str:
            return _reached(places[cell.name], cell)

        try:
            with watching(progress, folder, reached, Console()) as watch:
                StudyWork(progress, workers, task, watch, keep).all()
        finally:
            found = keep()
    return found


@contextmanager
def _workers(
    folder: Path, plan: StudyPlan, share: Share, places: dict[str, CellFolder], say: Callable[[str], None]
) -> Iterator[tuple[Workers, int]]:
    """Who does the runs, and the cores of each run."""
    settings = plan.cells()[0].settings
    records = [place.read_record() for place in places.values()]
    if address := cluster_address():
        memory = expected_mb(settings, 1, records)

        def need(gpus: bool) -> Need:
            return Need(plan.cpus, memory, float(gpus) if share.gpus is None else share.gpus)

        with cluster_workers(address, folder, need, None if share.jobs == AUTO else share.jobs) as workers:
            yield workers, plan.cpus
        return
    gpus = _gpus() if share.gpus != 0 and settings.training.device != "cpu" else ()
    machine = Capacity(cores_here(), free_mb(), free_gpu_mb(gpus) if gpus else ())
    of_gpu = expected_gpu_mb(settings, count_volumes(settings)) if gpus else 0.0
    jobs = choose_jobs(share.jobs, plan.cpus, machine, lambda actors: expected_mb(settings, actors, records), of_gpu)
    if jobs.note:
        say(jobs.note)
    with local_workers(jobs.slots, gpus) as local:
        yield local, jobs.cores


def _reached(place: CellFolder, cell: Cell) -> str:
    try:
        return describe_run(cell, finished_results(place, cell))
    except ResultsError as error:
        return str(error)


def _gpus() -> tuple[str, ...]:
    """The GPUs that the user lets us see, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # takes seconds, which --help and a wrong key need not wait for

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count] or map(str, range(count)))


# Asked in a process of its own: whoever asks holds some of that memory until it ends.
_ASK_FREE = """
import torch
for number in range(torch.cuda.device_count()):
    print(torch.cuda.mem_get_info(number)[0])
"""


def free_gpu_mb(gpus: Sequence[str], ask: Sequence[str] = (sys.executable, "-c", _ASK_FREE)) -> tuple[float, ...]:
    """Free memory of each of these GPUs, in units of 1e6 bytes.

    Raises `LaunchError` where CUDA cannot be used.
    """
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    asked = subprocess.run(ask, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if asked.returncode != 0:
        last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LaunchError(f"the memory of the GPUs cannot be read ({last}): run with --gpus 0, or mend CUDA")
    return tuple(int(line) / 1e6 for line in asked.stdout.split())


def count_volumes(settings: Settings) -> int:
    """The volumes of all centers that train: the most that a run keeps at once, as pooled training does."""
    from client.data.layouts import find_cases
    from scenarios.simulation.hospitals import data_of, phantom_settings, subject_count
    from shared.phantoms.centers import profile

    data, centers = settings.data, settings.run.centers
    if data.data_dir:
        own = [data_of(Path(data.data_dir) / center, data.contrasts) for center in centers]
        return sum(len(find_cases(one.folder, data.contrasts, one.layout, one.choice)) for one in own)
    phantoms = phantom_settings(data)
    kept = [len(set(data.contrasts) & set(profile(center).contrasts)) for center in centers]
    return sum(contrasts * subject_count(center, phantoms) for contrasts, center in zip(kept, centers, strict=True))

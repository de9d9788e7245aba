"""Writing simulated hospitals into a folder of the user's: what is planned, what it costs, and going on with it.

The folder says by a file of its own how it was made, and only such a folder is written to again.
"""

import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scenarios.simulation.bids_writer import HospitalDraft, writing
from shared.errors import DataError, ResultsError
from shared.files import write_whole
from shared.paths import LOCK, claimed
from shared.phantoms.centers import CenterProfile
from shared.phantoms.settings import VERSION, PhantomSettings
from shared.phantoms.variation import draw_grids

MANIFEST = "simulation.json"

SECONDS_A_MEGAVOXEL = 0.5
SECONDS_A_PROCESS = 6.0
BYTES_A_VOXEL = 0.5
"""Image and label, compressed. Like the seconds (of one core) measured for bwh and milan at 1 and 2 mm, rounded up."""


@dataclass(frozen=True)
class Simulation:
    """A set of hospitals to be written."""

    folder: Path
    centers: tuple[CenterProfile, ...]
    settings: PhantomSettings

    def subjects(self, center: CenterProfile) -> int:
        """How many a center has."""
        return self.settings.subjects(center.subjects)

    @property
    def all_subjects(self) -> int:
        """Over all centers."""
        return sum(map(self.subjects, self.centers))

    def draft(self, center: CenterProfile) -> HospitalDraft:
        """What writes a center."""
        return HospitalDraft(self.folder / center.name, center, self.settings)

    def describe(self) -> dict[str, Any]:
        """What makes it this set and no other, as JSON has it."""
        settings = {"spacing": self.settings.spacing, "scale": self.settings.scale, "seed": self.settings.seed}
        centers = [asdict(center) | {"subjects": self.subjects(center)} for center in self.centers]
        content = {"made by": "wardround simulate", "version": VERSION, **settings, "centers": centers}
        described: dict[str, Any] = json.loads(json.dumps(content))
        return described


@dataclass(frozen=True)
class Cost:
    """What is still to be made."""

    subjects: int
    seconds: float
    """On `jobs` cores that nothing else uses."""
    nbytes: int
    jobs: int


def cost_of(simulation: Simulation) -> Cost:
    """Return what making the rest will take, by what a voxel took when it was measured."""
    subjects, voxels = 0, 0
    for center in simulation.centers:
        missing = simulation.draft(center).missing()
        subjects += len(missing)
        for subject in missing:
            _, stored = draw_grids(center, subject, simulation.settings.spacing, simulation.settings.seed)
            voxels += math.prod(stored.shape)
    jobs = max(1, min(os.cpu_count() or 1, subjects))
    seconds = voxels / 1e6 * SECONDS_A_MEGAVOXEL / jobs + (SECONDS_A_PROCESS if subjects else 0)
    return Cost(subjects, seconds, int(voxels * BYTES_A_VOXEL), jobs)


@contextmanager
def simulating(simulation: Simulation) -> Iterator[None]:
    """Have the folder for oneself, new or made by the same simulation.

    Raises `ResultsError` where it holds something else, another simulation, or is in use or full.
    """
    folder = simulation.folder
    try:
        there = [path for path in folder.iterdir() if path.name != LOCK] if folder.exists() else []
        if there and not (folder / MANIFEST).is_file():
            raise ResultsError(
                f"{folder} holds {there[0].name}, which wardround simulate did not make: choose a new or empty folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{folder} cannot be written ({error.strerror or error}): choose another folder") from None
    with claimed(folder, "folder", "simulation"):
        _check_manifest(simulation)
        yield


def _check_manifest(simulation: Simulation) -> None:
    """Write what the folder holds, or make sure that it is what is asked for. Raises `ResultsError`."""
    path, wanted = simulation.folder / MANIFEST, simulation.describe()
    if not path.exists():
        with writing(path):
            write_whole(path, (json.dumps(wanted, indent=2) + "\n").encode())
        return
    try:
        there = json.loads(path.read_text())
        differing = [key for key in wanted if there.get(key) != wanted[key]]
    except (OSError, ValueError, AttributeError) as error:
        raise ResultsError(f"{path} cannot be read ({error}): choose a new folder") from None
    if differing:
        key = differing[0]
        what = f"{key} is {there.get(key)!r} there and {wanted[key]!r} here" if key != "centers" else "other centers"
        raise ResultsError(f"{simulation.folder} holds another simulation ({what}): choose a new folder")


def check_space(simulation: Simulation, cost: Cost) -> None:
    """Raise `ResultsError` where the disk has not the room."""
    free = shutil.disk_usage(simulation.folder).free
    if free < cost.nbytes:
        raise ResultsError(
            f"{simulation.folder} has {free / 1e9:.1f} GB free, and the images need about {cost.nbytes / 1e9:.1f} GB: "
            "free some, choose a folder on another disk, or a smaller --scale or larger --spacing"
        )


def make_all(simulation: Simulation, jobs: int, hear: Callable[[CenterProfile, int, int], None]) -> None:
    """Make every subject that is missing, and the list of all lesions. As `make_drafts`."""
    make_drafts([simulation.draft(center) for center in simulation.centers], jobs, hear, list_lesions=True)


def make_drafts(
    drafts: Sequence[HospitalDraft],
    jobs: int,
    hear: Callable[[CenterProfile, int, int], None],
    *,
    list_lesions: bool = False,
) -> None:
    """Make every subject that is missing, in `jobs` processes; `hear(center, done, all)` is told after each.

    Raises `DataError` where a disk refuses.
    """
    waiting: dict[Future[None], HospitalDraft] = {}
    missing = {draft.folder: draft.missing() for draft in drafts}
    left = {folder: len(subjects) for folder, subjects in missing.items()}
    total, done = sum(left.values()), 0
    # Fresh interpreters: a fork would copy the threads' locks of whatever is imported here.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for draft in drafts:
                for subject in missing[draft.folder]:
                    waiting[pool.submit(draft.write, subject)] = draft
            for future in as_completed(waiting):
                future.result()
                draft = waiting[future]
                done, left[draft.folder] = done + 1, left[draft.folder] - 1
                if not left[draft.folder]:
                    draft.finish(list_lesions=list_lesions)
                hear(draft.center, done, total)
        except BrokenProcessPool:
            raise DataError(
                "a process that made patients was ended (out of memory?): give the same command again to go on"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for draft in drafts:  # whose last subject an interrupted simulation had made
        if not draft.folder.is_dir():
            draft.finish(list_lesions=list_lesions)

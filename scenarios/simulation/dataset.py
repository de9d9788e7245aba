"""Writing simulated hospitals into a folder of the user's: what is planned, what it costs, and going on with it.

The folder says by a file of its own how it was made, and only such a folder is written to again. A center is a
hidden folder until it is whole; a subject in it is done when its note is there, so that nothing is made twice.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from scenarios.simulation.bids_writer import write_descriptions, write_patient, writing
from shared.errors import DataError, ResultsError
from shared.files import write_whole
from shared.phantoms.centers import CenterProfile
from shared.phantoms.grids import Grid
from shared.phantoms.settings import VERSION, PhantomSettings
from shared.phantoms.subject import make_patient

MANIFEST = "simulation.json"
LOCK = ".lock"
LESIONS = "lesions.tsv"
"""In a center's `derivatives/labels`: every lesion, with its place and volume."""
LESION_COLUMNS = ("participant_id", "contrast", "place", "ml")
NOTES = ".made"
"""In a center that is being made: a note for each subject that is whole."""

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
        spacing = simulation.settings.spacing
        x, y, z = Grid.covering((spacing, spacing, spacing * center.slice_ratio)).shape
        left = len(list(_missing(simulation, center)))
        subjects += left
        voxels += left * x * y * z
    jobs = max(1, min(os.cpu_count() or 1, subjects))
    seconds = voxels / 1e6 * SECONDS_A_MEGAVOXEL / jobs + (SECONDS_A_PROCESS if subjects else 0)
    return Cost(subjects, seconds, int(voxels * BYTES_A_VOXEL), jobs)


@contextmanager
def claimed(simulation: Simulation) -> Iterator[None]:
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
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise ResultsError(f"{folder} is being written by another simulation: wait for its end") from None
    except OSError as error:
        raise ResultsError(f"{folder} cannot be written ({error.strerror or error}): choose another folder") from None
    try:
        _check_manifest(simulation)
        yield
    finally:
        lock.release()


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
    """Make every subject that is missing, in `jobs` processes; `hear(center, done, all)` is told after each.

    Raises `DataError` where a disk refuses.
    """
    waiting: dict[Future[None], CenterProfile] = {}
    left = {center.name: len(list(_missing(simulation, center))) for center in simulation.centers}
    total, done = sum(left.values()), 0
    # Fresh interpreters: a fork would copy the threads' locks of whatever is imported here.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for center in simulation.centers:
                for subject in _missing(simulation, center):
                    waiting[pool.submit(make_subject, simulation, center, subject)] = center
            for future in as_completed(waiting):
                future.result()
                center = waiting[future]
                done, left[center.name] = done + 1, left[center.name] - 1
                hear(center, done, total)
                if not left[center.name]:
                    finish(simulation, center)
        except BrokenProcessPool:
            raise DataError(
                "a process that made patients was ended (out of memory?): give the same command again to go on"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for center in simulation.centers:  # whose last subject an interrupted simulation had made
        if not (simulation.folder / center.name).is_dir():
            finish(simulation, center)


def make_subject(simulation: Simulation, center: CenterProfile, subject: int) -> None:
    """Write one subject into its center's hidden folder, and last the note that says so."""
    partial, name = _partial(simulation, center), _name(subject)
    patient = make_patient(center, subject, simulation.settings.spacing, simulation.settings.seed)
    with writing(simulation.folder / center.name):
        for half in (partial / name, partial / "derivatives" / "labels" / name):
            shutil.rmtree(half, ignore_errors=True)  # left by a process that was killed
        (partial / NOTES).mkdir(parents=True, exist_ok=True)
        row = write_patient(partial, name, patient, center.orientation)
        lesions = [[name, patient.contrast, one.place, f"{one.ml:.4f}"] for one in patient.lesions]
        write_whole(_note(simulation, center, subject), json.dumps({"row": row, "lesions": lesions}).encode())


def finish(simulation: Simulation, center: CenterProfile) -> None:
    """Write what belongs to the whole center, and give its folder its name. Raises `DataError`."""
    partial, folder = _partial(simulation, center), simulation.folder / center.name
    with writing(folder):
        paths = [_note(simulation, center, subject) for subject in range(1, simulation.subjects(center) + 1)]
        notes = [json.loads(path.read_text()) for path in paths]
        write_descriptions(partial, center, simulation.settings, [note["row"] for note in notes])
        rows = [LESION_COLUMNS, *(lesion for note in notes for lesion in note["lesions"])]
        text = "".join("\t".join(row) + "\n" for row in rows)
        (partial / "derivatives" / "labels" / LESIONS).write_text(text)
        shutil.rmtree(partial / NOTES)
        partial.rename(folder)


def _missing(simulation: Simulation, center: CenterProfile) -> Iterator[int]:
    """The subjects that are not there yet."""
    if (simulation.folder / center.name).is_dir():
        return
    for subject in range(1, simulation.subjects(center) + 1):
        if not _note(simulation, center, subject).is_file():
            yield subject


def _partial(simulation: Simulation, center: CenterProfile) -> Path:
    return simulation.folder / f".{center.name}.partial"


def _note(simulation: Simulation, center: CenterProfile, subject: int) -> Path:
    return _partial(simulation, center) / NOTES / f"{_name(subject)}.json"


def _name(subject: int) -> str:
    return f"sub-{subject:03d}"

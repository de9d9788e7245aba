"""The simulated hospitals of a run: each a folder in the cache that is written once, whole or not at all.

Before anything starts, `prepare_hospitals` makes sure that every hospital of a scenario has its data.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock

from client.data.layouts import find_cases
from client.hospital.config import Data, Site
from scenarios.simulation.bids_writer import HospitalDraft, writing
from scenarios.simulation.dataset import make_drafts
from shared.config.groups import DataSettings
from shared.config.settings import Settings
from shared.cores import cores_here
from shared.paths import cache_folder, writable_folder
from shared.phantoms.centers import CenterProfile, profile
from shared.phantoms.settings import PhantomSettings


def phantom_settings(data: DataSettings) -> PhantomSettings:
    """How the simulated hospitals of a run are made."""
    return PhantomSettings(
        spacing=data.spacing, scale=data.phantom_scale, minimum_subjects=data.phantom_minimum, seed=data.phantom_seed
    )


def subject_count(center: str, settings: PhantomSettings) -> int:
    """Return how many subjects a simulated center has. Raises `SettingsError` for an unknown center."""
    return settings.subjects(profile(center).subjects)


def hospital_folder(center: str, settings: PhantomSettings, root: Path) -> Path:
    """Return where a center is, or would be, below `root`. Raises `SettingsError` for an unknown one."""
    return root / settings.digest() / profile(center).name


def make_hospital(
    center: str,
    settings: PhantomSettings,
    root: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Return a simulated center's BIDS folder, writing it if it is not there.

    The folder appears whole or not at all; of two processes that want it at once, one writes and the other
    waits. `progress(done, total)` is called after each subject written, and not at all when the folder is
    there. Raises `SettingsError` for an unknown center and `DataError` when the folder cannot be written.
    """
    draft = HospitalDraft(hospital_folder(center, settings, root), profile(center), settings)
    folder = draft.folder
    with writing(folder):
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder).acquire()
    with lock:
        if not folder.is_dir():  # else written while this process waited
            _write(draft, progress)
    return folder


def _locked(folder: Path) -> FileLock:
    """The lock of whoever writes a hospital; others may share the cache."""
    return FileLock(folder.with_name(f".{folder.name}.lock"), mode=0o666)


def _write(draft: HospitalDraft, progress: Callable[[int, int], None] | None) -> None:
    draft.discard()  # left by a run that was killed
    try:
        for subject in draft.subjects:
            draft.write(subject)
            if progress is not None:
                progress(subject, len(draft.subjects))
        draft.finish()
    finally:
        draft.discard()


def data_of(folder: Path, contrasts: tuple[str, ...]) -> Data:
    """What a center's folder below `data-dir` holds, as the `[data]` of a `hospital.toml` in it says.

    Without that file it is any data set with one label an image. Raises `SettingsError` or `TrustError` for the file.
    """
    file = folder / "hospital.toml"
    return Site.read(file).data if file.is_file() else Data(folder=folder, contrasts=contrasts)


def prepare_hospitals(settings: Settings, say: Callable[[str], None]) -> None:
    """Check the data folder of every center, or make the simulated hospitals that are missing.

    Raises `DataError` for a folder that is missing or empty, `ResultsError` where the cache
    cannot be written, `SettingsError` for a center that cannot be simulated.
    """
    data = settings.data
    if data.data_dir:
        for center in settings.run.participants:
            own = data_of(Path(data.data_dir) / center, data.contrasts)
            find_cases(own.folder, data.contrasts, own.layout, own.choice)
        return
    root = writable_folder(cache_folder(data.cache_dir) / "hospitals", "cache folder")
    phantoms = phantom_settings(data)
    missing = [center for center in settings.run.participants if not hospital_folder(center, phantoms, root).is_dir()]
    if missing:
        _make(missing, phantoms, root, say)


def _make(centers: list[str], phantoms: PhantomSettings, root: Path, say: Callable[[str], None]) -> None:
    """Make hospitals subject by subject, so that the largest does not keep the others waiting."""
    subjects = {center: subject_count(center, phantoms) for center in centers}
    say(f"making {len(centers)} simulated hospitals, {sum(subjects.values())} subjects, in {root}")
    started, left = time.monotonic(), dict(subjects)

    def hear(center: CenterProfile, done: int, total: int) -> None:
        left[center.name] -= 1
        if not left[center.name]:
            seconds = (time.monotonic() - started) / done * (total - done)
            made = sum(not number for number in left.values())
            say(
                f"made {center.name}, {subjects[center.name]} subjects ({made}/{len(left)}, about {seconds:.0f} s left)"
            )

    with ExitStack() as locks:
        drafts = []
        # In one order for all, or two processes that make the same ones could wait for each other.
        for center in sorted(centers):
            draft = HospitalDraft(hospital_folder(center, phantoms, root), profile(center), phantoms)
            with writing(draft.folder):
                draft.folder.parent.mkdir(parents=True, exist_ok=True)
                locks.enter_context(_locked(draft.folder))
            if draft.folder.is_dir():  # written while this process waited
                del left[center]
            else:
                draft.discard()  # left by a run that was killed
                locks.callback(draft.discard)
                drafts.append(draft)
        if drafts:
            drafts.sort(key=lambda draft: centers.index(draft.center.name))
            make_drafts(drafts, min(cores_here(), sum(left.values())), hear)

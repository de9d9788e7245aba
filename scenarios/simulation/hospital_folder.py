"""A simulated hospital on disk: a BIDS data set that is written once, whole or not at all."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scenarios.simulation.bids_writer import write_descriptions, write_patient, writing
from shared.phantoms.centers import profile
from shared.phantoms.settings import PhantomSettings
from shared.phantoms.subject import make_patient


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
    hospital = profile(center)
    folder = hospital_folder(center, settings, root)
    total = subject_count(center, settings)
    with writing(folder):
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_name(f".{hospital.name}.lock"), folder):
        if folder.is_dir():  # written while this process waited
            return folder
        partial = folder.with_name(f".{hospital.name}.partial")
        try:
            with writing(folder):
                shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
                partial.mkdir()
            rows = []
            for subject in range(1, total + 1):
                patient = make_patient(hospital, subject, settings.spacing, settings.seed)
                with writing(folder):
                    rows.append(write_patient(partial, f"sub-{subject:03d}", patient, hospital.orientation))
                if progress is not None:
                    progress(subject, total)
            with writing(folder):
                write_descriptions(partial, hospital, settings, rows)
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


@contextmanager
def _lock(path: Path, folder: Path) -> Iterator[None]:
    """Hold a file's lock, waiting for it; the file stays: removing it would let a third process in."""
    with writing(folder):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with writing(folder):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

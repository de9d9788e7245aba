"""Making sure, before anything starts, that every hospital of a scenario has its data."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from client.data.layouts import find_cases
from scenarios.simulation.hospital_folder import hospital_folder, make_hospital, subject_count
from scenarios.simulation.sites import phantom_settings
from shared.config.settings import Settings
from shared.errors import DataError
from shared.paths import cache_folder, writable_folder
from shared.phantoms.settings import PhantomSettings


def prepare_hospitals(settings: Settings, say: Callable[[str], None]) -> None:
    """Check the data folder of every center, or make the simulated hospitals that are missing.

    Raises `DataError` for a folder that is missing or empty, `ResultsError` where the cache
    cannot be written, `SettingsError` for a center that cannot be simulated.
    """
    data = settings.data
    if data.data_dir:
        for center in settings.run.centers:
            find_cases(Path(data.data_dir) / center, data.contrasts)
        return
    root = writable_folder(cache_folder(data.cache_dir) / "hospitals", "cache folder")
    phantoms = phantom_settings(data)
    missing = [center for center in settings.run.centers if not hospital_folder(center, phantoms, root).is_dir()]
    if missing:
        _make(missing, phantoms, root, say)


def _make(centers: list[str], phantoms: PhantomSettings, root: Path, say: Callable[[str], None]) -> None:
    subjects = {center: subject_count(center, phantoms) for center in centers}
    say(f"making {len(centers)} simulated hospitals, {sum(subjects.values())} subjects, in {root}")
    started = time.monotonic()
    # Fresh interpreters: a fork would copy the threads' locks of whatever is imported here.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(centers), os.cpu_count() or 1), mp_context=context) as pool:
        waiting = {pool.submit(make_hospital, center, phantoms, root): center for center in centers}
        for done, future in enumerate(as_completed(waiting), start=1):
            try:
                future.result()
            except OSError as error:
                raise DataError(f"simulated hospital {waiting[future]} cannot be made: {error}") from None
            left = (time.monotonic() - started) / done * (len(centers) - done)
            center = waiting[future]
            say(f"made {center}, {subjects[center]} subjects ({done}/{len(centers)}, about {left:.0f} s left)")

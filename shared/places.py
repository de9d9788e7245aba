"""Where Wardround keeps what it makes: a cache that can be made again, and results that cannot."""

import os
from datetime import datetime
from pathlib import Path

from shared.errors import ResultsError
from shared.settings import RunSettings


def cache_folder(configured: str = "") -> Path:
    """The cache: `configured`, else `$WARDROUND_CACHE`, else `wardround` in the user's cache."""
    if configured:
        return Path(configured).expanduser().absolute()
    if chosen := os.environ.get("WARDROUND_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "wardround"


def writable_folder(folder: Path, what: str) -> Path:
    """`folder`, made where it is missing. Raises `ResultsError` where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise ResultsError(f"{what} {folder} is not writable ({reason}): choose another folder") from None
    return folder


def results_folder(run: RunSettings) -> Path:
    """The absolute folder of a run's results, made here; a configured one must be new or empty.

    Raises `ResultsError` where it already holds something or cannot be written.
    """
    if run.output_dir:
        folder = Path(run.output_dir).expanduser().absolute()
        if folder.is_dir() and any(folder.iterdir()):
            raise ResultsError(f"results folder {folder} is not empty: choose a new one")
    else:
        name = f"{datetime.now():%Y-%m-%d_%H%M%S}-{run.method}-{run.order}-seed{run.seed}"
        folder = Path("runs").absolute() / name
        again = 2
        while folder.exists():
            folder = folder.with_name(f"{name}-{again}")
            again += 1
    return writable_folder(folder, "results folder")

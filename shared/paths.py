"""Where Wardround keeps what it makes: a cache that can be made again, and results that cannot."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from shared.config.groups import RunSettings
from shared.errors import ResultsError
from shared.files import NEW
from shared.text import quoted

RESULTS = "results.json"
"""In a results folder: what the run found (server/results.py)."""

MODEL = "model.safetensors"
"""In a results folder: the final model (shared/model/model_file.py)."""

LAUNCH = "launch.json"
"""In a results folder: how the command line started the run."""

LOCK = ".lock"
"""In a results folder, a study's or that of simulated hospitals: held by the process that writes to it."""


JOURNAL = "journal"
"""In a results folder: what a run needs to go on (server/journal/)."""


def absolute(folder: str | Path, what: str) -> Path:
    """A folder's absolute path, `~` and `~user` resolved. Raises `ResultsError` where there is no such user."""
    try:
        return Path(folder).expanduser().absolute()
    except RuntimeError:
        raise ResultsError(f"{what} {folder} cannot be resolved (there is no such user): give its whole path") from None


def is_folder(path: Path) -> bool:
    """Whether there is a folder of this name, even where no file system would take the name."""
    try:
        return path.is_dir()
    except OSError:
        return False


def has_begun(results: Path) -> bool:
    """Whether a results folder holds a journal, or at least what is left of one."""
    journal = results / JOURNAL
    return is_folder(journal) and any(not path.name.startswith(NEW) for path in journal.iterdir())


def cache_folder(configured: str = "") -> Path:
    """The cache: `configured`, else `$WARDROUND_CACHE`, else `wardround` in the user's cache."""
    if configured:
        return absolute(configured, "cache folder")
    if chosen := os.environ.get("WARDROUND_CACHE"):
        return absolute(chosen, "cache folder")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "wardround"


def writable_folder(folder: Path, what: str) -> Path:
    """`folder`, made where it is missing. Raises `ResultsError` where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ResultsError(f"{what} {folder} is not writable ({reason}): choose another folder") from None
    return folder


def private_output(folder: Path) -> Path:
    """A writable folder for patients' images, its owner's alone where it is new. Raises `ResultsError`."""
    new = not folder.exists()
    writable_folder(folder, "output folder")
    if new:
        folder.chmod(0o700)
    return folder


def check_fresh(folder: Path) -> None:
    """Raise `ResultsError` where a results folder already holds something of another run."""
    try:
        begun = {JOURNAL} if not has_begun(folder) else set()
        if is_folder(folder) and {path.name for path in folder.iterdir()} - {LAUNCH, LOCK} - begun:
            raise ResultsError(
                f"results folder {folder} is not empty: choose a new one, or go on with what is there by: "
                f"wardround resume {quoted(folder)}"
            )
    except OSError as error:
        raise ResultsError(f"results folder {folder} cannot be read ({error.strerror}): choose another one") from None


@contextmanager
def claimed(folder: Path, what: str = "results folder", by: str = "run") -> Iterator[None]:
    """Have a folder for oneself, until the block or the process ends, however it ends.

    Raises `ResultsError` where another run has it, or it cannot be written; `what` the folder is and `by` whom
    it is written are words of its messages.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ResultsError(
            f"{what} {folder} is in use by another {by}: wait for its end, or choose another folder"
        ) from None
    except OSError as error:
        raise ResultsError(
            f"{what} {folder} is not writable ({error.strerror or error}): choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def results_folder(run: RunSettings) -> Path:
    """The absolute folder of a run's results, made here; unless the run resumes, it must be new or empty.

    Raises `ResultsError` where it already holds something or cannot be written.
    """
    if run.resume:
        if not run.output_dir:
            raise ResultsError("resume = true needs output-dir: give the results folder of the run that is to go on")
        folder = absolute(run.output_dir, "results folder")
    elif run.output_dir:
        folder = absolute(run.output_dir, "results folder")
        check_fresh(folder)
    else:
        name = f"{datetime.now():%Y-%m-%d_%H%M%S}-{run.method}-{run.order}-seed{run.seed}"
        folder = Path("runs").absolute() / name
        again = 2
        while folder.exists():
            folder = folder.with_name(f"{name}-{again}")
            again += 1
    return writable_folder(folder, "results folder")

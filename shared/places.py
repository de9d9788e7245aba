"""Where Wardround keeps what it can make again."""

import os
from pathlib import Path

from shared.errors import ResultsError


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

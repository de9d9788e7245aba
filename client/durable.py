"""Files that survive a power cut and a second process: whole, locked, and for the owner alone."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from shared.errors import RecordError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
LOCK_SECONDS = 30.0


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in place of the file at once: a reader sees the old or the new, never half.

    On return it is on disk. The file's mode is 0600. Raises `OSError`.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's own entries (files made, renamed or removed) to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def private_folder(folder: Path, what: str) -> Path:
    """`folder`, made with mode 0700 where it is missing. Raises `RecordError`."""
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"{what} {folder} cannot be made ({error.strerror}): choose a folder that this user may write"
        ) from None
    return folder


@contextlib.contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock file `path`, against other processes and threads.

    The operating system releases it when the process ends, however it ends. Raises
    `RecordError` after `seconds`.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        raise RecordError(
            f"lock file {path} cannot be opened ({error.strerror}): let this user write its folder"
        ) from None
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise RecordError(
                        f"{path} has been locked by another process for {seconds:g} s: "
                        "see whether another Wardround hangs on this machine, and end it"
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)

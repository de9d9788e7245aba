"""Files that a crash or a power cut leaves whole: the old one or the new one, never a half.

A file is written under another name, forced to disk and renamed; so is a folder. A document
is JSON with its own checksum, so that a later change of a single bit is noticed. Where two
processes may write, they take turns by a lock file.
"""

import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from shared.errors import DamagedError, RecordError
from shared.log import say
from shared.text import quoted

NEW = ".new-"
"""Begins the name of what is still being written; a crash may leave one behind."""

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Modes of what only its owner may read."""

PRIVATE_UMASK = 0o077
"""Takes all rights of others."""

LOCK_SECONDS = 30.0


def write_whole(path: Path, data: bytes | memoryview, *, private: bool = False) -> None:
    """Write a file whole or not at all; `private`: for its owner alone. Raises `OSError` where the disk refuses."""
    new = path.with_name(f"{NEW}{secrets.token_hex(8)}")
    mode = PRIVATE_FILE if private else 0o666  # less what the umask takes
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def folder_whole(folder: Path) -> Iterator[Path]:
    """A new folder to write files into; when the block ends well, it becomes `folder`.

    `folder` must not exist. Raises `OSError` where the disk refuses.
    """
    with tempfile.TemporaryDirectory(prefix=NEW, dir=folder.parent, ignore_cleanup_errors=True) as name:
        new = Path(name) / folder.name
        new.mkdir()
        yield new
        for path in new.iterdir():
            sync(path)
        sync(new)
        new.rename(folder)
    sync(folder.parent)


def write_document(path: Path, body: Any) -> None:
    """Write JSON with its checksum, whole or not at all. Raises `OSError`."""
    text = _canonical(body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_whole(path, f'{{"sha256": "{digest}",\n"body": {text}}}\n'.encode())


def read_document(path: Path) -> Any:
    """The body of a document. Raises `DamagedError`, and `FileNotFoundError` where there is none."""
    try:
        document = json.loads(path.read_bytes())
        digest, body = document["sha256"], document["body"]
        found = hashlib.sha256(_canonical(body).encode()).hexdigest()
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged ({error})") from None
    if found != digest:
        raise DamagedError(f"{path} is damaged (it does not match its checksum)")
    return body


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(body: Any) -> str:
    return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False)


def sync(path: Path) -> None:
    """Wait until a file's or folder's content is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def work_privately() -> None:
    """Let no other user of this machine read what this process writes from here on, nor what it starts."""
    os.umask(PRIVATE_UMASK)


def closed_folder(folder: Path, what: str) -> Path:
    """`folder`, private also where it was made by others and was open to them. Raises `RecordError`."""
    private_folder(folder, what)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & PRIVATE_UMASK:
        try:
            folder.chmod(mode & ~PRIVATE_UMASK)
        except OSError as error:
            raise RecordError(
                f"{what} {folder} can be read by other users, and cannot be closed to them ({error.strerror}): "
                f"chmod go-rwx {quoted(folder)}"
            ) from None
        say(f"{what} {folder} could be read by other users (mode {mode:03o}): closed to them")
    return folder


def private_folder(folder: Path, what: str) -> Path:
    """`folder`, made with mode 0700 where it is missing. Raises `RecordError`."""
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"{what} {folder} cannot be made ({error.strerror}): choose a folder that this user may write"
        ) from None
    return folder


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock file `path`, against other processes and threads, until the block or the process ends.

    Raises `RecordError` after `seconds`.
    """
    lock = FileLock(path, mode=PRIVATE_FILE)
    try:
        lock.acquire(timeout=seconds, poll_interval=0.01)
    except Timeout:
        raise RecordError(
            f"{path} has been locked by another process for {seconds:g} s: "
            "see whether another Wardround hangs on this machine, and end it"
        ) from None
    except OSError as error:
        raise RecordError(
            f"lock file {path} cannot be opened ({error.strerror}): let this user write its folder"
        ) from None
    try:
        yield
    finally:
        lock.release()

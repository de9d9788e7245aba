"""Pseudonyms of subjects: keyed hashes that the hospital alone can undo.

Within the hospital a subject has one pseudonym, in the audit log and in the list of those who withdrew. What leaves
names it otherwise: by one of its own in each run, and those that go on from it, so that nobody can tell by names that
two studies had the same patient. The key lies in the state folder, since what it makes must stay the same.
"""

import contextlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from shared.errors import RecordError

KEY_BYTES = 32
FOLDER = "pseudonyms"
"""In the state folder."""


def pseudonym(key: bytes, subject: str) -> str:
    """The keyed hash (HMAC-SHA-256, its first 64 bits) of a subject's name."""
    return hmac.new(key, subject.encode(), "sha256").hexdigest()[:16]


def outside_name(key: bytes, root: str, known: str) -> str:
    """What leaves calls a subject whom its hospital knows as `known`, in the run `root` and those that go on from it.

    It follows from the pseudonym, so that it is found for whoever withdrew, too.
    """
    return hmac.new(key, f"outside\0{root}\0{known}".encode(), "sha256").hexdigest()[:16]


def pseudonym_key(state: Path, center: str) -> bytes:
    """The center's secret key, made at its first use and readable by its owner alone.

    Raises `RecordError` where it cannot be made or read.
    """
    path = state / FOLDER / f"{center}.key"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-") as new:
                new.write(secrets.token_bytes(KEY_BYTES))
                new.flush()
                os.fsync(new.fileno())
                # A link fails where another process was first; its key is then the one.
                with contextlib.suppress(FileExistsError):
                    os.link(new.name, path)
        key = path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"the pseudonym key {path} cannot be made or read ({error.strerror}): let this user write the state folder"
        ) from None
    if len(key) != KEY_BYTES:
        raise RecordError(
            f"the pseudonym key {path} was damaged: restore it from a backup, for another one names other pseudonyms"
        )
    return key


def image_word(path: str) -> str:
    """What is hashed for an image, by its path below the data folder; no subject is called so."""
    return f"image {path}"

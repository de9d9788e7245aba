"""The subjects that were withdrawn from sharing, as their hospital remembers them.

`withdrawals.json` in the state folder, by pseudonym, so that the file names nobody. A
pseudonym means its subject only under the key that made it. So the list also holds what that
key makes of one fixed word, and is refused under another key: a withdrawn subject, known
under a new pseudonym, would otherwise be shared again in silence.
"""

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from shared.clock import stamp
from shared.errors import RecordError
from shared.files import locked, private_folder, write_whole
from shared.trust.canonical_json import Pseudonym, Statement, canonical

LIST = "withdrawals.json"

CHECK_WORD = "wardround withdrawals"
"""No subject is called so."""


class Withdrawn(Statement):
    """One subject and since when."""

    subject: Pseudonym
    since: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class _WithdrawalsFile(Statement):
    format: Literal[1] = 1
    key_check: Pseudonym
    withdrawn: tuple[Withdrawn, ...] = ()
    images: tuple[Pseudonym, ...] = ()
    """Of the withdrawn subjects' images: should a subject come to be called otherwise, it is known by them."""


class Withdrawals:
    """The list in a state folder; `pseudonym` is the hospital's keyed hash of a subject's name."""

    def __init__(self, folder: Path, pseudonym: Callable[[str], str]) -> None:
        self._path = folder / LIST
        self._lock = folder / "withdrawals.lock"
        self._check = pseudonym(CHECK_WORD)

    def begin(self) -> None:
        """Write an empty list where there is none. Raises `OSError`."""
        if not self._path.exists():
            write_whole(self._path, canonical(_WithdrawalsFile(key_check=self._check)) + b"\n", private=True)

    def subjects(self) -> frozenset[str]:
        """Pseudonyms of all that were withdrawn. Raises `RecordError` where the list cannot be read."""
        return frozenset(one.subject for one in self._read().withdrawn)

    def images(self) -> frozenset[str]:
        """Pseudonyms of the images of all that were withdrawn. Raises `RecordError` where they cannot be read."""
        return frozenset(self._read().images)

    def add(self, subject: str, now: datetime, images: Collection[str] = ()) -> bool:
        """Withdraw a subject, by pseudonym, and its images by theirs; on return it is on disk.

        False where it was already. Raises `RecordError` where the list cannot be read or written, or this is no
        pseudonym.
        """
        private_folder(self._path.parent, "state folder")
        with locked(self._lock):
            current = self._read()
            if any(one.subject == subject for one in current.withdrawn):
                return False
            try:
                new = Withdrawn(subject=subject, since=stamp(now))
            except ValidationError:
                raise RecordError(
                    "a subject can be withdrawn only by its pseudonym, 16 to 64 hexadecimal digits: derive it first"
                ) from None
            seen = tuple(sorted({*current.images, *images}))
            changed = current.model_copy(update={"withdrawn": (*current.withdrawn, new), "images": seen})
            try:
                write_whole(self._path, canonical(changed) + b"\n", private=True)
            except OSError as error:
                raise RecordError(
                    f"withdrawals cannot be written to {self._path} ({error.strerror}): the subject is NOT "
                    "withdrawn; free the disk, or let this user write the folder"
                ) from None
            return True

    def _read(self) -> _WithdrawalsFile:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return _WithdrawalsFile(key_check=self._check)
        except OSError as error:
            raise RecordError(
                f"withdrawals {self._path} cannot be read ({error.strerror}): nothing is shared until this user can"
            ) from None
        try:
            found = _WithdrawalsFile.model_validate_json(content)
        except ValidationError:
            raise RecordError(
                f"withdrawals {self._path} were damaged: nothing is shared; restore the file from a backup, and "
                "withdraw again each subject that the audit log says was withdrawn since"
            ) from None
        if found.key_check != self._check:
            raise RecordError(
                f"withdrawals {self._path} were made under another pseudonym key, so they name nobody here: nothing "
                "is shared; restore that key from a backup"
            )
        return found

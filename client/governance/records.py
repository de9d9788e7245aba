"""The records that a hospital must never lose: pseudonym key, audit log and its head, list of withdrawals.

They are begun together, once, in a state folder that holds none of them, and `records.json` says so from then on.
After that a record that is missing was lost, and nothing is answered without it: without the list a withdrawn subject
would be shared again, without the log as many subjects as the policy allows would be shared anew, and under another key
nobody would know either again.
"""

from functools import partial
from pathlib import Path
from typing import Any

from client.governance.audit_log import AuditLog
from client.governance.pseudonyms import FOLDER, pseudonym, pseudonym_key
from client.governance.withdrawals import LIST, Withdrawals
from shared.errors import DamagedError, RecordError
from shared.files import closed_folder, locked, read_document, write_document

MARKER = "records.json"
AUDIT = "audit"
"""The folder of the audit log, in the state folder."""

TRACES = ("divisions", "visits", "protocols")
"""Folders of the state folder in which a message leaves something: where they do, records were begun."""


class Records:
    """The records in a state folder, each of which is there: begun where the folder is new.

    Raises `RecordError`, saying which one was lost and what to do, or that they are another center's.
    """

    def __init__(self, state: Path, center: str) -> None:
        self._state, self._center = closed_folder(state, "state folder"), center
        self._files = (
            state / FOLDER / f"{center}.key",
            state / AUDIT / "audit.jsonl",
            state / AUDIT / "audit.head",
            state / LIST,
        )
        if self._begun():
            self._check()
        else:
            with locked(state / "records.lock"):
                if not self._begun():
                    self._begin()

    def _begun(self) -> bool:
        marker = self._marker()
        if marker and marker.get("center") != self._center:
            raise RecordError(
                f"state folder {self._state} holds the records of {marker.get('center')}, not of {self._center}: "
                "each hospital needs a state-dir of its own"
            )
        return bool(marker.get("whole"))

    def _marker(self) -> dict[str, Any]:
        path = self._state / MARKER
        try:
            return dict(read_document(path))
        except FileNotFoundError:
            return {}
        except (DamagedError, TypeError, ValueError) as error:
            raise RecordError(f"{path} cannot be relied on ({error}): {self._mend}") from None

    def _check(self) -> None:
        if lost := [path for path in self._files if not path.is_file()]:
            names = ", ".join(str(path.relative_to(self._state)) for path in lost)
            raise RecordError(f"{names} of {self._state} was lost, so nothing is answered or sent: {self._mend}")

    def _begin(self) -> None:
        """Begin all records; where a crash cut that short, the next start goes on with it."""
        if not self._marker() and (old := self._traces()):
            raise RecordError(
                f"{self._state} holds {old[0].relative_to(self._state)} but no {MARKER}, so nobody knows whether a "
                f"record was lost: {self._mend}"
            )
        try:
            write_document(self._state / MARKER, {"center": self._center, "whole": False})
            key = pseudonym_key(self._state, self._center)
            Withdrawals(self._state, partial(pseudonym, key)).begin()
            AuditLog(self._state / AUDIT).begin()
            write_document(self._state / MARKER, {"center": self._center, "whole": True})
        except OSError as error:
            raise RecordError(
                f"the records in {self._state} cannot be begun ({error.strerror}): free the disk, or let this user "
                "write the state folder"
            ) from None

    def _traces(self) -> list[Path]:
        """What says that records were here before."""
        traces = [path for path in self._files if path.exists()]
        return traces + [path for folder in TRACES for path in (self._state / folder).glob("*")]

    @property
    def _mend(self) -> str:
        return (
            "restore the state folder from its backup; to begin anew on purpose, name an empty folder as state-dir, "
            "withdraw each subject again that ever withdrew, and tell the coordinator"
        )

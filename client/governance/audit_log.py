"""The hospital's own account of what was sent, received, refused and withdrawn.

`audit.jsonl` has one entry a line, in canonical JSON (`shared.trust.canonical_json`), and is only ever
appended to. Each entry holds its number, the hash of the entry before it, and its own hash:
the SHA-256 of its canonical JSON with 64 zeros in that place. `audit.head` holds number and
hash of the last entry and the log's length, so that a log cut at its end is noticed as well.

An entry is on disk before the head is, and the head before `append` returns. After a power
cut the log may therefore have a torn last line, or one whole line that the head does not
know. The next `append` goes on from there: it takes the whole line as it is; of a torn one,
which never was an entry, it cuts the bytes off and says so in an entry of kind `mended`.

What this cannot show: who can write both files can write a whole new history, or put both
back to an earlier day. Keep the head's hash elsewhere too (on paper, or with the
coordinator), and compare.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from client.governance.hash_chain import Entry, Facts, Head, Kind, Verdict, examine, parse
from shared.clock import stamp, utc_now
from shared.errors import RecordError
from shared.files import PRIVATE_FILE, locked, private_folder, sync, write_whole
from shared.trust.canonical_json import canonical


class AuditLog:
    """An append-only log in a hospital's state folder, for any number of processes at once."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self._folder = private_folder(folder, "audit folder")
        self._log = folder / "audit.jsonl"
        self._head = folder / "audit.head"
        self._lock = folder / "audit.lock"
        self._clock = clock

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder

    def begin(self) -> None:
        """Write an empty log and its head where there is none. Raises `RecordError`."""
        with self._held():
            if not self._log.exists():
                write_whole(self._log, b"", private=True)
            if not self._head.exists():
                write_whole(self._head, canonical(Head()), private=True)

    def append(self, kind: Kind, facts: Facts) -> Entry:
        """Write an entry; on return it is on disk. Write `sent` before sending.

        Raises `RecordError` where the log cannot be written or does not end where it should:
        then nothing may be sent.
        """
        with self._held():
            return self._add(self._mended(self._read_head()), kind, facts)[0]

    def verify(self) -> Verdict:
        """Examine the whole log; the verdict names the first bad line. Raises `RecordError`."""
        with self._held():
            content = self._log.read_bytes() if self._log.exists() else b""
            return examine(content, self._read_head())

    def entries(self) -> tuple[Entry, ...]:
        """All entries of a sound log. Raises `RecordError` where it is not."""
        verdict = self.verify()
        if not verdict.sound:
            raise self._damaged(str(verdict.problem))
        return verdict.entries

    def subjects(self, kind: Kind) -> frozenset[str]:
        """Pseudonyms in all entries of a kind, such as those ever sent. Raises `RecordError`."""
        return frozenset(subject for e in self.entries() if e.kind == kind for subject in e.facts.subjects)

    def head(self) -> Head:
        """Where the log ends: to be noted elsewhere. Raises `RecordError`."""
        with self._held():
            return self._read_head()

    def _read_head(self) -> Head:
        if not self._head.exists():
            return Head()
        try:
            return Head.model_validate_json(self._head.read_bytes())
        except ValidationError:
            raise self._damaged(f"{self._head.name} is no head of an audit log") from None

    def _mended(self, head: Head) -> Head:
        """The head after what an interrupted write left was dealt with."""
        size = self._log.stat().st_size if self._log.exists() else 0
        if size < head.size:
            raise self._damaged(f"it has {size} bytes where its head file counts {head.size}: its end was cut off")
        if size == head.size:
            return head
        with self._log.open("rb+") as file:
            file.seek(head.size)
            tail = file.read()
            entry = parse(tail)
            if entry is not None and tail == entry.line and entry == self._follower(head, entry):
                write_whole(self._head, canonical(head.moved(entry)), private=True)
                return head.moved(entry)
            if b"\n" in tail:
                raise self._damaged("it goes on after the entry that its head file counts as the last")
            file.truncate(head.size)
            os.fsync(file.fileno())
        facts = Facts(message="torn line cut off", size=len(tail), checksums=(hashlib.sha256(tail).hexdigest(),))
        return self._add(head, "mended", facts)[1]

    def _follower(self, head: Head, entry: Entry) -> Entry:
        return Entry.after(head, entry.time, entry.kind, entry.facts)

    def _add(self, head: Head, kind: Kind, facts: Facts) -> tuple[Entry, Head]:
        entry = Entry.after(head, stamp(self._clock()), kind, facts)
        new = not self._log.exists()
        handle = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        with os.fdopen(handle, "wb") as file:
            file.write(entry.line)
            file.flush()
            os.fsync(handle)
        if new:
            sync(self._folder)
        moved = head.moved(entry)
        write_whole(self._head, canonical(moved), private=True)
        return entry, moved

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the lock, and say which log it is where the disk refuses."""
        with locked(self._lock):
            try:
                yield
            except OSError as error:
                raise RecordError(
                    f"audit log {self._log} cannot be read or written ({error.strerror}): nothing is sent; free "
                    "the disk, or let this user write the folder"
                ) from None

    def _damaged(self, problem: str) -> RecordError:
        return RecordError(
            f"audit log {self._log} cannot be relied on ({problem}): nothing is sent; find out who changed it, and "
            "restore audit.jsonl and audit.head together from a backup (without them it would be forgotten what was "
            "ever shared: a new log begins in an empty state-dir alone)"
        )

"""The audit log's entries, how each follows from the one before, and what a chain betrays.

Nothing here touches a disk: `examine` takes the bytes of a log and of its head file and says
whether they agree, or which line is the first that does not.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError

from shared.trust.canonical_json import CenterName, Pseudonym, RunId, Sha256, Stage, Statement, canonical

NOTHING = "0" * 64
"""The hash before the first entry."""

REASON_LETTERS = 1000


def _clip(text: object) -> object:
    """A reason that can always be written: a refusal must not fail for its wording, such as an odd file name."""
    return text[:REASON_LETTERS].encode("utf-8", "replace").decode() if isinstance(text, str) else text


Kind = Literal["sent", "received", "refused", "withdrawn", "voided", "mended"]


class Facts(Statement):
    """What there is to say of a message; subjects stand here by pseudonym alone."""

    message: Annotated[str, Field(min_length=1, max_length=64)]
    """Which kind of message or act, such as `train reply`."""
    run: RunId | None = None
    stage: Stage | None = None
    centers: tuple[CenterName, ...] = ()
    """For whom, or from whom."""
    size: Annotated[int, Field(ge=0)] | None = None
    """Bytes."""
    checksums: tuple[Sha256, ...] = ()
    subjects: tuple[Pseudonym, ...] = ()
    reason: Annotated[str, BeforeValidator(_clip)] = ""
    """For a refusal; it stays in the log, and must name no patient."""


class Entry(Statement):
    """One line of the log."""

    sequence: int = Field(ge=1)
    time: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    """UTC, by the clock of that moment."""
    kind: Kind
    facts: Facts
    previous: Sha256
    hash: Sha256

    @classmethod
    def after(cls, head: "Head", time: str, kind: Kind, facts: Facts) -> Self:
        """The entry that follows `head`."""
        draft = cls(sequence=head.count + 1, time=time, kind=kind, facts=facts, previous=head.hash, hash=NOTHING)
        return draft.model_copy(update={"hash": draft.digest})

    @property
    def digest(self) -> str:
        """What `hash` must be: SHA-256 of the entry whose hash is all zeros."""
        return hashlib.sha256(canonical(self.model_copy(update={"hash": NOTHING}))).hexdigest()

    @property
    def line(self) -> bytes:
        """As it stands in the log."""
        return canonical(self) + b"\n"


class Head(Statement):
    """Where a log ends."""

    count: int = Field(default=0, ge=0)
    hash: Sha256 = NOTHING
    size: int = Field(default=0, ge=0)
    """Bytes of the log up to here."""

    def moved(self, entry: Entry) -> "Head":
        """The head after one more entry."""
        return Head(count=entry.sequence, hash=entry.hash, size=self.size + len(entry.line))


@dataclass(frozen=True)
class Verdict:
    """What an examination found."""

    entries: tuple[Entry, ...]
    """The good ones, up to the first bad line."""
    problem: str | None
    """The first bad line and what is wrong with it."""
    notes: tuple[str, ...] = ()
    """What an interrupted write left; no sign of a change."""

    @property
    def sound(self) -> bool:
        """Whether log and head agree."""
        return self.problem is None


def parse(line: bytes) -> Entry | None:
    """The entry in a line, if it is one."""
    try:
        return Entry.model_validate_json(line)
    except ValidationError:
        return None


def examine(log: bytes, head: Head) -> Verdict:
    """Follow the chain from its start to its end, and compare the end with the head."""
    *lines, torn = log.split(b"\n")
    parsed = [parse(line) for line in lines]
    good: list[Entry] = []
    at = Head()
    for number, entry in enumerate(parsed, start=1):
        problem = _break(lines[number - 1], number, entry, at, parsed)
        if problem or entry is None:
            return Verdict(tuple(good), f"line {number} {problem}")
        good.append(entry)
        at = at.moved(entry)
    notes = [f"the last line is torn: {len(torn)} bytes of an interrupted write, no entry"] if torn else []
    if len(good) == head.count + 1:
        notes.append(f"entry {len(good)} is whole, but its write was interrupted before the head file's")
    return Verdict(tuple(good), _end(good, head), tuple(notes))


def _break(line: bytes, number: int, entry: Entry | None, at: Head, parsed: list[Entry | None]) -> str | None:
    """What is wrong with a line, where it stands."""
    if entry is None:
        return "is no entry of an audit log: it was changed or cut"
    if entry.hash != entry.digest or entry.line != line + b"\n":
        return f"(entry {entry.sequence}) was changed: its content and its hash disagree"
    if entry.sequence > number:
        if any(later is not None and later.sequence == number for later in parsed[number:]):
            return f"holds entry {entry.sequence}, and entry {number} comes later: lines were reordered"
        return f"holds entry {entry.sequence}: entries {number} to {entry.sequence - 1} were removed"
    if entry.sequence < number:
        return f"holds entry {entry.sequence} again: a line was repeated or reordered"
    if entry.previous != at.hash:
        return f"does not follow from line {number - 1}: one of the two was replaced"
    return None


def _end(good: list[Entry], head: Head) -> str | None:
    """What is wrong with where the log ends."""
    if len(good) < head.count:
        return f"line {len(good) + 1} is missing: entries {len(good) + 1} to {head.count} were cut off at the end"
    if len(good) > head.count + 1:
        return f"line {head.count + 2} and what follows is not known to the head file: it was put back or lost"
    known = good[: head.count]
    if Head(count=head.count, hash=known[-1].hash if known else NOTHING, size=sum(len(e.line) for e in known)) != head:
        return f"line {max(head.count, 1)} is not the one that the head file remembers: one of the two was replaced"
    return None

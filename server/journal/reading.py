"""Reading a journal: up to its last stage that is whole. What is damaged, and what built on it, is set aside."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from server.journal.layout import ATTEMPTS, HEADS, ROW, RUN, WITHDRAWN, journal_folder, stage_folder, unwritable
from server.journal.partial_round import read_parts
from server.journal.records import FORMAT, Attempt, Row, RunFacts
from shared.errors import DamagedError, ResultsError
from shared.files import NEW, read_document
from shared.stage_archive import KeptVisit, open_visit
from shared.wire.headers import LogHead


@dataclass(frozen=True)
class JournalContent:
    """All that a journal says."""

    facts: RunFacts
    attempts: tuple[Attempt, ...] = ()
    withdrawn: Mapping[str, list[str]] = field(default_factory=dict)
    """Pseudonyms by the center that withdrew them."""
    heads: Mapping[str, LogHead] = field(default_factory=dict)
    """By center, where its audit log ended when it was last heard of."""
    visits: tuple[KeptVisit, ...] = ()
    rows: tuple[Row, ...] = ()
    """Of each visit."""
    parts: Mapping[Path, KeptVisit] = field(default_factory=dict)
    """Of the round under way, by folder."""
    damaged: tuple[str, ...] = ()
    """What was found damaged, and is not used."""


def read_journal(results: Path) -> JournalContent:
    """What the journal in a results folder says; what an interrupted write left there is removed.

    Raises `ResultsError` where there is no journal, or its first page cannot be used.
    """
    return _Reader(results).read()


class _Reader:
    """One reading, which notes what is damaged as it goes."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._folder = journal_folder(results)
        self._damaged: list[str] = []

    def read(self) -> JournalContent:
        facts = self._read_facts()
        self._clean()
        attempts, withdrawn = self._read_attempts(), self._read_withdrawn()
        visits, rows = self._read_stages()
        parts = read_parts(self._folder, len(visits), self._set_aside)
        return JournalContent(
            facts, attempts, withdrawn, self._read_heads(), tuple(visits), tuple(rows), parts, tuple(self._damaged)
        )

    def _read_facts(self) -> RunFacts:
        path = self._folder / RUN
        try:
            page = read_document(path)
            # Told before the rest is read, which another format may have otherwise.
            if isinstance(page, dict) and page.get("format", FORMAT) != FORMAT:
                raise ResultsError(
                    f"the journal of {self._results} has format {page['format']}, but this version of Wardround reads "
                    f"{FORMAT}: use the version that wrote it"
                )
            return RunFacts.model_validate(page)
        except FileNotFoundError:
            raise ResultsError(
                f"{self._results} holds no journal of a run ({path} is missing): give a run's results folder"
            ) from None
        except (DamagedError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise ResultsError(f"the journal of {self._results} cannot be used ({reason}): restore {path}") from None

    def _clean(self) -> None:
        for unfinished in [*self._results.glob(f"{NEW}*"), *self._folder.rglob(f"{NEW}*")]:
            if unfinished.is_dir():
                shutil.rmtree(unfinished, ignore_errors=True)
            else:
                unfinished.unlink(missing_ok=True)

    def _read_attempts(self) -> tuple[Attempt, ...]:
        try:
            return tuple(Attempt.model_validate(entry) for entry in read_document(self._folder / ATTEMPTS))
        except FileNotFoundError:
            return ()
        except (DamagedError, ValidationError, TypeError) as error:
            self._damaged.append(f"{str(error).splitlines()[0]}: earlier attempts are forgotten")
            return ()

    def _read_withdrawn(self) -> dict[str, list[str]]:
        """Raises `ResultsError` where the list is damaged: without it, a withdrawn subject would be handed on."""
        path = self._folder / WITHDRAWN
        try:
            return {str(center): [str(one) for one in subjects] for center, subjects in read_document(path).items()}
        except FileNotFoundError:
            return {}
        except (DamagedError, TypeError, AttributeError) as error:
            raise ResultsError(
                f"{str(error).splitlines()[0]}: it says whose exemplars may no longer be handed on; restore {path}, or "
                "delete it and the hospitals tell it anew at the roll call"
            ) from None

    def _read_heads(self) -> dict[str, LogHead]:
        """Raises `ResultsError` where they are damaged: without them, a log that was put back would not be noticed."""
        path = self._folder / HEADS
        try:
            return {str(center): LogHead.model_validate(head) for center, head in read_document(path).items()}
        except FileNotFoundError:
            return {}
        except (DamagedError, ValidationError, AttributeError) as error:
            raise ResultsError(
                f"{str(error).splitlines()[0]}: {path} says where the hospitals' audit logs ended; restore it, or "
                "delete it, and the next roll call believes what they say"
            ) from None

    def _read_stages(self) -> tuple[list[KeptVisit], list[Row]]:
        visits: list[KeptVisit] = []
        rows: list[Row] = []
        kept = sorted(self._folder.glob("stage-*"))
        for index, folder in enumerate(kept):
            try:
                if folder != stage_folder(self._folder, index):
                    raise DamagedError(f"{stage_folder(self._folder, index)} is missing")
                visit = open_visit(folder)
                if visit.visit.stage != index:
                    raise DamagedError(f"{folder} holds stage {visit.visit.stage + 1}")
            except DamagedError as error:
                self._set_aside(kept[index:], f"{error}: stage {index + 1} is trained again, and what came after it")
                break
            visits.append(visit)
            rows.append(self._read_row(folder))
        return visits, rows

    def _read_row(self, folder: Path) -> Row:
        try:
            return Row.model_validate(read_document(folder / ROW))
        except FileNotFoundError:
            return Row()
        except (DamagedError, ValidationError) as error:
            self._damaged.append(f"{str(error).splitlines()[0]}: its model is tested again")
            return Row()

    def _set_aside(self, folders: list[Path], reason: str) -> None:
        """Move damaged stages or parts, and those that built on them, out of the way; nothing is deleted."""
        self._damaged.append(reason)
        mark = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        try:
            for folder in folders:
                folder.rename(folder.with_name(f"damaged-{mark}-{folder.name}"))
        except OSError as error:
            raise unwritable(self._folder, error) from None

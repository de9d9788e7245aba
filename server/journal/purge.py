"""Deleting crops that nobody may keep any longer: those of withdrawn subjects, and sealed ones that have expired.

They lie in the stages of a run, in what was set aside as damaged, and in the folders of the runs that it extends: those
share files with it, so that deleting here deletes nothing there.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from server.journal.layout import RUN, WITHDRAWN, journal_folder
from server.journal.records import Parent, RunFacts
from shared.errors import DamagedError, ResultsError
from shared.files import read_document, write_document
from shared.log import say
from shared.paths import claimed
from shared.replay.manifest import Manifest
from shared.stage_archive import EXEMPLARS, KeptVisit, read_visit

Withdrawn = Mapping[str, Collection[str]]
"""Pseudonyms by the center that withdrew them."""


def purged(kept: KeptVisit, withdrawn: Withdrawn, now: datetime) -> KeptVisit:
    """The visit without crops that may not be kept; they are deleted. Raises `OSError`, `DamagedError`."""
    given = kept.visit.contribution
    gone = set(withdrawn.get(kept.visit.center, ()))
    if isinstance(given, Manifest) and given.claims.expiry <= now:
        gone = {entry.subject for entry in given.claims.entries}
    return kept.without(gone) if given is not None and gone else kept


def purge_beside(journal: Path, withdrawn: Withdrawn, now: datetime) -> None:
    """Delete crops from what the journal's folder holds beside its stages. Raises `OSError`."""
    _purge_folders(sorted(journal.glob("damaged-*")), withdrawn, now)


def purge_parents(parent: Parent | None, withdrawn: Withdrawn, now: datetime) -> None:
    """Delete crops from the runs that this one extends, and note there who withdrew. Raises `OSError`.

    One that is in use is passed over, aloud, until the next time.
    """
    for results in _parents(parent):
        journal = journal_folder(results)
        if not _anything(journal, withdrawn, now):
            continue
        try:
            with claimed(results):
                _note_withdrawn(journal, withdrawn)
                _purge_folders(_with_crops(journal), withdrawn, now)
        except ResultsError as error:
            say(f"crops that were withdrawn or have expired are still in {results}: {error}")


def _parents(parent: Parent | None) -> Iterator[Path]:
    """The results folders of the run that was extended, of the one that it extended, and so on."""
    while parent is not None:
        results = Path(parent.folder)
        try:
            facts = RunFacts.model_validate(read_document(journal_folder(results) / RUN))
        except (OSError, DamagedError, ValidationError):
            say(f"{parent.folder}, which was extended, is not there or damaged: where it went, crops are still kept")
            return
        if facts.run != parent.run:
            return  # another run has taken the folder
        yield results
        parent = facts.parent


def _with_crops(journal: Path) -> list[Path]:
    return [path for kind in ("stage-*", "damaged-*") for path in sorted(journal.glob(kind))]


def _anything(journal: Path, withdrawn: Withdrawn, now: datetime) -> bool:
    """Whether something of it must go, or its list lacks somebody."""
    known = _withdrawn_in(journal)
    if any(set(subjects) - set(known.get(center, ())) for center, subjects in withdrawn.items()):
        return True
    return any(_has_expired(folder, now) for folder in _with_crops(journal))


def _has_expired(folder: Path, now: datetime) -> bool:
    try:
        given = read_visit(folder).contribution
    except DamagedError:
        return False
    return isinstance(given, Manifest) and given.claims.expiry <= now


def _withdrawn_in(journal: Path) -> dict[str, list[str]]:
    try:
        return {str(center): list(subjects) for center, subjects in read_document(journal / WITHDRAWN).items()}
    except (OSError, DamagedError, AttributeError, TypeError):
        return {}


def _note_withdrawn(journal: Path, withdrawn: Withdrawn) -> None:
    known = _withdrawn_in(journal)
    merged = {
        center: [*dict.fromkeys((*known.get(center, ()), *withdrawn.get(center, ())))]
        for center in {*known, *withdrawn}
    }
    if merged != known:
        write_document(journal / WITHDRAWN, merged)


def _purge_folders(folders: list[Path], withdrawn: Withdrawn, now: datetime) -> None:
    for folder in folders:
        try:
            # Not `open_visit`: what is damaged elsewhere, and set aside for that, has crops all the same.
            purged(KeptVisit(folder, read_visit(folder)), withdrawn, now)
        except DamagedError:
            if any(withdrawn.values()):  # nobody can tell whose they are, and nobody can use them
                for path in folder.glob(f"*{EXEMPLARS}"):
                    path.unlink(missing_ok=True)

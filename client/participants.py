"""Who has consented: a column of `participants.tsv`, the table of subjects that BIDS keeps."""

import csv
from collections.abc import Iterable
from pathlib import Path

from shared.errors import DataError

YES = frozenset({"yes", "y", "true", "1", "given", "granted", "consented"})
"""What counts as consent, in capitals or not; any other word, a blank and BIDS's `n/a` do not."""


def without_consent(table: Path, column: str, subjects: Iterable[str]) -> frozenset[str]:
    """Which of the subjects have not consented, by a column of `participants.tsv`.

    Consent must be written: a subject that the table does not have counts as one without, and of several rows
    of one subject all must say yes. The table's `participant_id` may lack BIDS's `sub-`.

    Raises `DataError` where the table cannot be read or lacks the column.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{table} cannot be read ({error}): it must be a table with tabs between its columns") from None
    for needed in ("participant_id", column):
        if needed not in columns:
            there = ", ".join(columns) or "none"
            raise DataError(f"{table} has no column {needed!r} (its columns: {there}): name the column of consent")
    said: dict[str, bool] = {}
    for row in rows:
        name = _plain(row["participant_id"] or "")
        said[name] = (row[column] or "").strip().lower() in YES and said.get(name, True)
    return frozenset(subject for subject in subjects if not said.get(_plain(subject), False))


def _plain(subject: str) -> str:
    return subject.strip().removeprefix("sub-")

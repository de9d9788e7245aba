"""Who consented to sharing: a column of a BIDS data set's participants.tsv."""

import csv
from collections.abc import Mapping
from pathlib import Path

from shared.errors import DataError

YES = frozenset({"yes", "y", "true", "1"})
"""Anything else, an empty cell and `n/a` among it, is no consent."""


def read_consent(path: Path, column: str) -> Mapping[str, bool]:
    """Consent by subject, such as `sub-07`. A subject on several lines needs yes on each.

    Raises `DataError` where the file or the column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t", restval="")
            columns = tuple(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}): consent stands there, as tab-separated text") from None
    for needed in ("participant_id", column):
        if needed not in columns:
            raise DataError(f"{path} has no column {needed!r} but {', '.join(columns)}: mend it or the policy")
    consent: dict[str, bool] = {}
    for row in rows:
        label = "sub-" + row["participant_id"].strip().removeprefix("sub-")
        consent[label] = row[column].strip().lower() in YES and consent.get(label, True)
    return consent

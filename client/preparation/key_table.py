"""Who is who: the table that leads from a pseudonym back to a patient. It never lies in the data set.

Numbers are given in a random order, so that they say nothing of names or of when a patient came; a table that is
there is kept to, so that a patient has one pseudonym for good.
"""

import csv
import io
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import DataError
from shared.files import write_whole

COLUMNS = ("patient", "subject", "visit", "session")

_SUBJECT, _SESSION = re.compile(r"sub-(\d+)"), re.compile(r"ses-(\d+)")


@dataclass
class KeyTable:
    """The pseudonym of each patient, and the number of each of a patient's visits."""

    subjects: dict[str, str] = field(default_factory=dict)
    sessions: dict[tuple[str, str], str] = field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> "KeyTable":
        """The table at `path`, empty where there is none. Raises `DataError`."""
        table = KeyTable()
        try:
            rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t"))
        except FileNotFoundError:
            return table
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"key table {path} cannot be read ({error}): restore it, or give another --keys") from None
        if not rows or tuple(rows[0]) != COLUMNS:
            raise DataError(f"{path} is no key table (its columns are not {', '.join(COLUMNS)}): give another --keys")
        for number, row in enumerate(rows[1:], 2):
            if len(row) != len(COLUMNS) or not _SUBJECT.fullmatch(row[1]) or not _SESSION.fullmatch(row[3]):
                raise DataError(f"{path}, line {number} is no line of a key table: restore it, or give another --keys")
            patient, subject, visit, session = row
            if table.subjects.setdefault(patient, subject) != subject:
                raise DataError(f"{path}, line {number} gives {patient} a second pseudonym: restore it")
            table.sessions[patient, visit] = session
        return table

    def add(self, visits: Iterable[tuple[str, str]], rng: random.Random) -> None:
        """Give numbers to whatever patient and visit has none; visits in order of their text."""
        wanted = sorted(set(visits), key=lambda one: (one[0], _natural(one[1])))
        new = sorted({patient for patient, _ in wanted if patient not in self.subjects})
        rng.shuffle(new)
        last = max((_number(_SUBJECT, subject) for subject in self.subjects.values()), default=0)
        for number, patient in enumerate(new, last + 1):
            self.subjects[patient] = f"sub-{number:04d}"
        for patient, visit in wanted:
            if (patient, visit) not in self.sessions:
                known = [_number(_SESSION, text) for (whose, _), text in self.sessions.items() if whose == patient]
                self.sessions[patient, visit] = f"ses-{max(known, default=0) + 1}"

    def write(self, path: Path) -> None:
        """Write it for its owner alone. Raises `OSError`."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = [(patient, self.subjects[patient], visit, ses) for (patient, visit), ses in self.sessions.items()]
        rows.sort(key=lambda row: (row[1], row[3]))
        writer.writerows(rows)
        write_whole(path, text.getvalue().encode(), private=True)


def _number(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.fullmatch(text)
    return int(found.group(1)) if found else 0


def _natural(text: str) -> list[tuple[int, str]]:
    """A key by which visit 10 comes after visit 2, and a baseline first."""
    first = "" if re.match(r"baseline|bl", text) else text
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", first) if part]

"""A table twice over: as people read it, and as the numbers behind it."""

import csv
import io
from dataclasses import dataclass

Number = str | int | float | None
MISSING = "–"
"""Stands where there is no value."""


@dataclass(frozen=True)
class Sheet:
    """Numbers in full, for a CSV file; None is an empty cell."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Number, ...], ...]

    def to_csv(self) -> str:
        """CSV with one row of headings."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return stream.getvalue()


EMPTY = Sheet((), ())
"""Of what has no file beside its page."""


@dataclass(frozen=True)
class Table:
    """A table of the page. The first column names its row."""

    name: str
    """Of its file."""
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sheet: Sheet = EMPTY
    wordy: frozenset[int] = frozenset({0})
    """Columns of words, which begin at the left; numbers end at the right."""
    strong: frozenset[int] = frozenset()
    """Rows that weigh most."""


def score(value: float | None) -> str:
    """A value between 0 and 1."""
    return MISSING if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """A difference, with a true minus sign."""
    return MISSING if value is None else f"{value + 0.0:+.3f}".replace("-", "−")


def p_value(value: float | None) -> str:
    """A p value, never shown as zero."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"

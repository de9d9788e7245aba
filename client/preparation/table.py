"""The table between finding and taking: what was recognised, and why, for a person to correct.

It holds names of patients, and so is written for its owner alone and beside the data set, never in it.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.data.filenames import CONTRASTS
from client.preparation.candidates import Candidate, Found
from shared.errors import DataError, SettingsError
from shared.files import write_whole

COLUMNS = ("take", "patient", "visit", "contrast", "label", "mask", "why", "description", "voxels", "mm", "source")

CHOOSE = "CHOOSE: "
"""Begins a cell with several files, of which a person must leave one."""

YES, NO = "yes", "no"


@dataclass(frozen=True)
class Row:
    """One image, and what is to become of it."""

    candidate: Candidate
    take: bool
    patient: str
    visit: str
    contrast: str
    label: str
    """A path as the table has it; empty: none."""
    mask: str


def rows_of(found: Found, source: Path) -> list[Row]:
    """The table as it was recognised."""
    return [
        Row(
            candidate=one,
            take=one.source in found.taken,
            patient=one.patient,
            visit=one.session,
            contrast=one.contrast,
            label=_cell(one.labels, source),
            mask=_cell(one.masks, source),
        )
        for one in found.candidates
    ]


def _cell(paths: Sequence[Path], source: Path) -> str:
    names = [(path.relative_to(source) if path.is_relative_to(source) else path.resolve()).as_posix() for path in paths]
    return CHOOSE + " | ".join(names) if len(names) > 1 else "".join(names)


def lines_of(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The cells of the table, without its head."""
    return [
        (
            YES if row.take else NO,
            row.patient,
            row.visit,
            row.contrast,
            row.label,
            row.mask,
            row.candidate.why,
            row.candidate.description,
            " x ".join(str(edge) for edge in row.candidate.shape),
            " x ".join(f"{edge:.3g}" for edge in row.candidate.spacing),
            row.candidate.source,
        )
        for row in rows
    ]


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the table. Raises `OSError`."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows([COLUMNS, *lines_of(rows)])
    write_whole(path, text.getvalue().encode(), private=True)


def read_table(path: Path, found: Found) -> list[Row]:
    """The table as a person left it; rows that were deleted are not taken. Raises `DataError`."""
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"table {path} cannot be read ({error}): save it as text with tabs, in UTF-8") from None
    known = {one.source: one for one in found.candidates}
    return [_row(f"{path}, line {number}", line, known) for number, line in enumerate(lines, 2)]


def _row(where: str, line: dict[str, str | None], known: dict[str, Candidate]) -> Row:
    wanted = ("take", "patient", "visit", "contrast", "label", "mask", "source")
    if lacking := [name for name in wanted if line.get(name) is None]:
        raise DataError(f"{where} has no {', '.join(lacking)}: keep the columns, divided by tabs")
    take, patient, visit, contrast, label, mask, source = (str(line[name]).strip() for name in wanted)
    if source not in known:
        raise DataError(f"{where}: {source!r} is not in the source: leave the column `source` as it was written")
    if take not in (YES, NO):
        raise DataError(f"{where}: take is {take!r}: write {YES} or {NO}")
    return Row(known[source], take == YES, patient, visit, contrast, label, mask)


def check_rows(rows: Sequence[Row]) -> None:
    """Raise `SettingsError`, naming all, where rows to be taken leave something to decide."""
    wrong: list[str] = []
    seen: dict[tuple[str, str, str], str] = {}
    for row in (row for row in rows if row.take):
        source = row.candidate.source
        if row.contrast not in CONTRASTS:
            wrong.append(f"{source}: contrast is {row.contrast!r}, but must be {' or '.join(CONTRASTS)}")
        if not row.patient:
            wrong.append(f"{source}: whose it is stands nowhere: fill in `patient`")
        for name, cell in (("label", row.label), ("mask", row.mask)):
            if cell.startswith(CHOOSE):
                names = cell.removeprefix(CHOOSE)
                wrong.append(f"{source}: several files could be its {name} ({names}): leave one of them, or none")
        key = (row.patient, row.visit, row.contrast)
        if key in seen:
            what = f"{row.contrast} of {row.patient}{f' at {row.visit}' if row.visit else ''}"
            wrong.append(f"{seen[key]} and {source} are both the {what}: take one, or tell their visits apart")
        seen[key] = source
    if not any(row.take for row in rows):
        wrong.append("no image is to be taken: write `yes` into the column `take`")
    if wrong:
        raise SettingsError("the table leaves something to decide:\n  " + "\n  ".join(wrong))

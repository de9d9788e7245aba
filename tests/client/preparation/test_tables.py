"""The table that a person corrects, and the table that leads back to patients."""

import random
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from client.preparation.candidates import Candidate, Found
from client.preparation.key_table import KeyTable
from client.preparation.table import check_rows, read_table, rows_of, write_table
from shared.errors import DataError, SettingsError


def candidate(source: str, contrast: str = "FLAIR", labels: tuple[str, ...] = ()) -> Candidate:
    return Candidate(
        source=source,
        image=Path("source") / source,
        patient="Doe, Jane",
        session="20240105",
        contrast=contrast,
        why="its name",
        description='a "strange"\tname',
        shape=(8, 8, 8),
        spacing=(1.0, 1.0, 1.0),
        labels=tuple(Path("source") / name for name in labels),
    )


CANDIDATES = (
    candidate("a.nii", labels=("a_lesion.nii",)),
    candidate("b.nii", "T2w", ("r1.nii", "r2.nii")),
    candidate("c.nii", "other"),
)
FOUND = Found(CANDIDATES, frozenset({"a.nii", "b.nii"}), ())


def test_the_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = rows_of(FOUND, Path("source"))
    write_table(tmp_path / "table.tsv", rows)
    assert read_table(tmp_path / "table.tsv", FOUND) == rows
    assert stat.S_IMODE((tmp_path / "table.tsv").stat().st_mode) == 0o600


def test_what_a_person_must_decide_is_said_at_once() -> None:
    rows = rows_of(FOUND, Path("source"))
    with pytest.raises(SettingsError, match=r"b\.nii: several files could be its label \(r1\.nii \| r2\.nii\)"):
        check_rows(rows)
    check_rows([replace(row, label="r1.nii") for row in rows[:2]])
    both = [replace(row, label="", contrast="FLAIR") for row in rows[:2]]
    with pytest.raises(SettingsError, match=r"a\.nii and b\.nii are both the FLAIR of Doe, Jane at 20240105"):
        check_rows(both)
    with pytest.raises(SettingsError, match="contrast is 'other'"):
        check_rows([replace(rows[2], take=True)])
    with pytest.raises(SettingsError, match="no image is to be taken"):
        check_rows([replace(row, take=False) for row in rows])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("yes\t", "maybe\t", "line 2: take is 'maybe'"),
        ("a.nii\n", "z.nii\n", "'z.nii' is not in"),
        ("\t", ",", "has no"),
    ],
)
def test_a_table_that_was_spoilt_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    write_table(tmp_path / "table.tsv", rows_of(FOUND, Path("source"))[:1])
    text = (tmp_path / "table.tsv").read_text()
    (tmp_path / "table.tsv").write_text(text.replace(old, new))
    with pytest.raises(DataError, match=expected):
        read_table(tmp_path / "table.tsv", FOUND)


VISITS = [(f"patient {n}", date) for n in range(20) for date in ("20240105", "20230930")]


def test_numbers_tell_neither_names_nor_dates() -> None:
    table = KeyTable()
    table.add(VISITS, random.Random(0))
    assert sorted(table.subjects.values()) == [f"sub-{n:04d}" for n in range(1, 21)]
    assert list(table.subjects) != sorted(table.subjects, key=lambda one: int(one.split()[1]))
    assert table.sessions["patient 3", "20230930"] == "ses-1"
    assert table.sessions["patient 3", "20240105"] == "ses-2"


def test_a_patient_keeps_the_pseudonym_for_good(tmp_path: Path) -> None:
    first = KeyTable()
    first.add(VISITS[:10], random.Random(0))
    first.write(tmp_path / "keys.tsv")
    assert stat.S_IMODE((tmp_path / "keys.tsv").stat().st_mode) == 0o600
    second = KeyTable.read(tmp_path / "keys.tsv")
    assert second == first
    second.add([*VISITS, ("patient 0", "20250101")], random.Random(1))
    assert second.subjects.items() >= first.subjects.items() and second.sessions.items() >= first.sessions.items()
    assert second.sessions["patient 0", "20250101"] == "ses-3"
    assert len(set(second.subjects.values())) == 20


def test_visits_come_in_their_order_and_a_baseline_first() -> None:
    table = KeyTable()
    table.add([("a", name) for name in ("m12", "baseline", "m2")], random.Random(0))
    assert [table.sessions["a", name] for name in ("baseline", "m2", "m12")] == ["ses-1", "ses-2", "ses-3"]


@pytest.mark.parametrize("text", ["", "a\tb\n", "patient\tsubject\tvisit\tsession\nJane\t7\t\tses-1\n"])
def test_what_is_no_key_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.tsv").write_text(text)
    with pytest.raises(DataError, match="key table"):
        KeyTable.read(tmp_path / "keys.tsv")

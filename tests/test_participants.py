"""Consent must be written: whatever does not say yes, says no."""

from pathlib import Path

import pytest

from client.participants import YES, without_consent
from shared.errors import DataError

SUBJECTS = ("sub-01", "sub-02", "sub-03")


def write(folder: Path, *rows: str, header: str = "participant_id\tage\tconsent") -> Path:
    path = folder / "participants.tsv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("word", [*sorted(YES), "Yes", " TRUE "])
def test_words_that_mean_yes(tmp_path: Path, word: str) -> None:
    table = write(tmp_path, f"sub-01\t40\t{word}")
    assert without_consent(table, "consent", ["sub-01"]) == set()


@pytest.mark.parametrize("word", ["no", "0", "", "n/a", "maybe", "withdrawn", "yes?", "not given"])
def test_any_other_word_means_no(tmp_path: Path, word: str) -> None:
    table = write(tmp_path, f"sub-01\t40\t{word}", "sub-02\t41\tyes")
    assert without_consent(table, "consent", SUBJECTS[:2]) == {"sub-01"}


def test_a_subject_that_is_not_in_the_table_has_not_consented(tmp_path: Path) -> None:
    assert without_consent(write(tmp_path, "sub-01\t40\tyes"), "consent", SUBJECTS) == {"sub-02", "sub-03"}


def test_a_short_row_and_a_row_that_contradicts_another_mean_no(tmp_path: Path) -> None:
    table = write(tmp_path, "sub-01\t40", "sub-02\t40\tyes", "sub-02\t40\tno", "sub-02\t40\tyes")
    assert without_consent(table, "consent", SUBJECTS[:2]) == {"sub-01", "sub-02"}


def test_the_prefix_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    table = write(tmp_path, "01\t40\tyes", "MS_2\t40\tyes", header="\ufeffparticipant_id\tage\tconsent")
    assert without_consent(table, "consent", ["sub-01", "MS_2"]) == set()


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'agreed' \(its columns: participant_id, age, consent\)"):
        without_consent(write(tmp_path, "sub-01\t40\tyes"), "agreed", SUBJECTS)
    with pytest.raises(DataError, match="no column 'participant_id'"):
        without_consent(write(tmp_path, header="id\tconsent"), "consent", SUBJECTS)


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"participants.tsv cannot be read"):
        without_consent(tmp_path / "participants.tsv", "consent", SUBJECTS)
    (tmp_path / "participants.tsv").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(DataError, match=r"participants.tsv cannot be read"):
        without_consent(tmp_path / "participants.tsv", "consent", SUBJECTS)

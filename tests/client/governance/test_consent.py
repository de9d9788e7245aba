"""Consent: only a plain yes is one."""

from pathlib import Path

import pytest

from client.governance.consent import read_consent
from shared.errors import DataError


def table(folder: Path, text: str) -> Path:
    path = folder / "participants.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_only_yes_is_consent(tmp_path: Path) -> None:
    words = ["yes", " YES ", "y", "True", "1", "no", "", "n/a", "yes?", "0"]
    rows = "".join(f"sub-{i:02}\t{word}\n" for i, word in enumerate(words))
    consent = read_consent(table(tmp_path, f"participant_id\tshare\n{rows}"), "share")
    assert list(consent.values()) == [True] * 5 + [False] * 5


def test_a_label_is_read_with_or_without_its_prefix(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffparticipant_id\tage\tshare\n07\t40\tyes\nsub-08\t50\tyes\n")
    assert read_consent(path, "share") == {"sub-07": True, "sub-08": True}


def test_of_two_lines_one_no_decides(tmp_path: Path) -> None:
    path = table(tmp_path, "participant_id\tshare\nsub-1\tno\nsub-1\tyes\nsub-2\tyes\nsub-2\tno\n")
    assert read_consent(path, "share") == {"sub-1": False, "sub-2": False}


def test_a_short_line_is_no_consent(tmp_path: Path) -> None:
    assert read_consent(table(tmp_path, "participant_id\tshare\nsub-1\n"), "share") == {"sub-1": False}


@pytest.mark.parametrize("text", ["", "participant_id\tage\nsub-1\t3\n", "id\tshare\n1\tyes\n"])
def test_a_missing_column_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="has no column"):
        read_consent(table(tmp_path, text), "share")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"participants\.tsv cannot be read"):
        read_consent(tmp_path / "participants.tsv", "share")

"""Withdrawals: once withdrawn, a subject stays withdrawn."""

import hmac
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.governance.withdrawals import Withdrawals
from shared.errors import RecordError

NOON = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)


def pseudonym(subject: str, key: bytes = b"key") -> str:
    return hmac.new(key, subject.encode(), "sha256").hexdigest()[:16]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_who_withdrew_is_remembered_in_a_new_process(folder: Path) -> None:
    assert Withdrawals(folder, pseudonym).subjects() == frozenset()
    assert Withdrawals(folder, pseudonym).add(pseudonym("sub-07"), NOON)
    assert Withdrawals(folder, pseudonym).subjects() == {pseudonym("sub-07")}


def test_withdrawing_again_changes_nothing(folder: Path) -> None:
    listed = Withdrawals(folder, pseudonym)
    listed.add(pseudonym("sub-07"), NOON)
    before = (folder / "withdrawals.json").read_bytes()
    assert not listed.add(pseudonym("sub-07"), NOON.replace(year=2031))
    assert (folder / "withdrawals.json").read_bytes() == before


def test_the_file_names_nobody_and_is_its_owner_s_alone(folder: Path) -> None:
    Withdrawals(folder, pseudonym).add(pseudonym("sub-07"), NOON)
    assert b"sub-07" not in (folder / "withdrawals.json").read_bytes()
    assert (folder / "withdrawals.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["sub-07", "", "0123456789ABCDEF"])
def test_a_name_is_not_taken_for_a_pseudonym(folder: Path, name: str) -> None:
    with pytest.raises(RecordError, match="derive it first"):
        Withdrawals(folder, pseudonym).add(name, NOON)


def test_under_another_key_the_list_is_refused(folder: Path) -> None:
    Withdrawals(folder, pseudonym).add(pseudonym("sub-07"), NOON)
    other = Withdrawals(folder, lambda subject: pseudonym(subject, b"other"))
    with pytest.raises(RecordError, match="another pseudonym key"):
        other.subjects()
    with pytest.raises(RecordError, match="another pseudonym key"):
        other.add(pseudonym("sub-08", b"other"), NOON)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format":2}', b"\xff"])
def test_a_damaged_list_is_not_an_empty_one(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "withdrawals.json").write_bytes(content)
    with pytest.raises(RecordError, match="were damaged: nothing is shared"):
        Withdrawals(folder, pseudonym).subjects()


def test_a_list_that_cannot_be_read_is_not_an_empty_one(folder: Path) -> None:
    (folder / "withdrawals.json").mkdir(parents=True)
    with pytest.raises(RecordError, match="cannot be read"):
        Withdrawals(folder, pseudonym).subjects()


def test_where_the_disk_is_full_the_subject_is_said_not_to_be_withdrawn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Withdrawals(folder, pseudonym)
    listed.add(pseudonym("sub-07"), NOON)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RecordError, match="NOT withdrawn"):
            listed.add(pseudonym("sub-08"), NOON)
    assert listed.subjects() == {pseudonym("sub-07")}


@given(st.lists(st.integers(0, 5), max_size=10))
def test_in_whatever_order_each_is_listed_once(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    listed = Withdrawals(tmp_path_factory.mktemp("state"), pseudonym)
    added = [listed.add(pseudonym(str(i)), NOON) for i in order]
    assert listed.subjects() == {pseudonym(str(i)) for i in order}
    assert sum(added) == len(set(order))

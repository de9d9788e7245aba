"""The records of a hospital are begun once, and one that was lost is no empty one."""

import shutil
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from client.governance import records
from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from client.governance.pseudonyms import pseudonym, pseudonym_key
from client.governance.records import Records
from client.governance.withdrawals import Withdrawals
from shared.errors import RecordError

NOON = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)
FILES = ("audit/audit.jsonl", "audit/audit.head", "withdrawals.json", "pseudonyms/grace.key")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    Records(tmp_path / "state", "grace")
    return tmp_path / "state"


def withdrawals(state: Path) -> Withdrawals:
    return Withdrawals(state, partial(pseudonym, pseudonym_key(state, "grace")))


def test_in_a_new_folder_all_records_are_begun_for_their_owner_alone(state: Path) -> None:
    assert all((state / name).stat().st_mode & 0o777 == 0o600 for name in FILES)
    assert AuditLog(state / "audit").entries() == () and withdrawals(state).subjects() == frozenset()


def test_what_a_hospital_has_before_its_records_is_no_record(tmp_path: Path) -> None:
    for name in ("keys", "flower", "prepared"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    AuditLog(tmp_path / "audit")  # which makes its folder
    Records(tmp_path, "grace")


def test_records_that_are_there_stay_as_they_are(state: Path) -> None:
    AuditLog(state / "audit").append("sent", Facts(message="exemplars"))
    withdrawals(state).add("0" * 16, NOON)
    before = [(state / name).read_bytes() for name in FILES]
    Records(state, "grace")
    assert [(state / name).read_bytes() for name in FILES] == before


@pytest.mark.parametrize("name", FILES)
def test_a_record_that_was_lost_is_named_with_what_to_do(state: Path, name: str) -> None:
    (state / name).unlink()
    with pytest.raises(RecordError, match=f"{name} of .* was lost, so nothing is answered or sent: restore the state"):
        Records(state, "grace")
    assert not (state / name).exists()


def test_records_without_their_marker_are_not_begun_over(state: Path) -> None:
    (state / "records.json").unlink()
    (state / "withdrawals.json").unlink()
    with pytest.raises(RecordError, match=r"holds pseudonyms/grace\.key but no records\.json"):
        Records(state, "grace")


@pytest.mark.parametrize("folder", ["divisions", "visits"])
def test_nor_where_all_records_are_gone_and_their_runs_are_not(state: Path, folder: str) -> None:
    for name in ("audit", "pseudonyms"):
        shutil.rmtree(state / name)
    for name in ("records.json", "withdrawals.json"):
        (state / name).unlink()
    (state / folder / "some").mkdir(parents=True)
    with pytest.raises(RecordError, match=f"holds {folder}/some but no"):
        Records(state, "grace")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"sha256": "0", "body": {"whole": true}}'])
def test_a_damaged_marker_is_not_a_missing_one(state: Path, content: bytes) -> None:
    (state / "records.json").write_bytes(content)
    with pytest.raises(RecordError, match="cannot be relied on"):
        Records(state, "grace")


def test_the_records_of_another_center_are_refused(state: Path) -> None:
    with pytest.raises(RecordError, match=r"holds the records of grace, not of mercy: each hospital needs a state-dir"):
        Records(state, "mercy")


@pytest.mark.parametrize("step", ["pseudonym_key", "Withdrawals", "AuditLog"])
def test_a_beginning_that_was_cut_short_is_brought_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(records, step, killed)
        with pytest.raises(KeyboardInterrupt):
            Records(tmp_path, "grace")
    Records(tmp_path, "grace")
    assert all((tmp_path / name).is_file() for name in FILES)

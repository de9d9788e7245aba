"""The audit log on disk: durable, shared by processes, and honest after a power cut."""

import json
import multiprocessing
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts, Head
from shared.errors import RecordError
from shared.files import locked

NOON = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)
FACTS = Facts(message="train reply", run="run-1", stage=2, centers=("karo",), size=7, subjects=("0123456789abcdef",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def log(folder: Path) -> AuditLog:
    return AuditLog(folder, clock=lambda: NOON)


def lines(folder: Path) -> list[bytes]:
    return (folder / "audit.jsonl").read_bytes().splitlines(keepends=True)


def test_entries_are_read_back_in_order(log: AuditLog) -> None:
    log.append("received", FACTS)
    log.append("sent", FACTS)
    assert [(e.sequence, e.kind, e.time) for e in log.entries()] == [
        (1, "received", "2030-05-01T12:00:00Z"),
        (2, "sent", "2030-05-01T12:00:00Z"),
    ]
    assert log.entries()[0].facts == FACTS
    assert log.verify().sound


def test_an_empty_log_is_sound(log: AuditLog) -> None:
    assert log.verify().sound
    assert log.entries() == ()
    assert log.head() == Head()


def test_time_is_utc_whatever_the_clock_s_zone(folder: Path) -> None:
    there = timezone(timedelta(hours=2))
    AuditLog(folder, clock=lambda: NOON.astimezone(there)).append("sent", FACTS)
    assert json.loads(lines(folder)[0])["time"] == "2030-05-01T12:00:00Z"


def test_the_log_tells_which_subjects_were_ever_sent(log: AuditLog) -> None:
    log.append("sent", FACTS)
    log.append("withdrawn", Facts(message="withdraw", subjects=("aaaaaaaaaaaaaaaa",)))
    assert log.subjects("sent") == {"0123456789abcdef"}
    assert log.subjects("withdrawn") == {"aaaaaaaaaaaaaaaa"}


def test_files_are_for_the_owner_alone(log: AuditLog, folder: Path) -> None:
    log.append("sent", FACTS)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir()} == {
        "audit.jsonl": 0o600,
        "audit.head": 0o600,
        "audit.lock": 0o600,
    }


def test_an_entry_is_on_disk_before_the_head(log: AuditLog, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append("sent", FACTS)
    synced: list[str] = []
    fsync = os.fsync

    def watch(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name.split("-")[0])
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    log.append("sent", FACTS)
    assert synced == ["audit.jsonl", ".new", "state"], "the log, the new head, the folder in which it takes its name"


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_torn_line_is_cut_off_and_said_so(log: AuditLog, folder: Path, kept: int) -> None:
    """A power cut during the third write: its bytes are partly there, its head is not."""
    log.append("sent", FACTS)
    log.append("sent", FACTS)
    head = (folder / "audit.head").read_bytes()
    log.append("refused", FACTS)
    torn = lines(folder)[2][:kept]
    (folder / "audit.jsonl").write_bytes(b"".join(lines(folder)[:2]) + torn)
    (folder / "audit.head").write_bytes(head)
    verdict = log.verify()
    assert verdict.sound
    assert f"torn: {len(torn)} bytes" in verdict.notes[0]
    log.append("received", FACTS)
    assert [e.kind for e in log.entries()] == ["sent", "sent", "mended", "received"]
    assert log.entries()[2].facts.size == len(torn)
    assert log.verify().notes == ()


def test_a_whole_line_before_its_head_is_kept(log: AuditLog, folder: Path) -> None:
    log.append("sent", FACTS)
    head = (folder / "audit.head").read_bytes()
    log.append("refused", FACTS)
    (folder / "audit.head").write_bytes(head)
    assert log.verify().sound
    log.append("received", FACTS)
    assert [e.kind for e in log.entries()] == ["sent", "refused", "received"]
    assert log.verify().notes == ()


def test_the_very_first_write_can_be_interrupted(log: AuditLog, folder: Path) -> None:
    log.append("sent", FACTS)
    (folder / "audit.head").unlink()
    log.append("received", FACTS)
    assert [e.kind for e in log.entries()] == ["sent", "received"]


def test_a_disk_that_fills_up_loses_no_entry_and_says_so(
    log: AuditLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append("sent", FACTS)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RecordError, match=r"No space left on device.*nothing is sent"):
            log.append("sent", FACTS)
    log.append("received", FACTS)
    assert log.entries()[-1].kind == "received"


def test_a_log_cut_at_its_end_takes_no_entry(log: AuditLog, folder: Path) -> None:
    for _ in range(3):
        log.append("sent", FACTS)
    (folder / "audit.jsonl").write_bytes(b"".join(lines(folder)[:2]))
    with pytest.raises(RecordError, match="its end was cut off"):
        log.append("sent", FACTS)
    with pytest.raises(RecordError, match="entries 3 to 3 were cut off"):
        log.entries()


def test_a_lost_log_is_noticed(log: AuditLog, folder: Path) -> None:
    log.append("sent", FACTS)
    (folder / "audit.jsonl").unlink()
    assert "cut off" in str(log.verify().problem)
    with pytest.raises(RecordError, match="cut off"):
        log.append("sent", FACTS)


def test_a_lost_or_old_head_is_noticed(log: AuditLog, folder: Path) -> None:
    log.append("sent", FACTS)
    old = (folder / "audit.head").read_bytes()
    log.append("sent", FACTS)
    log.append("sent", FACTS)
    (folder / "audit.head").write_bytes(old)
    with pytest.raises(RecordError, match="goes on after the entry"):
        log.append("sent", FACTS)
    (folder / "audit.head").unlink()
    assert "not known to the head file" in str(log.verify().problem)
    (folder / "audit.head").write_bytes(b"{}x")
    with pytest.raises(RecordError, match="no head of an audit log"):
        log.append("sent", FACTS)


def test_a_foreign_line_at_the_end_is_not_taken_for_an_interrupted_write(log: AuditLog, folder: Path) -> None:
    log.append("sent", FACTS)
    content = (folder / "audit.jsonl").read_bytes()
    (folder / "audit.jsonl").write_bytes(content + content)
    with pytest.raises(RecordError, match="goes on after the entry"):
        log.append("sent", FACTS)


def test_a_changed_log_is_not_read(log: AuditLog, folder: Path) -> None:
    log.append("sent", FACTS)
    (folder / "audit.jsonl").write_bytes(lines(folder)[0].replace(b'"size":7', b'"size":8'))
    assert "line 1 (entry 1) was changed" in str(log.verify().problem)
    with pytest.raises(RecordError, match=r"line 1 \(entry 1\) was changed.*nothing is sent"):
        log.subjects("sent")


def _write_many(folder: Path, count: int) -> None:
    log = AuditLog(folder)
    for _ in range(count):
        log.append("sent", FACTS)


def test_processes_write_one_chain(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(folder, 10)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(AuditLog(folder).entries()) == 30


def test_who_writes_holds_the_lock(log: AuditLog, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append("sent", FACTS)
    fsync = os.fsync

    def watch(handle: int) -> None:
        with pytest.raises(RecordError, match="locked"), locked(folder / "audit.lock", seconds=0):
            pass
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    log.append("sent", FACTS)

"""Files for their owner alone, and locks between processes."""

import os
import threading
from pathlib import Path

import pytest

from shared.errors import RecordError
from shared.files import locked, private_folder, write_whole


def test_a_file_is_replaced_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "list"
    write_whole(path, b"old", private=True)
    write_whole(path, b"new", private=True)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["list"]


def test_where_writing_fails_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list"
    write_whole(path, b"old", private=True)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new", private=True)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["list"]


def test_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watch_sync(handle: int) -> None:
        steps.append("sync")
        fsync(handle)

    def watch_replace(self: Path, target: Path) -> Path:
        steps.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watch_sync)
    monkeypatch.setattr(Path, "replace", watch_replace)
    write_whole(tmp_path / "list", b"new", private=True)
    assert steps == ["sync", "replace", "sync"]


def test_a_held_lock_keeps_another_out_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path), pytest.raises(RecordError, match="locked by another process"), locked(path, seconds=0.05):
        pass
    with locked(path, seconds=0.05):
        pass


def test_who_waits_gets_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    order: list[str] = []

    def second() -> None:
        with locked(path):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(path):
        thread.start()
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_a_lock_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot be opened"), locked(tmp_path / "file" / "lock"):
        pass


def test_a_state_folder_is_its_owner_s(tmp_path: Path) -> None:
    assert private_folder(tmp_path / "a", "state folder").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="state folder"):
        private_folder(tmp_path / "file", "state folder")

"""Durable files: whole or not at all, and a changed byte is noticed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DamagedError
from shared.files import NEW, file_checksum, folder_whole, read_document, write_document, write_whole
from tests.support.examples import examples


class PowerCut(BaseException):
    """The process ends, here and now."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


bodies = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in range(0xD000, 0xD800)])),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(st.characters(codec="ascii")), inner)),
    max_leaves=12,
)
many = examples()


# A file


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for data in (b"one", memoryview(b"two"), b""):
        write_whole(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == bytes(data)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("old", [b"precious", None])
def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path, old: bytes | None) -> None:
    if old is not None:
        (tmp_path / "file").write_bytes(old)
    with pytest.raises(TypeError):
        write_whole(tmp_path / "file", "no bytes")  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({"file": old} if old else {})


def test_a_rename_that_fails_leaves_no_rest(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_where_nothing_can_be_written_the_error_is_the_disk_s(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "file", b"new")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_whole(tmp_path / "file" / "below", b"new")


def test_another_name_of_the_old_file_keeps_the_old_content(tmp_path: Path) -> None:
    """Extended runs rely on it: they share files with the run that they extend."""
    write_whole(tmp_path / "file", b"old")
    os.link(tmp_path / "file", tmp_path / "other")
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "other").read_bytes() == b"old"


# A folder


def test_a_folder_appears_when_all_is_in_it(tmp_path: Path) -> None:
    with folder_whole(tmp_path / "new") as new:
        (new / "a").write_text("a")
        assert not (tmp_path / "new").exists()
        assert new.parent.name.startswith(NEW), "which a reader passes over"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (tmp_path / "new" / "a").read_text() == "a"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, PowerCut])
def test_a_folder_whose_writing_fails_never_was(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with folder_whole(tmp_path / "new") as new:
            (new / "a").write_text("a")
            raise error

    with pytest.raises(error):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_written_over_another(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "precious").touch()
    with pytest.raises(OSError, match="not empty"), folder_whole(tmp_path / "new") as new:
        (new / "a").write_text("a")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["new", "new/precious"]


# A document


@many
@given(body=bodies)
def test_a_document_comes_back(folder: Path, body: Any) -> None:
    write_document(folder / "document", body)
    back = read_document(folder / "document")
    assert back == body and json.dumps(back, sort_keys=True) == json.dumps(body, sort_keys=True)
    assert json.loads((folder / "document").read_text())["body"] == body, "and any JSON reader reads it"


@examples(3)
@given(body=bodies, data=st.data())
def test_a_single_changed_byte_is_noticed_or_changes_nothing(folder: Path, body: Any, data: st.DataObject) -> None:
    path = folder / "document"
    write_document(path, body)
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    try:
        back = read_document(path)
    except DamagedError as error:
        back = body
        message = str(error)
    else:
        message = "unchanged: "
    assert json.dumps(back, sort_keys=True) == json.dumps(body, sort_keys=True)
    assert str(path) in message or message == "unchanged: "


@many
@given(body=bodies, data=st.data())
def test_a_document_cut_off_anywhere_is_noticed(folder: Path, body: Any, data: st.DataObject) -> None:
    path = folder / "document"
    write_document(path, body)
    whole = path.stat().st_size
    os.truncate(path, data.draw(st.integers(0, whole - 3)))  # its last two bytes are the brace and the line's end
    with pytest.raises(DamagedError, match="document is damaged"):
        read_document(path)


@many
@given(raw=st.one_of(st.binary(max_size=80), bodies.map(lambda body: json.dumps(body).encode())))
def test_whatever_was_not_written_as_a_document_is_none(folder: Path, raw: bytes) -> None:
    (folder / "document").write_bytes(raw)
    with pytest.raises(DamagedError, match="document is damaged"):
        read_document(folder / "document")


def test_a_document_that_is_missing_is_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_document(tmp_path / "document")


def test_a_document_that_is_a_folder_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="is damaged"):
        read_document(tmp_path)


def test_what_json_cannot_hold_leaves_the_old_document(tmp_path: Path) -> None:
    write_document(tmp_path / "document", 1)
    with pytest.raises(TypeError):
        write_document(tmp_path / "document", {"path": tmp_path})
    assert read_document(tmp_path / "document") == 1


def test_a_checksum_is_the_one_that_sha256sum_prints(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert file_checksum(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

"""Reading a journal: what is damaged is noticed, named, set aside and kept."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.journal.journal import Journal
from server.journal.records import Row
from server.results import versions
from shared.config.settings import Settings
from shared.errors import ResultsError
from shared.files import NEW, read_document, write_document
from shared.stage_archive import NO_TRANSIT
from tests.support.journals import ORDER, content, files_in, flip, journal_of, untested, visit_of

STAGE_FILES = ["visit.json", "model.safetensors", "exemplars.safetensors"]


@pytest.mark.parametrize("name", STAGE_FILES)
@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize(
    "damage",
    [flip, lambda path: path.unlink(), lambda path: os.truncate(path, 30), lambda path: os.truncate(path, 0)],
    ids=["bit", "missing", "truncated", "empty"],
)
def test_a_damaged_stage_is_set_aside_with_what_built_on_it(
    tmp_path: Path, settings: Settings, stage: int, name: str, damage: Callable[[Path], None]
) -> None:
    before = content(journal_of(tmp_path, settings))
    folder = tmp_path / "journal"
    damage(folder / f"stage-{stage:03d}" / name)
    left = files_in(folder)
    journal = Journal.open(tmp_path)
    assert journal.trained == stage
    after = content(journal)
    assert after["weights"] == before["weights"][:stage]
    assert after["records"] == before["records"][:stage]
    assert after["memory"] == before["memory"][:stage]
    (said,) = journal.damaged
    assert str(folder / f"stage-{stage:03d}" / name) in said
    assert f"stage {stage + 1} is trained again" in said
    assert sorted(files_in(folder).values()) == sorted(left.values()), "nothing is deleted"
    aside = sorted(path.name for path in folder.glob("damaged-*"))
    assert [path.rpartition("-stage-")[2] for path in aside] == [f"{index:03d}" for index in range(stage, 3)]


def test_what_was_set_aside_can_be_done_again(tmp_path: Path, settings: Settings) -> None:
    journal_of(tmp_path, settings)
    for _ in range(2):
        flip(tmp_path / "journal" / "stage-001" / "model.safetensors")
        journal = Journal.open(tmp_path)
        assert journal.trained == 1
        for _ in range(2):
            journal.add_visit(*visit_of(journal, settings), settings, NO_TRANSIT)
        assert Journal.open(tmp_path).trained == 3
        assert Journal.open(tmp_path).damaged == []
    assert len(list((tmp_path / "journal").glob("damaged-*"))) == 4


@pytest.mark.parametrize("stage", [0, 1])
def test_a_stage_that_is_missing_among_others_ends_the_journal_before_it(
    tmp_path: Path, settings: Settings, stage: int
) -> None:
    journal_of(tmp_path, settings)
    folder = tmp_path / "journal"
    (folder / f"stage-{stage:03d}").rename(tmp_path / "elsewhere")
    journal = Journal.open(tmp_path)
    assert journal.trained == stage
    (said,) = journal.damaged
    assert f"stage-{stage:03d} is missing" in said
    assert len(list(folder.glob("damaged-*"))) == 2 - stage


def test_a_stage_under_another_s_name_is_not_used(tmp_path: Path, settings: Settings) -> None:
    journal_of(tmp_path, settings)
    folder = tmp_path / "journal"
    (folder / "stage-001").rename(tmp_path / "elsewhere")
    (folder / "stage-002").rename(folder / "stage-001")
    journal = Journal.open(tmp_path)
    assert journal.trained == 1
    assert "holds stage 3" in journal.damaged[0]


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: os.truncate(path, 30),
        lambda path: path.write_text("[]"),
        lambda path: write_document(path, {"tests": {"amu": 3}}),
        lambda path: write_document(path, []),
    ],
    ids=["bit", "truncated", "list", "wrong", "wrong-kind"],
)
def test_the_model_of_a_damaged_row_is_tested_again(
    tmp_path: Path, settings: Settings, damage: Callable[[Path], None]
) -> None:
    journal_of(tmp_path, settings)
    path = tmp_path / "journal" / "stage-001" / "row.json"
    damage(path)
    journal = Journal.open(tmp_path)
    assert journal.trained == 3
    assert untested(journal) == [(), ORDER, ()]
    assert journal.row(1) == Row()
    (said,) = journal.damaged
    assert str(path) in said or "Row" in said
    assert "tested again" in said


@pytest.mark.parametrize(
    "damage",
    [flip, lambda path: path.write_bytes(b"\xff"), lambda path: write_document(path, [{"when": "today"}])],
    ids=["bit", "bytes", "wrong"],
)
def test_damaged_attempts_are_forgotten_aloud_and_nothing_else(
    tmp_path: Path, settings: Settings, damage: Callable[[Path], None]
) -> None:
    before = content(journal_of(tmp_path, settings))
    damage(tmp_path / "journal" / "attempts.json")
    journal = Journal.open(tmp_path)
    assert journal.attempts == []
    assert "earlier attempts are forgotten" in journal.damaged[0]
    assert content(journal) == before | {"attempts": []}
    journal.add_attempt(9, "here", versions())
    assert len(Journal.open(tmp_path).attempts) == 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "holds no journal of a run"),
        (flip, "does not match its checksum"),
        (lambda path: os.truncate(path, 40), "is damaged"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: path.write_bytes(os.urandom(64)), "is damaged"),
        (lambda path: path.write_text("{}"), "is damaged"),
        (lambda path: path.write_text("3"), "is damaged"),
        (lambda path: write_document(path, {}), "cannot be used"),
        (lambda path: write_document(path, []), "cannot be used"),
        (lambda path: write_document(path, read_document(path) | {"order": []}), "cannot be used"),
        (lambda path: write_document(path, read_document(path) | {"format": 99}), "use the version that wrote it"),
        (lambda path: (path.unlink(), path.mkdir()), "is damaged"),
    ],
    ids=[
        "missing",
        "bit",
        "truncated",
        "empty",
        "noise",
        "no-checksum",
        "number",
        "nothing",
        "list",
        "no-order",
        "format",
        "folder",
    ],
)
def test_a_first_page_that_cannot_be_used_is_one_clear_error_and_nothing_is_touched(
    tmp_path: Path, settings: Settings, damage: Callable[[Path], Any], said: str
) -> None:
    journal_of(tmp_path, settings)
    damage(tmp_path / "journal" / "run.json")
    left = files_in(tmp_path)
    with pytest.raises(ResultsError, match=said) as caught:
        Journal.open(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert files_in(tmp_path) == left


def test_a_folder_without_a_journal_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no journal of a run"):
        Journal.open(tmp_path)


def test_what_an_interrupted_write_left_is_no_part_of_the_journal(tmp_path: Path, settings: Settings) -> None:
    before = content(journal_of(tmp_path, settings))
    folder = tmp_path / "journal"
    half = folder / f"{NEW}abc" / "stage-003"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    for where in (tmp_path, folder, folder / "stage-002"):
        (where / f"{NEW}def").write_text("half a document")
    assert content(Journal.open(tmp_path)) == before
    assert not list(tmp_path.rglob(f"{NEW}*")), "they take room, and nobody needs them"

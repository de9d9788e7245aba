"""Malformed results folders end in one clear line, and nothing in them is lost or added."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scenarios.runner.resume import HowLaunched
from server.results import write_results
from shared.config.settings import Settings
from shared.course import plan_course
from shared.files import read_document, write_document
from tests.support.commands import one_line
from tests.support.journals import ORDER, journal_of


@pytest.fixture
def settings(run_config: dict[str, Any], tmp_path: Path) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "cache-dir": str(tmp_path / "cache")})


@pytest.fixture
def finished(tmp_path: Path, settings: Settings) -> Path:
    """The folder of a finished run."""
    folder = tmp_path / "run"
    folder.mkdir()
    journal = journal_of(folder, settings)
    write_results(folder, settings, plan_course(ORDER, settings.run), journal)
    HowLaunched(run_config=settings.to_run_config() | {"output-dir": str(folder)}).save(folder)
    return folder


def rewrite(name: str, **changes: Any) -> Callable[[Path], Any]:
    """Change a document, and give it the right checksum."""
    return lambda folder: write_document(folder / name, read_document(folder / name) | changes)


def write(name: str, content: str | bytes) -> Callable[[Path], Any]:
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(raw)


def unfinished(folder: Path) -> None:
    """Take the last stage and the results away."""
    (folder / "journal" / "stage-002").rename(folder.parent / "elsewhere")
    (folder / "results.json").unlink()


RUN = "journal/run.json"
EXTEND = ("extend", "--center", "rennes", "--output", "{longer}")
EVALUATE = ("evaluate", "--center", "amu")


def nothing(folder: Path) -> None:
    """Leave it as it is."""


FOLDERS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...], str]] = {
    "first page empty": (write(RUN, ""), ("resume",), "is damaged"),
    "first page noise": (write(RUN, bytes(range(200, 256))), ("resume",), "is damaged"),
    "first page a number": (write(RUN, "7"), ("resume",), "is damaged"),
    "first page a list": (write(RUN, "[]"), ("resume",), "is damaged"),
    "first page deep": (write(RUN, "[" * 5000), ("resume",), "is damaged"),
    "first page with a wrong checksum": (write(RUN, '{"sha256": "0", "body": {}}'), EXTEND, "checksum"),
    "first page without settings": (rewrite(RUN, settings={}), ("resume",), "method is missing"),
    "first page with a wrong setting": (
        lambda folder: rewrite(RUN, settings=read_document(folder / RUN)["settings"] | {"seed": -1})(folder),
        EVALUATE,
        "seed = -1",
    ),
    "first page without order": (rewrite(RUN, order=[]), ("resume",), "cannot be used"),
    "first page of another kind": (rewrite(RUN, order=3), EXTEND, "cannot be used"),
    "first page of another format": (rewrite(RUN, format=99), ("resume",), "use the version that wrote it"),
    "launch note damaged": (write("launch.json", "{"), ("resume",), "launch.json cannot be used"),
    "launch note of another kind": (rewrite("launch.json", cpus="many"), ("resume",), "launch.json cannot be used"),
    "results damaged": (write("results.json", "{"), ("resume",), "results.json is damaged"),
    "another science": (nothing, ("resume", "-c", "seed=9"), "seed = 9 here, 0 there"),
    "an unknown key": (nothing, ("resume", "-c", "sead=9"), "unknown key 'sead'"),
    "no key": (nothing, ("resume", "-c", "seed"), "is not key=value"),
    "extended by its own center": (nothing, ("extend", "--center", "amu", "--output", "{longer}"), "already"),
    "extended by no name": (nothing, ("extend", "--center", "new york", "--output", "{longer}"), "no center name"),
    "extended by an unknown hospital": (
        nothing,
        ("extend", "--center", "atlantis", "--output", "{longer}"),
        "there is no center 'atlantis'",
    ),
    "extended into itself": (nothing, ("extend", "--center", "nih", "--output", "{run}"), "is not empty"),
    "extended before its end": (unfinished, EXTEND, "is not finished"),
    "evaluated at nobody": (nothing, ("evaluate", "--center", "atlantis"), "is no center of the run"),
    "evaluated before its end": (unfinished, EVALUATE, "is not finished"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_malformed_results_folder(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    damage, (command, *options), expected = FOLDERS[name]
    damage(finished)
    before = files_in(finished)
    longer = finished.parent / "longer"
    words = [option.format(longer=longer, run=finished) for option in options]
    one_line(monkeypatch, capsys, command, str(finished), *words, expected=expected)
    assert files_in(finished) == before, "nothing is lost, and nothing added"
    assert not longer.exists()


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


NO_RUNS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda folder: None, "is no folder"),
    "a file": (lambda folder: folder.write_text("results"), "is no folder"),
    "empty": (lambda folder: folder.mkdir(), "holds no run"),
    "a link to nothing": (lambda folder: folder.symlink_to("nowhere"), "is no folder"),
    "a link to itself": (lambda folder: folder.symlink_to(folder), "is no folder"),
}


@pytest.mark.parametrize("command", [("resume",), EXTEND, EVALUATE], ids=lambda words: words[0])
@pytest.mark.parametrize("name", NO_RUNS)
def test_a_folder_that_holds_no_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    command: tuple[str, ...],
) -> None:
    make, expected = NO_RUNS[name]
    make(tmp_path / "run")
    words = [option.format(longer=tmp_path / "longer") for option in command[1:]]
    expected = expected.replace("holds no run", "holds no ")
    one_line(monkeypatch, capsys, command[0], str(tmp_path / "run"), *words, expected=expected)
    assert not (tmp_path / "longer").exists()

"""Where things are kept: the cache that was asked for, results in a folder of their own."""

import signal
from pathlib import Path
from typing import Any

import pytest

from shared.config.groups import RunSettings
from shared.config.settings import Settings
from shared.errors import ResultsError
from shared.paths import cache_folder, claimed, results_folder, writable_folder
from tests.support.processes import other_run


@pytest.fixture
def run(run_config: dict[str, Any]) -> RunSettings:
    return Settings.from_run_config(run_config).run


def into(run: RunSettings, folder: Path | str) -> RunSettings:
    return run.model_copy(update={"output_dir": str(folder)})


def test_the_cache_is_where_it_was_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDROUND_CACHE", str(tmp_path / "environment"))
    assert cache_folder(str(tmp_path / "configured")) == tmp_path / "configured"
    assert cache_folder() == tmp_path / "environment"


def test_otherwise_the_cache_is_in_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WARDROUND_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "wardround"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "wardround"
    assert cache_folder("~/kept") == tmp_path / "kept"


def test_the_cache_s_folder_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cache_folder("kept") == tmp_path / "kept"


def test_a_folder_that_is_missing_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert writable_folder(folder, "results folder") == folder
    assert folder.is_dir()
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_written_is_named_with_its_purpose(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ResultsError, match=r"cache folder .*/file/below is not writable") as caught:
        writable_folder(file / "below", "cache folder")
    assert "choose another folder" in str(caught.value)
    with pytest.raises(ResultsError, match="is not writable"):
        writable_folder(file, "cache folder")


def test_results_go_into_a_new_or_empty_folder(run: RunSettings, tmp_path: Path) -> None:
    assert results_folder(into(run, tmp_path / "new")) == tmp_path / "new"
    assert results_folder(into(run, tmp_path / "new")) == tmp_path / "new"


def test_earlier_results_are_never_mixed_with_new_ones(run: RunSettings, tmp_path: Path) -> None:
    (tmp_path / "results.json").touch()
    with pytest.raises(ResultsError, match="is not empty: choose a new one"):
        results_folder(into(run, tmp_path))


def test_results_below_a_file_are_refused(run: RunSettings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "results"):
        with pytest.raises(ResultsError, match=r"results folder .* is not writable"):
            results_folder(into(run, folder))


def test_a_relative_results_folder_becomes_absolute(
    run: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert results_folder(into(run, "here")) == tmp_path / "here"


def test_otherwise_results_get_a_dated_folder_that_says_what_ran(
    run: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = results_folder(run)
    assert folder.parent == tmp_path / "runs"
    assert folder.is_dir()
    assert folder.name.endswith("-replay-descending-seed0")


def test_two_runs_within_a_second_do_not_share_their_results(
    run: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [results_folder(run) for _ in range(4)]
    assert len(set(folders)) == len(folders)


def test_a_results_folder_is_one_process_s_until_it_ends_however(tmp_path: Path) -> None:
    with other_run(tmp_path) as other:
        with pytest.raises(ResultsError, match="is in use by another run"), claimed(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with claimed(tmp_path):
            pass
    with claimed(tmp_path), pytest.raises(ResultsError, match="is in use by another run"), claimed(tmp_path):
        pass

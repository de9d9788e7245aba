"""The command line ends at once, with one clear line and a non-zero exit, where a run cannot work."""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scenarios.cli.main import cli
from shared.methods import METHODS
from tests.conftest import ROOT
from tests.support.commands import call

WARDROUND = Path(sysconfig.get_path("scripts")) / "wardround"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-c", "method=magic"], "method = 'magic'"),
        (["-c", "centers=atlantis"], "atlantis"),
        (["-c", "mode=paper"], "unknown key 'mode'"),
        (["-c", "order=sideways"], "order = 'sideways'"),
        (["missing.toml"], "missing.toml cannot be read"),
        ([str(ROOT / "LICENSE")], "is not TOML"),
        (["-c", "batch-size=0"], "batch-size = 0"),
        (["-c", "replay-share=-0.1"], "replay-share = -0.1"),
        (["-c", "data-dir=/nowhere/at/all"], "/nowhere/at/all/bwh does not exist"),
        (["-c", f"cache-dir={ROOT / 'LICENSE'}/below"], "is not writable"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input_ends_with_one_line(
    words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = call(monkeypatch, capsys, "run", *words)
    assert code == 1
    assert error.startswith("wardround: ")
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_package_for_tracking_that_is_missing_is_named_before_hospitals_are_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    changes = ("-c", "tracking=mlflow", "-c", f"cache-dir={tmp_path / 'cache'}")
    code, error = call(monkeypatch, capsys, command, *changes, "--output", str(tmp_path / "results"))
    assert code == 1
    assert "pip install -e '.[tracking]'" in error
    assert not (tmp_path / "cache").exists()


def test_the_help_of_run_lists_every_method() -> None:
    shown = CliRunner().invoke(cli, ["run", "--help"]).stdout
    assert set(METHODS) <= set(re.findall(r"\w+", shown.partition("NAME takes: ")[2].partition(".")[0]))


def test_an_empty_data_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "milan").mkdir()
    code, error = call(monkeypatch, capsys, "run", "-c", f"data-dir={tmp_path}", "-c", "centers=milan")
    assert code == 1
    assert f"{tmp_path / 'milan'} is laid out in no known way" in error


def test_a_folder_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(ROOT / "scenarios" / "smoke.toml"), "--output", f"{ROOT / 'LICENSE'}/below"]
    code, error = call(monkeypatch, capsys, *words)
    assert code == 1
    assert f"results folder {ROOT / 'LICENSE'}/below is not writable" in error


def test_results_are_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text("precious")
    words = ["run", str(ROOT / "scenarios" / "smoke.toml"), "--output", str(tmp_path)]
    code, error = call(monkeypatch, capsys, *words)
    assert code == 1
    assert "is not empty" in error
    assert (tmp_path / "results.json").read_text() == "precious"


def test_a_command_brings_in_no_library_that_it_does_not_need() -> None:
    """`enroll`, `join` and `--help` start at once, and what stays joined for months takes little memory."""
    heavy = {"torch", "monai", "flwr", "ray", "matplotlib", "nilearn", "pandas", "scipy"}
    code = f"import sys, scenarios.cli.main; print(sorted({heavy!r} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"


def test_help_shows_the_next_step() -> None:
    shown = subprocess.run([WARDROUND, "--help"], capture_output=True, text=True, check=True).stdout
    assert "run" in shown
    shown = subprocess.run([WARDROUND, "run", "--help"], capture_output=True, text=True, check=True).stdout
    assert "--output" in shown
    assert "KEY=VALUE" in shown

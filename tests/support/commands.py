"""`wardround` as its user types it, in this process."""

import sys

import pytest

from scenarios.cli.main import main
from tests.conftest import ROOT


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and standard error of `wardround WORDS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["wardround", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0), capsys.readouterr().err


SMOKE = str(ROOT / "scenarios" / "smoke.toml")


def one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str, expected: str = ""
) -> None:
    """`wardround WORDS` ends with exit code 1 and one line that holds what is expected."""
    code, error = call(monkeypatch, capsys, *words)
    assert code == 1
    assert error.startswith("wardround: ")
    assert error.count("\n") == 1, error
    assert expected in error

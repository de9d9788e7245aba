"""A service is kept running, logged, and gone with all its kin."""

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from scenarios.processes.supervisor import End, Service, flower_environment, keep_running
from scenarios.processes.tree import parents_of_all
from shared.errors import LaunchError

GRANDCHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"


def service(folder: Path, code: str, ends: int) -> tuple[Service, list[str], list[End], list[str]]:
    """A Python program as a service that is given up after it ended some times."""
    heard: list[str] = []
    ended: list[End] = []
    said: list[str] = []

    def judge(end: End) -> str:
        ended.append(end)
        if len(ended) == ends:
            raise LaunchError("enough")
        return "it ended"

    command = [sys.executable, "-c", code]
    ours = Service(lambda: command, dict(os.environ), folder / "log", heard.append, judge, said.append)
    return ours, heard, ended, said


def test_it_is_started_again_and_its_lines_are_kept(tmp_path: Path) -> None:
    ours, heard, ended, said = service(tmp_path, "print('\\x1b[32mhello\\x1b[0m'); raise SystemExit(3)", ends=2)
    with pytest.raises(LaunchError, match="enough"):
        keep_running(ours)
    assert heard == ["hello", "hello"]
    assert [end.code for end in ended] == [3, 3] and ended[0].last == ("hello",)
    assert said == ["it ended; starting again in 1 s"]
    assert (tmp_path / "log").read_text().count(" hello\n") == 2
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_what_it_leaves_behind_is_ended(tmp_path: Path) -> None:
    code = GRANDCHILD.replace("subprocess.Popen(", "child = subprocess.Popen(") + "; print(child.pid, flush=True)"
    ours, heard, _, _ = service(tmp_path, code, ends=1)
    began = time.monotonic()
    with pytest.raises(LaunchError, match="enough"):
        keep_running(ours)
    assert time.monotonic() - began < 30
    assert int(heard[0]) not in parents_of_all()


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    ours, _, _, _ = service(tmp_path / "missing", "", ends=1)
    with pytest.raises(LaunchError, match=r"log file .* cannot be written \(No such file"):
        keep_running(ours)


def test_flower_installs_nothing_and_calls_nobody(tmp_path: Path) -> None:
    environment = flower_environment(tmp_path)
    assert environment["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert "127.0.0.1" in environment["no_proxy"].split(",")

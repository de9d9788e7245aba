"""What the processes of a run take: read from the kernel while they live."""

import sys
import time
from pathlib import Path

import pytest

from scenarios.watching import Watched, watch

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux alone keeps the peak")

PARENT = """
import subprocess, sys
taken = bytearray(200_000_000)
del taken
subprocess.run([sys.executable, "ClientAppActor.py"])
print("done")
"""
"""Gives its 200 MB back long before it ends."""

CHILD = """
import time
taken = bytearray(100_000_000)
end = time.process_time() + 0.6
while time.process_time() < end:
    pass
time.sleep(1.2)
"""


def test_the_peak_of_each_kind_and_the_cpu_time_of_all_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ClientAppActor.py").write_text(CHILD)
    (tmp_path / "parent.py").write_text(PARENT)
    before = time.time()
    code, watched = watch([sys.executable, str(tmp_path / "parent.py")], tmp_path / "log")
    assert code == 0 and (tmp_path / "log").read_text() == "done\n"
    assert 200 < watched.peak_mb["command"] < 300
    assert 100 < watched.peak_mb["hospital"] < 200
    assert 0.6 <= watched.cpu[-1] < 5
    assert watched.cpu == sorted(watched.cpu) and watched.times == sorted(watched.times)
    assert before < watched.times[0]


def test_a_command_that_fails_says_so(tmp_path: Path) -> None:
    code, _ = watch([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")
    assert code == 3


def test_cpu_time_between_two_looks_is_in_proportion() -> None:
    watched = Watched({}, [10.0, 20.0, 40.0], [0.0, 5.0, 25.0])
    assert [watched.cpu_at(when) for when in (10, 14, 20, 30, 40)] == [0, 2, 5, 15, 25]

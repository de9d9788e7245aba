"""What the processes of a run take: read from the kernel while they live."""

import os
import sys
import time
from pathlib import Path

import pytest

from scenarios.processes.resources import Watched, free_mb, kind_of, peak_here, peak_of, used_mb, watch, watched

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


def test_a_process_is_called_what_it_is() -> None:
    assert kind_of("ray::ClientAppActor.run") == "hospital"
    assert kind_of("/usr/bin/python3 .venv/bin/flower-superlink --insecure --simulation") == "superlink"
    assert kind_of("ray::IDLE") == "ray"
    assert kind_of("/usr/bin/sleep 3") == "command"


def test_the_peak_is_what_the_kernel_says(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name:\tpython\nVmHWM:\t  2000 kB\nVmRSS:\t  1000 kB\n")
    assert peak_of(7, tmp_path) == pytest.approx(2.048)
    assert peak_of(8, tmp_path) is None


def test_a_process_is_watched_until_it_ends() -> None:
    with watched(os.getpid(), seconds=0.01) as seen:
        time.sleep(0.05)
    assert max(seen.peak_mb.values()) == pytest.approx(peak_here(), rel=0.2)
    looks = len(seen.times)
    time.sleep(0.05)
    assert len(seen.times) == looks


def test_a_container_s_limit_counts(tmp_path: Path) -> None:
    def free() -> float:
        return free_mb(tmp_path, lambda: 4_096_000_000)

    assert free() == 4096.0
    (tmp_path / "memory.current").write_text("1500000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 500000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free() == 4096.0
    (tmp_path / "memory.max").write_text("2000000000\n")
    assert free() == 1000.0, "2000 MB less 1000 in use: cached files give way"
    assert 0 < free_mb(tmp_path / "nowhere") < 1e9, "the machine's own"


def test_memory_that_processes_share_counts_once() -> None:
    used = used_mb({os.getpid()})
    assert used is not None and 10 < used < 10_000
    assert used_mb({2**22 + 1}) is None, "there is no such process"

"""A run as a process of its own: its end, its words, its memory, and nothing left of it."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from scenarios.processes.tree import MARK, descendants, parents_of_all
from scenarios.study.run_folder import CellFolder
from scenarios.study.worker import CellProcess, Ending, LocalWorkers, Task, cell_environment, last_line, local_workers


@dataclass(frozen=True)
class Stub(CellFolder):
    """A run whose command is a line of Python."""

    code: str = ""

    def command(self, cpus: int, cores: int, gpus: float | None) -> list[str]:
        return [sys.executable, "-c", self.code]


def task_of(folder: Path, code: str, name: str = "stub") -> Task:
    (folder / "logs").mkdir(exist_ok=True)
    return Task(Stub(folder, name, code), 1, 1)


def end_of(process: CellProcess) -> Ending:
    deadline = time.monotonic() + 30
    while (ending := process.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return ending


def test_a_run_that_ends_well(tmp_path: Path) -> None:
    task = task_of(tmp_path, "import time; print('working'); time.sleep(0.5); print('\\x1b[32mdone\\x1b[0m')")
    with local_workers(1) as workers:
        process = workers.start(task)
        assert process.poll() is None
        ending = end_of(process)
    assert (ending.code, ending.reason) == (0, "")
    assert 0.4 < ending.seconds < 30
    assert last_line(task.folder.log) == "done"


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell memory")
def test_its_memory_is_that_of_all_its_processes(tmp_path: Path) -> None:
    child = "import time; block = bytearray(60_000_000); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with local_workers(1) as workers:
        process = workers.start(task_of(tmp_path, code))
        deadline = time.monotonic() + 30
        while (process.peak_mb or 0) < 60:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.kill()
        assert 60 < (end_of(process).peak_mb or 0) < 200


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('wardround: the disk is full'); print('  more'); raise SystemExit(1)", "the disk is full"),
        ("print('Killed'); raise SystemExit(3)", "it ended with code 3: Killed"),
        ("raise SystemExit(4)", "it ended with code 4, and said nothing"),
    ],
)
def test_a_run_that_fails_says_why(code: str, reason: str, tmp_path: Path) -> None:
    with local_workers(1) as workers:
        ending = end_of(workers.start(task_of(tmp_path, code)))
    assert ending.code != 0
    assert ending.reason == reason


def test_the_log_keeps_all_attempts_but_the_reason_is_the_last_one_s(tmp_path: Path) -> None:
    with local_workers(1) as workers:
        end_of(workers.start(task_of(tmp_path, "raise SystemExit('wardround: first')")))
        ending = end_of(workers.start(task_of(tmp_path, "print('second'); raise SystemExit(1)")))
    assert ending.reason == "it ended with code 1: second"
    assert (tmp_path / "logs" / "stub.log").read_text() == "wardround: first\nsecond\n"


def test_asked_to_end_it_ends_and_killed_it_leaves_nothing(tmp_path: Path) -> None:
    grandchild = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    with local_workers(2) as workers:
        mild = workers.start(task_of(tmp_path, "import time; time.sleep(60)", "mild"))
        mild.stop()
        assert end_of(mild).code == -15
        stubborn = workers.start(task_of(tmp_path, f"{deaf}; {grandchild}; print('up', flush=True); time.sleep(60)"))
        while last_line(tmp_path / "logs" / "stub.log") != "up":
            assert stubborn.poll() is None
            time.sleep(0.05)
        family = {stubborn.pid} | descendants({stubborn.pid}, parents_of_all())
        assert len(family) == 2
        stubborn.kill()
        assert end_of(stubborn).code == -9
    assert not family & parents_of_all().keys()


def test_what_is_left_when_the_workers_go_is_ended(tmp_path: Path) -> None:
    with local_workers(1) as workers:
        process = workers.start(task_of(tmp_path, "import time; time.sleep(60)"))
    assert end_of(process).code != 0


def test_a_run_starts_a_ray_of_its_own() -> None:
    environment = cell_environment({"RAY_ADDRESS": "10.0.0.7:6379", "HOME": "/home/me", MARK: "outer"}, "mine")
    assert "RAY_ADDRESS" not in environment
    assert (environment["HOME"], environment[MARK]) == ("/home/me", "mine")


def test_gpus_are_shared_out(tmp_path: Path) -> None:
    code = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(60)"
    workers = LocalWorkers(3, "", devices=("0", "3"))
    processes = [workers.start(task_of(tmp_path, code, name)) for name in "abc"]
    try:
        deadline = time.monotonic() + 30
        while not all(last_line(tmp_path / "logs" / f"{name}.log") for name in "abc"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert [last_line(tmp_path / "logs" / f"{name}.log") for name in "abc"] == ["0", "3", "0"]
    finally:
        for process in processes:
            process.kill()

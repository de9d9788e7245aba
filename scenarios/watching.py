"""What the processes of a run take: peak memory of each kind of process, and CPU time as it grows.

Linux keeps the most memory that a process ever held; it is read here as long as the process
lives. Pages that several processes share (Ray's store of messages) count in each of them.
"""

import os
import subprocess
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scenarios.processes import descendants, parents_of_all

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")

KINDS = (
    ("ClientAppActor", "hospital"),
    ("flwr-simulation", "coordinator"),
    ("flower-superlink", "superlink"),
    ("flower-superexec", "superlink"),
    ("ray::", "ray"),
    ("/ray/", "ray"),
)
"""A word of a process's command line, and what the process is. In simulation the coordinator's
process holds Flower's engine, too."""

SECONDS = 0.5
"""Between two looks."""


@dataclass
class Watched:
    """What was seen of a run so far."""

    peak_mb: dict[str, float] = field(default_factory=dict)
    """Of the largest process of each kind, in units of 1e6 bytes (resident set size)."""
    times: list[float] = field(default_factory=list)
    """Of each look, as `time.time` has it."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of CPU that all processes had taken by then."""

    def cpu_at(self, when: float) -> float:
        """Seconds of CPU that all had taken at a time, between two looks in proportion."""
        after = min(max(bisect_left(self.times, when), 1), len(self.times) - 1)
        (t0, t1), (c0, c1) = self.times[after - 1 : after + 1], self.cpu[after - 1 : after + 1]
        return c0 + (c1 - c0) * (when - t0) / (t1 - t0)


def watch(command: Sequence[str], log: Path) -> tuple[int, Watched]:
    """Run a command to its end, its output into `log`; returns its exit code and what all its processes took."""
    watched, over = Watched(), threading.Event()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        thread = threading.Thread(target=_look_on, args=(process.pid, watched, over))
        thread.start()
        try:
            code = process.wait()
        finally:
            over.set()
            thread.join()
            if process.poll() is None:
                process.terminate()
                process.wait()
    return code, watched


def _look_on(root: int, watched: Watched, over: threading.Event) -> None:
    spent: dict[int, float] = {}
    while not over.wait(SECONDS):
        for pid in {root, *spent} | descendants({root, *spent}, parents_of_all()):
            with suppress(OSError, ValueError, LookupError):
                kind = _kind((_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode())
                peak = _peak_kb(pid) * 1024 / 1e6
                watched.peak_mb[kind] = max(watched.peak_mb.get(kind, 0.0), peak)
                spent[pid] = _cpu_seconds(pid)
        watched.times.append(time.time())
        watched.cpu.append(sum(spent.values()))


def _kind(command: str) -> str:
    return next((kind for word, kind in KINDS if word in command), "command")


def _peak_kb(pid: int) -> int:
    status = (_PROC / str(pid) / "status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _cpu_seconds(pid: int) -> float:
    # The name, in brackets, may hold blanks.
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS

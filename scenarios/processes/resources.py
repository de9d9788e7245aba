"""What the processes of a run take: peak memory of each kind of process, and CPU time as it grows.

Linux keeps the most memory that a process ever held; it is read here as long as the process
lives. Pages that several processes share (Ray's store of messages) count in each of them.
"""

import os
import subprocess
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from scenarios.processes.tree import descendants, parents_of_all

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


@contextmanager
def watched(pid: int, seconds: float = SECONDS) -> Iterator[Watched]:
    """What a process and all below it take while the block lasts; it grows as they are looked at.

    Linux alone tells it: elsewhere nothing is seen.
    """
    seen, over = Watched(), threading.Event()
    watcher = threading.Thread(target=_look_on, args=(pid, seen, over, seconds), daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def watch(command: Sequence[str], log: Path) -> tuple[int, Watched]:
    """Run a command to its end, its output into `log`; returns its exit code and what all its processes took."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            with watched(process.pid) as seen:
                code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return code, seen


def peak_here() -> float | None:
    """Peak resident memory of this process, in units of 1e6 bytes; None where the system does not say."""
    return peak_of("self")


def peak_of(pid: int | str, proc: Path = _PROC) -> float | None:
    """Peak resident memory of a process, in units of 1e6 bytes; None where it is gone or nobody says."""
    with suppress(OSError, ValueError):
        for line in (proc / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def kind_of(command: str) -> str:
    """What a process of a run is, by its command line."""
    return next((kind for word, kind in KINDS if word in command), "command")


def _look_on(root: int, seen: Watched, over: threading.Event, seconds: float) -> None:
    spent: dict[int, float] = {}
    while True:
        # Remembered: the children of a process that ends lose their link to it.
        for pid in {root, *spent} | descendants({root, *spent}, parents_of_all()):
            with suppress(OSError, ValueError, LookupError):
                command = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                peak = peak_of(pid)
                if command and peak is not None:
                    kind = kind_of(command)
                    seen.peak_mb[kind] = max(seen.peak_mb.get(kind, 0.0), peak)
                    spent[pid] = _cpu_seconds(pid)
        seen.times.append(time.time())
        seen.cpu.append(sum(spent.values()))
        if over.wait(seconds):
            return


def _cpu_seconds(pid: int) -> float:
    # The name, in brackets, may hold blanks.
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS

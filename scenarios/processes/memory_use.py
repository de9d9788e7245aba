"""How much memory some processes and all below them use, and how much this machine has left.

Linux alone says so in a way that does not count shared pages several times; elsewhere the
answer is None.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from scenarios.processes.tree import descendants, parents_of_all

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def used_mb(roots: Iterable[int]) -> float | None:
    """The memory of the processes `roots` and their descendants, in units of 1e6 bytes.

    The sum of proportional set sizes: a page that several of them share counts once.
    """
    roots = set(roots)
    sizes = [_proportional_kb(pid) for pid in roots | descendants(roots, parents_of_all())]
    known = [size for size in sizes if size is not None]
    return sum(known) * 1024 / 1e6 if known else None


def free_mb(proc: Path = _PROC, cgroup: Path = _CGROUP) -> float | None:
    """The memory that new processes may take, in units of 1e6 bytes: the machine's or a container's share of it."""
    machine = _field(proc / "meminfo", "MemAvailable:")
    if machine is None:
        return None
    free = machine * 1024
    with suppress(OSError, ValueError):  # without a limit it says "max", at the root of all there is no file
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text()) - (_field(cgroup / "memory.stat", "inactive_file") or 0)
        free = min(free, max(0, limit - used))
    return free / 1e6


def _proportional_kb(pid: int) -> int | None:
    return _field(_PROC / str(pid) / "smaps_rollup", "Pss:")


def _field(path: Path, name: str) -> int | None:
    """The number behind `name` in one of the kernel's tables; None where the process or the table is gone."""
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            words = line.split()
            if words and words[0] == name:
                return int(words[1])
    return None

"""How much memory each process of a run has held at its most, by what the process is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scenarios.processes import descendants, parents_of_all

_PROC = Path("/proc")

KINDS = {
    "ray::ClientAppActor": "hospital",
    "flwr-simulation": "coordinator and simulation",
    "flower-superlink": "SuperLink",
    "flower-superexec": "SuperExec",
    "gcs_server": "Ray's GCS",
    "raylet/raylet": "raylet",
    "dashboard": "Ray's dashboard",
    "ray::": "Ray's agents",
    "monitor.py": "Ray's monitors",
    "scenarios.undertaker": "undertaker",
    "scenarios.cli": "wardround",
    "flwr.cli": "flwr",
}
"""Part of a command line, and what such a process is called; the first that fits counts."""


@contextmanager
def watched(pid: int, seconds: float = 0.5) -> Iterator[dict[str, float]]:
    """Peak resident memory, in units of 1e6 bytes, of a process and all below it; filled when the block is left.

    Of several of one kind the largest counts. Memory that processes share counts in each. Linux alone tells it:
    elsewhere nothing is filled in.
    """
    peaks: dict[str, float] = {}
    found: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        family = {pid}
        while True:
            # Remembered: the children of a process that ends lose their link to it.
            family |= descendants(family, parents_of_all())
            for member in family:
                _note(found, member)
            if over.wait(seconds):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()
        peaks.update(found)


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
    return next((kind for part, kind in KINDS.items() if part in command), "other")


def _note(found: dict[str, float], pid: int) -> None:
    with suppress(OSError):
        command = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        peak = peak_of(pid)
        if peak is not None and command:
            kind = kind_of(command)
            found[kind] = max(found.get(kind, 0.0), peak)

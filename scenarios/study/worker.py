"""A study's run as a process of its own, on this machine.

Its lines go to its log, from which whoever watches reads the last. It keeps to itself what
it starts, and ends all of that when it is asked to end.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from scenarios.processes.output import plain
from scenarios.processes.resources import used_mb
from scenarios.processes.supervisor import marked
from scenarios.processes.tree import MARK, sessions_of, stop_all
from scenarios.study.run_folder import CellFolder

NAP = 0.3
"""Seconds between two looks at what runs."""

GRACE = 20.0
"""Seconds that a run may take to end by itself once it was asked to."""

_SAMPLE_SECONDS = 2.0
_SAYS = "wardround: "


@dataclass(frozen=True)
class Task:
    """A run that is to be done, as a worker anywhere takes it."""

    folder: CellFolder
    cpus: int
    """Of a hospital."""
    cores: int
    """Of all hospitals of the run together."""
    gpus: float | None = None


@dataclass(frozen=True)
class Ending:
    """How a run's command ended, and what it took."""

    code: int
    seconds: float
    peak_mb: float | None = None
    reason: str = ""
    """Why it failed, as it said itself."""
    machine: str = ""


class Running(Protocol):
    """A run that was started, wherever."""

    def poll(self) -> Ending | None:
        """How it ended, or nothing as long as it runs."""

    def stop(self) -> None:
        """Ask it to end; it is then polled for a while."""

    def kill(self) -> None:
        """Leave nothing of it running."""


class Workers(Protocol):
    """Who does a study's runs."""

    @property
    def slots(self) -> int:
        """How many runs at once."""

    def start(self, task: Task) -> Running:
        """Begin or go on with a run."""


class CellProcess:
    """One attempt at a run, as a process in a session of its own, out of reach of the terminal's Ctrl-C."""

    def __init__(self, task: Task, environment: Mapping[str, str]) -> None:
        command = task.folder.command(task.cpus, task.cores, task.gpus)
        self._path = task.folder.log
        self._begun = time.monotonic()
        self._sampled = 0.0
        self.peak_mb: float | None = None
        with self._path.open("ab") as log:
            self._offset = log.tell()
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> Ending | None:
        """How it ended, or nothing as long as it runs."""
        now = time.monotonic()
        if (code := self._process.poll()) is None:
            if now - self._sampled >= _SAMPLE_SECONDS:
                self._sampled = now
                self._measure()
            return None
        reason = "" if code == 0 else _reason(self._path, self._offset, code)
        return Ending(code, now - self._begun, self.peak_mb, reason, socket.gethostname())

    def _measure(self) -> None:
        now = used_mb({self._process.pid})
        self.peak_mb = now if self.peak_mb is None else max(self.peak_mb, now or 0.0)

    def stop(self) -> None:
        """Ask it to end, which it does with all that it started."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Leave nothing of it running."""
        if self._process.poll() is None:
            stop_all({self._process.pid}, "", sessions_of({self._process.pid}))
            self._process.wait()


class LocalWorkers:
    """Runs beside each other on this machine; those on GPUs share them out."""

    def __init__(self, slots: int, mark: str, devices: Sequence[str] = ()) -> None:
        self.slots = slots
        self._mark = mark
        self._on: dict[str, list[CellProcess]] = {device: [] for device in devices}

    def start(self, task: Task) -> CellProcess:
        """Begin or go on with a run, on the GPU that fewest others use."""
        environment = cell_environment(os.environ, self._mark)
        if not self._on:
            return CellProcess(task, environment)
        for device, processes in self._on.items():
            self._on[device] = [process for process in processes if process.poll() is None]
        device = min(self._on, key=lambda device: len(self._on[device]))
        process = CellProcess(task, environment | {"CUDA_VISIBLE_DEVICES": device})
        self._on[device].append(process)
        return process


@contextmanager
def local_workers(slots: int, devices: Sequence[str] = ()) -> Iterator[LocalWorkers]:
    """Workers on this machine, whose runs end with the block, or with this process however it ends.

    `devices` are its GPUs, as CUDA_VISIBLE_DEVICES names them.
    """
    with marked() as mark:
        yield LocalWorkers(slots, mark, devices)


def cell_environment(base: Mapping[str, str], mark: str) -> dict[str, str]:
    """The environment of a run that is to start a Ray of its own, and to be found by its mark."""
    return {name: value for name, value in base.items() if name != "RAY_ADDRESS"} | {
        MARK: mark,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def last_line(log: Path) -> str:
    """The last line in a log, or nothing."""
    with suppress(OSError), log.open("rb") as file:
        lines = _lines(file, max(0, file.seek(0, os.SEEK_END) - 4096))
        return lines[-1] if lines else ""
    return ""


def _reason(log: Path, offset: int, code: int) -> str:
    """What a run said when it failed: its own last word, or else its last line."""
    with suppress(OSError), log.open("rb") as file:
        if lines := _lines(file, offset):
            own = [line.removeprefix(_SAYS) for line in lines if line.startswith(_SAYS)]
            return own[-1] if own else f"it ended with code {code}: {lines[-1]}"
    return f"it ended with code {code}, and said nothing"


def _lines(file: IO[bytes], offset: int) -> list[str]:
    file.seek(offset)
    text = plain(file.read().decode("utf-8", "replace"))
    return [line.rstrip() for line in text.splitlines() if line.strip()]

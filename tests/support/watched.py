"""Real processes that a test starts, listens to, and kills at a chosen moment."""

import os
import signal
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from scenarios.processes.tree import descendants, parents_of_all, stop_all
from tests.conftest import ROOT

SCRIPTS = Path(sysconfig.get_path("scripts"))
WARDROUND = SCRIPTS / "wardround"

SMOKE = (ROOT / "scenarios" / "smoke.toml", "-c", "steps=120", "-c", "checkpoint-seconds=0.2")
"""A run of three hospitals that is long enough to be killed in the middle of a training."""


class Watched:
    """A process whose lines are read as they come."""

    def __init__(self, *command: str | Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._file = log.open("ab")
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            self._file.write(raw)
            self._file.flush()
            self._lines.append(raw.decode("utf-8", "replace").rstrip())

    @property
    def lines(self) -> list[str]:
        """What it has said so far."""
        return list(self._lines)

    def hear(self, words: str, seconds: float = 180.0) -> None:
        """Wait until a line begins with `words`."""
        self.until(lambda: any(line.startswith(words) for line in self._lines), f"it says {words!r}", seconds)

    def hear_of(self, words: str, seconds: float = 180.0) -> None:
        """Wait until a line holds `words`."""
        self.until(lambda: any(words in line for line in self._lines), f"it tells of {words!r}", seconds)

    def until(self, happened: Callable[[], bool], what: str, seconds: float = 180.0, nap: float = 0.02) -> None:
        """Wait for something while the process runs."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert self.process.poll() is None or happened(), f"ended before {what}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"{seconds:g} s passed before {what}:\n{self.tail()}"
            time.sleep(nap)

    def end(self, seconds: float = 600.0) -> int:
        """Wait for its end and return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(10)
        self._file.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def tail(self) -> str:
        return "\n".join(self._lines[-25:])

    def family(self, *names: str) -> list[int]:
        """Ids of its descendants, and itself, whose command line holds one of `names`."""
        parents = parents_of_all()
        kin = descendants({self.process.pid}, parents) | {self.process.pid}
        return sorted(pid for pid in kin & parents.keys() if any(name in command_of(pid) for name in names))

    def kill(self, *names: str) -> list[int]:
        """SIGKILL to its kin of these names, all at once. Asserts that there is one."""
        victims = self.family(*names)
        assert victims, f"no process of {names} to kill:\n{self.tail()}"
        for pid in victims:
            send(pid, signal.SIGKILL)
        return victims

    def stop(self) -> None:
        """Stop it with all its kin."""
        stop_all({self.process.pid}, "")
        self.end(30)


def command_of(pid: int) -> str:
    """A process's command line; empty where it is gone."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def left_after(pids: Iterable[int], seconds: float = 30.0) -> list[str]:
    """The processes that have not ended after some time, by id and command line."""
    deadline = time.monotonic() + seconds
    while left := set(pids) & parents_of_all().keys():
        if time.monotonic() > deadline:
            return [f"{pid} {command_of(pid)[:120]}" for pid in left]
        time.sleep(0.1)
    return []

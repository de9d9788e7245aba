"""Finding and ending all processes of a run, and ending well oneself.

Flower and Ray start processes in sessions of their own, some of which lose their parents or
overwrite their environment with a title. Here they are found by any one of three signs: a
mark in the environment, a parent, a session.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType

import psutil

MARK = "WARDROUND_LAUNCH"
"""The environment variable whose value names the run that a process belongs to."""

LAST = 3.0
"""Seconds at least in which what was killed is waited for."""


def stop_all(roots: set[int], mark: str, sessions: Iterable[int] = (), grace: float = 3.0) -> None:
    """Stop the processes `roots`, those that carry `mark`, and all kin of both.

    Kin are descendants and what shares a session with one of them or is in `sessions`. They get
    SIGTERM and, after `grace` seconds, SIGKILL. The search is repeated until nothing is left,
    for a process may start another while it ends; it is given up some seconds after.
    """
    begin = time.monotonic()
    family, asked = set(roots), set[int]()
    known = set(sessions)
    while time.monotonic() < begin + grace + max(grace, LAST):
        parents = parents_of_all()
        family |= {pid for pid in parents if _carries(pid, mark)} - {os.getpid()}
        # Remembered from here on: the children of a process that ends lose their link to it.
        family = (family | descendants(family, parents)) & parents.keys()
        known |= sessions_of(family)
        family |= {pid for pid in parents if _session(pid) in known}
        if not family:
            return
        if time.monotonic() < begin + grace:
            _send(signal.SIGTERM, family - asked)
            asked |= family
        else:
            _send(signal.SIGKILL, family)
        time.sleep(0.05)


def sessions_of(pids: Iterable[int]) -> set[int]:
    """The sessions that processes are in, other than the caller's own."""
    return {session for pid in pids if (session := _session(pid))} - {os.getsid(0)}


def _session(pid: int) -> int:
    with suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return 0


def descendants(ancestors: Iterable[int], parents: Mapping[int, int]) -> set[int]:
    """The processes below `ancestors`, when `parents` maps each process to its parent."""
    found: set[int] = set()
    generation = set(ancestors)
    while generation:
        generation = {pid for pid, parent in parents.items() if parent in generation} - found
        found |= generation
    return found


def _send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def parents_of_all() -> dict[int, int]:
    """Each living process and its parent; one that only waits to be reaped counts as gone."""
    gone = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    living = (process.info for process in psutil.process_iter(["pid", "ppid", "status"]))
    return {info["pid"]: info["ppid"] for info in living if info["status"] not in gone}


def _carries(pid: int, mark: str) -> bool:
    with suppress(psutil.Error):
        return bool(psutil.Process(pid).environ().get(MARK) == mark)
    return False


@contextmanager
def signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as an exception does, so that it cleans up."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    # A handler that the caller chose (nohup's, say) stays.
    numbers = [signal.SIGTERM, signal.SIGHUP]
    with _handlers([n for n in numbers if signal.getsignal(n) is signal.SIG_DFL], leave):
        yield


def signals_wait() -> AbstractContextManager[None]:
    """Ignore SIGINT, SIGTERM and SIGHUP while the block cleans up: a second Ctrl-C leaves no rest."""
    return _handlers([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], signal.SIG_IGN)


@contextmanager
def _handlers(
    numbers: Iterable[signal.Signals],
    handler: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> Iterator[None]:
    """Set a handler for some signals while the block runs; only the main thread may and does."""
    mine = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers} if mine else {}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

"""Keeps one of Flower's servers running: started again when it ends, gone with all its kin when we go.

Its lines go to a log file of their own, which is rotated, and to a listener who says what they
mean. Its processes carry a mark (scenarios/processes/tree.py), by which they are found also where
this process is killed: scenarios/processes/reaper.py waits for that.
"""

import logging
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import NoReturn

from scenarios.processes.output import plain
from scenarios.processes.tree import MARK, sessions_of, signals_raise, signals_wait, stop_all
from shared.errors import LaunchError

LOG_BYTES, LOG_FILES = 5_000_000, 5
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
STEADY_SECONDS = 60.0
"""After so long a life the next pause is a first one again."""
GRACE = 8.0
"""Time to say goodbye to the other side, before SIGKILL."""


@dataclass(frozen=True)
class End:
    """How a process ended that was to run on."""

    code: int
    seconds: float
    last: tuple[str, ...]
    """Its last lines."""


@dataclass(frozen=True)
class Service:
    """What is to be kept running, and who listens."""

    command: Callable[[], Sequence[str]]
    """Anew for each start, as it may need another free port."""
    environment: Mapping[str, str]
    log: Path
    hear: Callable[[str], None]
    """Gets each line, without colours."""
    ended: Callable[[End], str]
    """Says in a few words what happened; raises `LaunchError` where another start is of no use."""
    say: Callable[[str], None]


def keep_running(service: Service) -> NoReturn:
    """Run it until a signal or a `LaunchError` ends us; then nothing of it is left running."""
    with signals_raise(), marked() as mark, _rotated(service.log) as log:
        pause = FIRST_PAUSE
        while True:
            end = _run_once(service, mark, log)
            pause = FIRST_PAUSE if end.seconds > STEADY_SECONDS else pause
            service.say(f"{service.ended(end)}; starting again in {pause:g} s")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _run_once(service: Service, mark: str, log: logging.Logger) -> End:
    last: deque[str] = deque(maxlen=60)
    began = time.monotonic()
    process = subprocess.Popen(
        service.command(),
        env={**service.environment, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Out of reach of the terminal's Ctrl-C, which is ours to pass on.
        start_new_session=True,
    )
    stopping = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for raw in process.stdout:
            line = plain(raw.decode("utf-8", "replace").rstrip())
            log.info(line)
            last.append(line)
            if not stopping.is_set():
                service.hear(line)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    sessions = sessions_of({process.pid})
    try:
        code = process.wait()
    except BaseException:
        stopping.set()
        raise
    finally:
        with signals_wait():
            # Also what it left behind, which would hold its port and the other end of our pipe.
            stop_all({process.pid} if process.poll() is None else set(), mark, sessions, GRACE)
            process.wait()
            listener.join(GRACE)
            if process.stdout is not None and not listener.is_alive():
                process.stdout.close()
    return End(code, time.monotonic() - began, tuple(last))


@contextmanager
def marked() -> Iterator[str]:
    """A mark for our processes, and somebody who ends those that carry it should we be killed."""
    mark = tempfile.mkdtemp(prefix="wardround-")
    reaper = subprocess.Popen(
        [sys.executable, "-P", "-m", "scenarios.processes.reaper", mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield mark
    finally:
        with signals_wait():
            assert reaper.stdin is not None
            with suppress(BrokenPipeError):
                reaper.stdin.close()
            reaper.wait()


@contextmanager
def _rotated(path: Path) -> Iterator[logging.Logger]:
    """A log file of a limited size, with times, for its owner alone."""
    try:
        handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
        path.chmod(0o600)
    except OSError as error:
        raise LaunchError(f"log file {path} cannot be written ({error.strerror}): let this user write it") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    # Not from the tree of loggers, in which another library might listen.
    log = logging.Logger("wardround.service")
    log.addHandler(handler)
    try:
        yield log
    finally:
        handler.close()


def free_port() -> int:
    """A loopback TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def flower_command(name: str) -> str:
    """The path of one of Flower's commands. Raises `LaunchError` where it is not installed beside this Python."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.is_file():
        raise LaunchError(f"{name} is not installed beside {sys.executable}: install wardround with its dependencies")
    return str(path)


def flower_environment(home: Path) -> dict[str, str]:
    """The environment of Flower's servers: quiet, with their files in `home`, and no installing at run time."""
    return {
        **os.environ,
        "FLWR_HOME": str(home),
        # Else each run would install all dependencies anew, from the network.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        # Flower's servers start each other by bare name.
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]),
        # A hospital's proxy is for the way out, not for what these processes say to each other.
        **{
            name: ",".join(filter(None, [os.environ.get(name, ""), "127.0.0.1", "localhost"]))
            for name in ("NO_PROXY", "no_proxy")
        },
    }

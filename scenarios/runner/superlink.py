"""A SuperLink of our own: started for one run, and gone without a trace after it.

`flwr run .` starts a SuperLink that outlives the command, keeps the environment of the day
it was started, and may serve another project's `client` package. Here each run has its own,
from the app's folder, on a free loopback port, with its state in memory and its files in one
temporary folder.

Every process of the run carries that folder's name as a mark in its environment, by which
scenarios/processes/tree.py finds and stops it.
"""

import http.client
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import tomli_w

from scenarios.processes.output import tail
from scenarios.processes.ray_address import check_cluster, cluster_address
from scenarios.processes.supervisor import flower_command, free_port
from scenarios.processes.tree import (
    MARK,
    descendants,
    parents_of_all,
    sessions_of,
    signals_raise,
    signals_wait,
    stop_all,
)
from shared.errors import LaunchError

CONNECTION = "wardround"

# Unix socket paths end at 103 bytes on macOS and 107 on Linux, and Ray adds 68 to its folder.
_LONGEST_RAY_FOLDER = 103 - 68

_SHORT = ("/tmp", "/var/tmp")
"""Folders for a run's own where TMPDIR is too long a name for Ray's sockets."""


@contextmanager
def superlink(app: Path, ready_seconds: float = 60.0) -> Iterator["Superlink"]:
    """Start a SuperLink in the folder `app`; on leaving, stop all that ran on it.

    The block is entered at once, while the SuperLink still starts: `wait` waits for it. On
    leaving, by whatever exception or signal, every process is stopped and every file deleted.
    Raises `LaunchError` when Flower's commands are not installed beside this Python, the Ray cluster that
    `RAY_ADDRESS` names does not answer, or no folder's name is short enough for Ray's sockets.
    """
    command = flower_command("flower-superlink")
    if address := cluster_address():
        check_cluster(address)
    with signals_raise():
        ours = Superlink(command, app, run_folder(os.environ), ready_seconds)
        try:
            ours.start()
            yield ours
        finally:
            with signals_wait():
                ours.stop()


def run_folder(environment: Mapping[str, str]) -> Path:
    """A new folder for a run, whose name leaves room for Ray's sockets unless Ray has a folder of its own.

    Raises `LaunchError` where no such folder can be made.
    """
    chosen = environment.get("RAY_TMPDIR", "")
    if len(os.fsencode(chosen)) > _LONGEST_RAY_FOLDER:
        raise LaunchError(
            f"RAY_TMPDIR={chosen} is too long for Ray's sockets ({_LONGEST_RAY_FOLDER} bytes at most): choose a folder "
            "with a shorter name, or unset it"
        )
    usual = tempfile.gettempdir()
    for parent in (usual, *_SHORT):
        try:
            folder = Path(tempfile.mkdtemp(prefix="wardround-", dir=parent))
        except OSError:
            continue
        if chosen or len(os.fsencode(folder)) <= _LONGEST_RAY_FOLDER:
            return folder
        folder.rmdir()
    raise LaunchError(
        f"the temporary folder {usual} has too long a name for Ray's sockets, and neither {' nor '.join(_SHORT)} can "
        "be written: set RAY_TMPDIR to a folder with a short name"
    )


GRACE, HURRIED = 3.0, 0.2
"""Seconds between SIGTERM and SIGKILL: while something may still be written, and where all is."""


class Superlink:
    """A SuperLink process, its temporary folder, and the other processes that speak to it."""

    def __init__(self, command: str, app: Path, folder: Path, ready_seconds: float) -> None:
        self.folder = folder
        self.log = folder / "superlink.log"
        self.environment = run_environment(os.environ, folder)
        self._command, self._app, self._ready_seconds = command, app, ready_seconds
        self._children: list[subprocess.Popen[bytes]] = []
        self._sessions: set[int] = set()
        self._grace = GRACE

    def start(self) -> None:
        """Start the SuperLink on a free port, and who clears up should this process be killed."""
        if not self._children:
            reaper = [sys.executable, "-P", "-m", "scenarios.processes.reaper", str(self.folder)]
            self.child(reaper, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.port = free_port()
        connection = {"address": f"127.0.0.1:{self.port}", "insecure": True}
        config = {"superlink": {"default": CONNECTION, CONNECTION: connection}}
        (self.folder / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
        options = ["--insecure", "--simulation", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = self.child([self._command, *options], stdin=subprocess.DEVNULL, stdout=log)

    def child(self, command: Sequence[str], *, stdin: int, stdout: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a process of the run in the app's folder, out of reach of the terminal's Ctrl-C."""
        process = subprocess.Popen(
            command,
            cwd=self._app,
            env=self.environment,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._children.append(process)
        return process

    def wait(self) -> None:
        """Wait until the SuperLink answers; start it again if another program took its port.

        Raises `LaunchError` with the end of its log when it dies or stays silent.
        """
        for attempt in range(3):
            try:
                wait_for_health(self.process, self.port, self.log, self._ready_seconds)
                break
            except LaunchError as error:
                if attempt == 2 or "address already in use" not in str(error):
                    raise
                self.start()
        self.note_sessions()

    def note_sessions(self) -> None:
        """Note the sessions of SuperLink and SuperExec while they live: in them are the orphans of a killed run."""
        if len(self._sessions) < 2:
            self._sessions |= sessions_of(descendants({self.process.pid}, parents_of_all()) | {self.process.pid})

    def hurry(self) -> None:
        """Leave the processes no time for an end of their own: all that they had to write is written."""
        self._grace = HURRIED

    def stop(self) -> None:
        """Stop every process of the run and delete the temporary folder."""
        living = {child.pid for child in self._children if child.poll() is None}
        stop_all(living, str(self.folder), self._sessions, self._grace)
        for child in self._children:
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    # What was still to be written finds no reader any more.
                    with suppress(BrokenPipeError):
                        pipe.close()
            child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def run_environment(base: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment of a run's processes: `base`, made safe and quick for one run in `folder`.

    `RAY_ADDRESS` of an existing cluster and a `RAY_TMPDIR` on a larger disk are kept.
    """
    environment = {
        **base,
        MARK: str(folder),
        "FLWR_HOME": str(folder),
        # Else each run would install all dependencies anew, torch with CUDA included.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray holds back lines that look alike, as those of a progress report do.
        "RAY_DEDUP_LOGS": "0",
        "RAY_COLOR_PREFIX": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        # SuperLink and SuperExec start each other by bare name.
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), base.get("PATH", os.defpath)]),
    }
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(filter(None, [base.get(name, ""), "127.0.0.1", "localhost"]))
    # Ray starts its actors by a line of shell in which it forgets to quote Python's path.
    if "RAY_ADDRESS" not in base and (quoted := shlex.quote(sys.executable)) != sys.executable:
        runtime = {"runtime_env": {"py_executable": quoted}}
        environment.setdefault("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(runtime))
    # In a folder of its own Ray neither leaves logs behind nor joins a cluster that it finds.
    if "RAY_ADDRESS" not in base:
        environment.setdefault("RAY_TMPDIR", str(folder))
    return environment


def wait_for_health(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float) -> None:
    """Return when `process` answers on `/health` of its port.

    Raises `LaunchError` with the end of the log when it exits before or takes longer.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        healthy = _answers(port)
        if process.poll() is not None:
            raise LaunchError(f"the SuperLink exited with code {process.returncode}:\n{tail(log)}")
        if healthy:
            return
        time.sleep(0.05)
    raise LaunchError(f"the SuperLink did not answer within {seconds:g} s:\n{tail(log)}")


def _answers(port: int) -> bool:
    # http.client heeds no proxy settings, which must not apply to the loopback address.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

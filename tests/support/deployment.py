"""A whole deployment on this machine, as in the guides: coordinator, nginx, and hospitals, each a process of its own.

Everything goes through the commands that people type; what differs from the guides is that all
addresses are on the loopback interface.
"""

import shutil
import ssl
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from scenarios.deployment.nginx import Proxy
from scenarios.processes.supervisor import free_port
from scenarios.run_config import load_settings
from scenarios.simulation.hospitals import make_hospital, phantom_settings
from shared.protocol.document import read_protocol
from tests.conftest import OUTSIDE
from tests.support.watched import SMOKE, WARDROUND, Watched

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}

REAL = ("ljubljana", "tabriz")
SIMULATED = ("milan", "ucsf", "amu")


@dataclass(frozen=True)
class Joining:
    """A hospital's own folder and the data that lie elsewhere."""

    center: str
    folder: Path
    """Of the hospital alone: hospital.toml, ca.crt, state."""

    @property
    def toml(self) -> Path:
        return self.folder / "hospital.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def public_key(self) -> Path:
        return self.state / "flower" / "node_key.pub"


class Deployment:
    """A coordinator with TLS and node authentication, nginx in front of it, and the hospitals that join."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.coordinator = folder / "coordinator"
        self.root = self.coordinator / "ca.crt"
        self.hospitals: dict[str, Joining] = {}
        self.joined: dict[str, Watched] = {}
        self._port, self.outside = free_port(), free_port()
        self._started: list[Watched] = []
        self.superlink = self.start_coordinator()
        self.nginx = self.start_nginx()

    @property
    def address(self) -> str:
        """Where hospitals come: nginx."""
        return f"127.0.0.1:{self.outside}"

    @property
    def inside(self) -> str:
        """Where the SuperLink listens, on the loopback address alone."""
        return f"127.0.0.1:{self._port}"

    def start_coordinator(self) -> Watched:
        """`wardround coordinator up`, until it listens."""
        words: list[str | Path] = ["coordinator", "up", self.coordinator, "--port", str(self._port)]
        started = self._watch("coordinator", *words)
        started.hear_of("the SuperLink listens on", 90)
        return started

    def start_nginx(self) -> Watched:
        """nginx by the configuration that `wardround coordinator proxy` writes."""
        file = self.folder / "nginx" / "nginx.conf"
        words: list[str | Path] = ["--listen", self.address, "--standalone", "--output", file]
        self.command("coordinator", "proxy", self.coordinator, *words)
        started = self._nginx(file)
        answers = "nginx answers"
        wait_until(lambda: status_of(self.outside, "/", self.root) is not None, answers, started.tail)
        return started

    def another_nginx(self, listen: str, certificate: Path, key: Path) -> None:
        """One more way in, with an address or a certificate that the command would not show."""
        folder = self.folder / f"nginx-{listen}"
        folder.mkdir()
        text = Proxy(listen, certificate, key, self.inside, self.root).standalone(folder)
        (folder / "nginx.conf").write_text(text)
        started = self._nginx(folder / "nginx.conf")
        wait_until(lambda: (folder / "nginx.pid").is_file(), "nginx starts", started.tail)

    def _nginx(self, file: Path) -> Watched:
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        assert nginx, "nginx is not installed: apt-get install nginx, or your system's way"
        words: list[str | Path] = ["-e", file.parent / "error.log", "-c", file]
        started = Watched(nginx, *words, log=file.parent / "nginx.out", environment=QUIET)
        self._started.append(started)
        return started

    def init(self, center: str, data: Path, *options: str | Path, address: str | None = None) -> Joining:
        """`wardround hospital init` in a folder of the hospital's own, with the root certificate it was given."""
        hospital = Joining(center, self.folder / "hospitals" / center)
        hospital.folder.mkdir(parents=True)
        shutil.copy(self.root, hospital.folder / "ca.crt")
        words: list[str | Path] = ["--center", center, "--data", data, "--coordinator", address or self.address]
        words += ["--root-certificate", hospital.folder / "ca.crt", "--state-dir", hospital.state]
        self.command("hospital", "init", *words, *options, "--output", hospital.toml)
        # What trains here is small.
        policy_of(hospital, least_steps=1, least_batch=1, least_subjects=1)
        self.hospitals[center] = hospital
        return hospital

    def enroll(self, hospital: Joining, name: str | None = None) -> str:
        """`wardround coordinator enroll`; public key and card are all that leaves the hospital."""
        words: list[str | Path] = ["coordinator", "enroll", self.coordinator, name or hospital.center]
        words.append(hospital.public_key)
        if name is None:
            card = hospital.folder / "card.json"
            self.command("hospital", "card", hospital.toml, "--output", card)
            words += ["--card", card]
        return self.command(*words)

    def propose(self, name: str, *words: str | Path) -> Path:
        """`wardround coordinator propose WORDS`, and every joined hospital that it names approves."""
        path = self.folder / f"{name}.protocol.json"
        self.command("coordinator", "propose", self.coordinator, *words, "--output", path)
        for center in participants_of(path):
            self.command("hospital", "approve", self.hospitals[center].toml, path, "--yes")
        return path

    def join(self, hospital: Joining) -> Watched:
        """`wardround hospital join`, not waited for."""
        environment = {"WARDROUND_CACHE": str(hospital.state / "cache")}
        log = hospital.folder / "join.out"
        started = self._watch(hospital.center, "hospital", "join", hospital.toml, log=log, environment=environment)
        self.joined[hospital.center] = started
        return started

    def run(self, *words: str | Path) -> Watched:
        """`wardround WORDS`, as the coordinator types it; add `--coordinator` with its folder where that is needed."""
        return self._watch("run", *words)

    def command(self, *words: str | Path) -> str:
        """A command to its end, which must be good; returns what it said."""
        process = subprocess.run(
            [str(word) for word in (WARDROUND, *words)], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert process.returncode == 0, process.stderr + process.stdout
        return process.stdout

    def listing(self) -> str:
        """`wardround coordinator list`."""
        return self.command("coordinator", "list", self.coordinator)

    def stop(self) -> None:
        """End everything, hospitals first."""
        for process in reversed(self._started):
            process.stop()

    def _watch(
        self, name: str, *words: str | Path, log: Path | None = None, environment: dict[str, str] | None = None
    ) -> Watched:
        log = log or self.folder / f"{name}.out"
        started = Watched(WARDROUND, *words, log=log, environment={**QUIET, **(environment or {})})
        self._started.append(started)
        return started


def participants_of(path: Path) -> tuple[str, ...]:
    """The centers and evaluators of a protocol's file."""
    return read_protocol(path).settings_of(0, load_settings(None, [], None).to_run_config()).run.participants


def status_of(port: int, path: str, root: Path, method: str = "POST") -> int | None:
    """The HTTP status of a path as it is written, or nothing where nobody answers with TLS."""
    trust = ssl.create_default_context(cafile=str(root))
    connection = HTTPSConnection("127.0.0.1", port, timeout=10, context=trust)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def wait_until(happened: Callable[[], bool], what: str, tail: Callable[[], str], seconds: float = 30.0) -> None:
    """Wait for something outside of the process that is listened to."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{seconds:g} s passed before {what}:\n{tail()}"
        time.sleep(0.1)


def introduce(deployment: Deployment) -> None:
    """Give every hospital the others' keys, as they read them out to each other, and let it share with them."""
    lines = {
        center: next(
            line
            for line in deployment.command("hospital", "keys", hospital.toml).splitlines()
            if line.startswith("wardround-key-v1 ")
        )
        for center, hospital in deployment.hospitals.items()
    }
    for center, hospital in deployment.hospitals.items():
        others = [name for name in lines if name != center]
        pins = "".join(f'{name} = "{lines[name]}"\n' for name in others)
        text = hospital.toml.read_text()
        hospital.toml.write_text(text.replace("[peers]\n", f"[peers]\n{pins}"))
        policy_of(
            hospital,
            report_subject_scores=True,
            share_exemplars=True,
            centers=others,
            subjects=20,
            megabytes=100,
            expiry_days=2,
        )


def policy_of(hospital: Joining, **changes: object) -> None:
    """Change keys of the hospital's [policy], as its owner would with an editor."""
    text = hospital.toml.read_text()
    for key, value in changes.items():
        name = key.replace("_", "-")
        line = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
        text = text.replace(line, f"{name} = {_toml(value)}")
    hospital.toml.write_text(text)
    assert tomllib.loads(text)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, Iterable) else str(value)


def data_of_three(cache: Path) -> dict[str, Path]:
    """Two hospitals' real patients where they are at hand, and simulated ones."""
    real = {center: OUTSIDE / "real-hospitals" / center for center in REAL}
    found = {center: folder for center, folder in real.items() if folder.is_dir()}
    return {**found, **{center: simulated_data(center, cache) for center in SIMULATED[: 3 - len(found)]}}


def simulated_data(center: str, cache: Path) -> Path:
    """A simulated hospital's data folder, as coarse as tests want it."""
    return make_hospital(center, phantom_settings(load_settings(SMOKE[0], [], None).data), cache / "hospitals")


@contextmanager
def three_joined(folder: Path, cache: Path) -> Iterator[Deployment]:
    """A coordinator behind nginx, and three enrolled hospitals that have joined and know each other's keys."""
    started = Deployment(folder)
    try:
        for center, data in data_of_three(cache).items():
            started.init(center, data, "--role", "both")
        introduce(started)
        for hospital in list(started.hospitals.values()):
            started.enroll(hospital)
            started.join(hospital)
        for center, node in started.joined.items():
            node.hear_of(f"joined as {center}", 90)
        yield started
    finally:
        started.stop()

"""The two guides followed from nothing, block after block as the pages have them, by a coordinator and three hospitals.

What is typed is what the pages say. Replaced are the names that the pages give as examples: the coordinator's host and
port, folders of a hospital's machine, a hospital's own name, a protocol's digest. What is left out says why.
"""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scenarios.processes.supervisor import free_port
from shared.results import read_results
from tests.conftest import ROOT
from tests.support.datasets import write_dataset
from tests.support.deployment import QUIET, status_of, wait_until
from tests.support.pages import SHELL, blocks, name_of
from tests.support.watched import SCRIPTS, Watched

pytestmark = [pytest.mark.deployed, pytest.mark.timeout(1500)]

COORDINATOR, HOSPITAL = ROOT / "docs" / "coordinator.md", ROOT / "docs" / "hospital.md"

CENTERS = ("milan", "bwh", "karo")
"""As the coordinator's guide has them."""

SCENARIO = """
method = "replay"
spacing = 4.0
features = 4
steps = 20
batch-size = 8
patch-size = 16
exemplar-mm = 64.0
"""
"""In place of `scenarios/replay.toml`, in the coordinator's folder: as much as the hospitals' floors ask for."""


@dataclass
class Follower:
    """A person at one machine, who goes through a page from top to bottom."""

    page: Path
    folder: Path
    """Where commands are typed."""
    names: dict[str, str]
    """What stands for the names that the page gives as examples."""
    environment: dict[str, str]
    started: list[Watched]
    at: int = 0
    said: str = field(default="", repr=False)
    """What the last command said."""

    def _next(self, begins: str) -> list[str]:
        """The lines of the page's next block of commands, which begins so."""
        found = [block for block in blocks(self.page) if block.language in SHELL]
        assert self.at < len(found), f"{name_of(self.page)} ends before a block that begins with {begins!r}"
        block = found[self.at]
        self.at += 1
        assert block.text.startswith(begins), f"{block} begins otherwise than with {begins!r}:\n{block.text}"
        text = block.text.replace("\\\n", " ")
        for example, real in self.names.items():
            text = text.replace(example, real)
        return text.splitlines()

    def leave(self, begins: str, why: str) -> None:
        """Go on without the next block."""
        assert why
        self._next(begins)

    def type(self, begins: str, lines: slice = slice(None), answer: str = "", also: str = "") -> str:
        """Type the next block to its end, which must be good; `also` is what the page says may be added."""
        self.said = ""
        for line in self._next(begins)[lines]:
            done = subprocess.run(
                ["bash", "-ec", line + also],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                input=answer,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            self.said += done.stdout
        return self.said

    def start(self, begins: str, also: str = "") -> Watched:
        """Type the next block, which stays until it is stopped."""
        text = "\n".join(f"{line}{also}" for line in self._next(begins))
        started = Watched(
            "bash",
            "-ec",
            f"cd {self.folder}\n{text}",
            log=self.folder / f"{begins.split()[0]}-{self.at}.out",
            environment=self.environment,
        )
        self.started.append(started)
        return started

    def end(self) -> None:
        """Nothing of the page is left."""
        assert self.at == len([block for block in blocks(self.page) if block.language in SHELL]), name_of(self.page)


@dataclass
class Place:
    """The machines: one folder for each person, and nothing shared but what is handed over."""

    root: Path
    started: list[Watched]
    outside: int = field(default_factory=free_port)
    inside: int = field(default_factory=free_port)

    def coordinator(self) -> Follower:
        folder = self._folder("coordinator")
        (folder / "scenarios").mkdir()
        (folder / "scenarios" / "replay.toml").write_text(SCENARIO)
        names = {"coordinator.example": "localhost", "--listen 8443": f"--listen 127.0.0.1:{self.outside}"}
        return Follower(COORDINATOR, folder, names, self._environment(folder), self.started)

    def hospital(self, center: str, first: int) -> Follower:
        folder = self._folder(center)
        data = folder / "data"
        write_dataset(data, [f"sub-{number:02d}" for number in range(1, 19)], first=first)
        names = {
            "/data/milan": str(data),
            "/var/lib/wardround/milan": str(folder / "state"),
            "coordinator.example:443": f"localhost:{self.outside}",
            "milan": center,
        }
        return Follower(HOSPITAL, folder, names, self._environment(folder), self.started)

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir()
        return folder

    def _environment(self, folder: Path) -> dict[str, str]:
        path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin"
        return {**QUIET, "PATH": path, "WARDROUND_CACHE": str(folder / "cache")}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    started: list[Watched] = []
    try:
        yield Place(tmp_path, started)
    finally:
        for process in reversed(started):
            process.stop()


def hand_over(file: Path, to: Follower) -> None:
    """As by mail, or on a stick."""
    shutil.copy(file, to.folder)


def write_policy(hospital: Follower, key_lines: dict[str, str]) -> None:
    """With an editor: the other hospitals' lines, and what the guide's own example lets leave, for those others."""
    center = hospital.folder.name
    others = [name for name in key_lines if name != center]
    (example,) = [block.text for block in blocks(HOSPITAL) if block.language == "toml"]
    policy = tomllib.loads(example)["policy"] | {"centers": others}
    file = hospital.folder / "hospital.toml"
    text = file.read_text().replace("[peers]\n", "[peers]\n" + "".join(f'{n} = "{key_lines[n]}"\n' for n in others))
    for key, value in policy.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{key} = ")]
        written = str(value).lower() if isinstance(value, bool) else repr(value)
        text = text.replace(line, f"{key} = {written}")
    file.write_text(text)


def prepared(place: Place, center: str, first: int, authority: Path) -> tuple[Follower, str]:
    """A hospital up to its guide's step 4, and the line that it sends to the others."""
    hospital = place.hospital(center, first)
    hand_over(authority, hospital)
    hospital.leave("git clone", "it is installed")
    hospital.leave(".venv/bin/pip", "it is installed")
    hospital.leave("wardround hospital init\n", "asks at a terminal; the same follows as flags")
    assert "SHA256:" in hospital.type("wardround hospital init --center")
    hospital.type("wardround hospital check")
    hospital.type("wardround hospital join hospital.toml --dry-run")
    assert list((hospital.folder / "dry").glob("*.bin"))
    said = hospital.type("wardround hospital keys")
    (line,) = [line for line in said.splitlines() if line.startswith("wardround-key-v1 ")]
    return hospital, line


def test_the_guides_lead_from_nothing_to_a_finished_study(place: Place) -> None:
    coordinator = place.coordinator()
    coordinator.leave("git clone", "it is installed")
    coordinator.leave("pip install pip-tools", "asks a package registry, for minutes")
    superlink = coordinator.start("wardround coordinator up", also=f" --port {place.inside}")
    superlink.hear_of("the SuperLink listens on", 120)
    study = coordinator.folder / "study"
    coordinator.leave("wardround coordinator proxy study --listen 443", "changes the machine's nginx")
    nginx = coordinator.start("wardround coordinator proxy study --listen 8443 --standalone")
    wait_until(lambda: status_of(place.outside, "/", study / "ca.crt") is not None, "nginx answers", nginx.tail, 60)

    hospitals, lines = {}, {}
    for number, center in enumerate(CENTERS):
        hospitals[center], lines[center] = prepared(place, center, 20 * number, study / "ca.crt")
    coordinator.names["https://localhost"] = f"https://localhost:{place.outside}"
    hand_over(study / "ca.crt", coordinator)
    if shutil.which("curl"):
        assert "403" in coordinator.type("curl --cacert ca.crt")
    else:
        coordinator.leave("curl --cacert ca.crt", "is not installed here")

    again = coordinator.at
    for center, hospital in hospitals.items():
        hand_over(hospital.folder / "state" / "flower" / "node_key.pub", coordinator)
        hand_over(hospital.folder / f"{center}.card.json", coordinator)
        coordinator.at, coordinator.names["milan"] = again, center
        said = coordinator.type("wardround coordinator enroll")
        assert center in said
        write_policy(hospital, lines)
    del coordinator.names["milan"]

    coordinator.type("wardround coordinator propose study scenarios/replay.toml")
    for center, hospital in hospitals.items():
        hand_over(coordinator.folder / "protocol.json", hospital)
        # The third line of the block ends what the first began.
        said = hospital.type("wardround hospital approve", slice(2), answer="y\n")
        assert "trained here: stage" in said and "approved: " in said
        hospital.start("wardround hospital join hospital.toml").hear_of(f"joined as {center}", 120)

    assert coordinator.type("wardround run --protocol")
    results = read_results(coordinator.folder / "results")
    assert sorted(results.order) == sorted(CENTERS) and len(results.stages) == 3
    coordinator.leave("wardround coordinator propose study --extends", "one more hospital after the end: another study")
    if shutil.which("sqlite3"):
        coordinator.type("sqlite3 study/state.db")
        assert (coordinator.folder / "study-backup.db").stat().st_size
    else:
        coordinator.leave("sqlite3", "is not installed here")
    coordinator.end()

    milan = hospitals["milan"]
    milan.type("wardround hospital unit")
    milan.leave("cp wardround.service", "changes the machine")
    said = milan.type("wardround hospital audit")
    assert "trained model" in said and "sub-07" in said
    milan.end()

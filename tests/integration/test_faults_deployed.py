"""Nothing is lost in a deployment either: a SuperLink and three SuperNodes, and what can befall them.

One study over three hospitals, each a SuperNode of its own with its own state folder. While it
runs, a ClientApp, a SuperNode, the ServerApp and the SuperLink are killed, at one moment after
another; what Wardround can wait out it waits out by itself, and for the rest the run is resumed.
It must end as the same run does in an undisturbed simulation, to the last bit of R: with its
exemplars sealed, where the simulation's are not.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.governance.keys import make_keys
from scenarios.processes.supervisor import free_port
from scenarios.run_config import load_settings
from scenarios.runner.superlink import wait_for_health
from scenarios.simulation.hospitals import hospital_folder, phantom_settings
from shared.results import RunResults, read_results
from tests.support.approved import protocol_of
from tests.support.watched import SCRIPTS, SMOKE, WARDROUND, Watched, left_after, send

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]

CENTERS = ("milan", "ucsf", "amu")
SURROUNDINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
    # As many as a simulated hospital has: another number rounds otherwise.
    "OMP_NUM_THREADS": "1",
    # Flower's commands start each other by bare name.
    "PATH": os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", os.defpath)]),
}


class Deployment:
    """A SuperLink on its database and a SuperNode a center, each of which can be started again."""

    def __init__(self, folder: Path, hospitals: Path) -> None:
        self.folder = folder
        self.environment = {**SURROUNDINGS, "FLWR_HOME": str(folder / "home")}
        (folder / "home").mkdir()
        self._hospitals = hospitals
        self._port = free_port()
        (folder / "home" / "config.toml").write_text(
            f'[superlink.study]\naddress = "127.0.0.1:{self._port}"\ninsecure = true\n'
        )
        self.nodes: dict[str, Watched] = {}
        self._keys = {center: make_keys(folder / center / "state" / "keys", center) for center in CENTERS}
        self._identities = {center: made.identity for center, made in self._keys.items()}
        for center in CENTERS:
            self.found(center)
        self.start_superlink()
        for center in CENTERS:
            self.start_node(center)

    def start_superlink(self) -> None:
        options = ["--insecure", "--host", "127.0.0.1", "--port", str(self._port)]
        options += ["--database", str(self.folder / "state.db"), "--disable-runtime-dependency-installation"]
        log = self.folder / "superlink.log"
        self.superlink = Watched(SCRIPTS / "flower-superlink", *options, log=log, environment=self.environment)
        wait_for_health(self.superlink.process, self._port, log, seconds=120)

    def found(self, center: str) -> None:
        """Write what a hospital that joins writes: keys, pins of the others, and a policy."""
        others = [name for name in CENTERS if name != center]
        pins = "".join(f'{name} = "{self._identities[name]}"\n' for name in others)
        (self.folder / center / "hospital.toml").write_text(
            f'center = "{center}"\nstate-dir = "state"\n[data]\nfolder = "{self._hospitals / center}"\n[peers]\n{pins}'
            f'[policy]\nrole = "both"\nreport-subject-scores = true\nshare-exemplars = true\ncenters = {others}\n'
            "subjects = 100\nmegabytes = 100\nexpiry-days = 2\nleast-subjects = 1\nleast-batch = 1\n"
        )

    def start_node(self, center: str) -> None:
        config = f"hospital='{self.folder / center / 'hospital.toml'}'"
        options = ["--insecure", "--superlink", f"127.0.0.1:{self._port}", "--port", str(free_port())]
        home = {**SURROUNDINGS, "FLWR_HOME": str(self.folder / center)}
        log = self.folder / f"{center}.log"
        node = Watched(SCRIPTS / "flower-supernode", *options, "--node-config", config, log=log, environment=home)
        self.nodes[center] = node

    def approved(self, *changes: str) -> Path:
        """A protocol of the smoke study, which every hospital approves by the command."""
        settings = load_settings(SMOKE[0], [*SMOKE[2::2], *changes], None)
        path = self.folder / "protocol.json"
        path.write_text(protocol_of(settings.to_run_config(), self._keys).document)
        for center in CENTERS:
            words = ["hospital", "approve", self.folder / center / "hospital.toml", path, "--yes"]
            subprocess.run([WARDROUND, *map(str, words)], check=True, env={**os.environ, **SURROUNDINGS})
        return path

    def run(self, *words: str | Path) -> Watched:
        return Watched(WARDROUND, *words, log=self.folder / "run.log", environment=self.environment)

    def stop(self) -> None:
        for process in [*self.nodes.values(), self.superlink]:
            process.stop()


def learnt(results: RunResults) -> Any:
    """What does not hang on how exemplars travel, and under which pseudonyms, in whose order scores leave."""
    scores = sorted((image.model_dump(exclude={"subject"}) for image in results.test_scores), key=repr)
    return results.R, results.order, [stage.final_loss for stage in results.stages], scores


@pytest.fixture
def deployment(undisturbed: Path, cache: Path, tmp_path: Path) -> Iterator[Deployment]:
    phantoms = phantom_settings(load_settings(SMOKE[0], [], None).data)
    started = Deployment(tmp_path, hospital_folder("milan", phantoms, cache / "hospitals").parent)
    yield started
    started.stop()


def test_a_study_survives_what_can_befall_its_processes(deployment: Deployment, undisturbed: Path) -> None:
    folder = deployment.folder / "run"
    protocol = deployment.approved()
    run = deployment.run("run", "--protocol", protocol, *SMOKE[3:], "--superlink", "study", "--output", folder)

    # A ClientApp dies in its training: the server hears of it after a minute, and asks again.
    milan = deployment.nodes["milan"]
    milan.hear("[wardround] milan: step 60/120")
    milan.kill("flwr-clientapp")
    run.hear("milan was lost:", 240)
    run.hear("milan is there: asking again", 240)
    milan.hear("[wardround] milan: going on after step")

    # A whole SuperNode dies in its training, and comes back as a new node.
    run.hear("stage 2/3: training at ucsf", 240)
    ucsf = deployment.nodes["ucsf"]
    ucsf.hear("[wardround] ucsf: step 60/120", 240)
    ucsf.kill("")
    ucsf.end()
    run.hear("ucsf was lost:", 240)
    deployment.start_node("ucsf")
    run.hear("ucsf is there: asking again", 240)

    # The ServerApp dies while the model is tested. Flower fails the run; it is resumed.
    run.hear("stage 2/3: testing at", 240)
    deployment.superlink.kill("flwr-serverapp")
    assert run.end() == 1
    assert "wardround resume" in run.tail()

    # The SuperLink dies in the last training, and is started again on its database.
    run = deployment.run("resume", folder)
    run.hear("stage 3/3: training at amu", 240)
    deployment.nodes["amu"].hear("[wardround] amu: step 60/120", 240)
    kin = deployment.superlink.family("")
    deployment.superlink.kill("flower-superlink")
    deployment.superlink.end()
    assert run.end() == 1
    assert "wardround resume" in run.tail()
    assert not left_after(kin)
    deployment.start_superlink()

    run = deployment.run("resume", folder)
    assert run.end(400) == 0, run.tail()
    results = read_results(folder)
    assert learnt(results) == learnt(read_results(undisturbed))
    assert [entry.at[:9] for entry in results.history.interruptions] == ["stage 2/3", "stage 3/3"]


def test_a_center_that_is_away_leaves_its_cells_empty_until_it_is_asked_again(
    deployment: Deployment, undisturbed: Path
) -> None:
    folder = deployment.folder / "run"
    protocol = deployment.approved()
    words = ["--protocol", protocol, *SMOKE[3:], "-c", "patience-minutes=0.05", "--superlink", "study"]
    run = deployment.run("run", *words, "--output", folder)

    # Frozen, not dead: Flower takes it for lost, and what it was asked is gone.
    run.hear("stage 1/3: training at milan", 240)
    amu = deployment.nodes["amu"]
    frozen = amu.family("")
    for pid in frozen:
        send(pid, signal.SIGSTOP)
    run.hear("no score: center amu", 300)
    run.hear("stage 2/3: training at ucsf")
    for pid in frozen:
        send(pid, signal.SIGCONT)
    assert run.end(400) == 0, run.tail()
    assert read_results(folder).R[0][2] is None
    assert "NOTE the means leave out cells without a score: amu after stage 1" in "\n".join(run.lines)

    filled = deployment.run("evaluate", folder, "--center", "amu")
    assert filled.end(400) == 0, filled.tail()
    results = read_results(folder)
    assert results.R == read_results(undisturbed).R
    assert not results.missing and not results.history.interruptions

"""Whoever may not join a coordinator is told why; who may comes back, and leaves nothing behind.

Real processes, started by the commands of the guides: a coordinator, nginx, and three hospitals
that share no folder.
"""

import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scenarios.deployment.certificates import Files, make_trial
from scenarios.processes.supervisor import flower_environment, free_port
from scenarios.processes.tree import parents_of_all
from shared.wire.code_fingerprint import code_fingerprint
from tests.conftest import ROOT
from tests.support.deployment import Deployment, Joining, simulated_data, status_of, three_joined, wait_until
from tests.support.watched import SCRIPTS, SMOKE, Watched, command_of, send

pytestmark = [pytest.mark.deployed, pytest.mark.timeout(900)]


ROUGH = ("-c", "steps=2")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Deployment]:
    """A coordinator behind nginx, and three enrolled hospitals that have joined."""
    with three_joined(tmp_path_factory.mktemp("deployment"), cache) as started:
        yield started


@pytest.fixture
def stranger(deployment: Deployment, cache: Path, request: pytest.FixtureRequest) -> Joining:
    """One more hospital, with a file and a key, that nobody enrolled."""
    return deployment.init(f"s{abs(hash(request.node.name)) % 10**8}", simulated_data("milan", cache))


def refusal(node: Watched, seconds: float = 60.0) -> str:
    """The one line by which a node that cannot join ends."""
    assert node.end(seconds) == 1, node.tail()
    lines = [line for line in node.lines if line.startswith("wardround: ")]
    assert len(lines) == 1 and "Traceback" not in "\n".join(node.lines), node.tail()
    return lines[0]


def change(hospital: Joining, old: str, new: str) -> None:
    text = hospital.toml.read_text()
    assert old in text
    hospital.toml.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/list-runs",
        "/v1/control/start-run",
        "/v1/runtime/get-nodes",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/../control/list-runs",
        "/v1/fleet/%2e%2e/control/list-runs",
        "/v1/fleet/..%2fcontrol/list-runs",
        "/v1/fleet/pull-messages/../../control/list-runs",
        "//v1/control/list-runs",
        "/v1/control/list-runs?/v1/fleet/get-run",
        "/health",
        "/docs",
        "/",
    ],
)
def test_the_outside_world_reaches_nothing_but_the_fleet_api(deployment: Deployment, path: str) -> None:
    assert status_of(deployment.outside, path, deployment.root) == 403


def test_the_proxy_passes_the_fleet_api_on_and_the_superlink_asks_for_a_signature(deployment: Deployment) -> None:
    # 401, 415 or 422 come from the SuperLink; nginx itself answers 403 to all but POST.
    assert status_of(deployment.outside, "/v1/fleet/pull-messages", deployment.root) not in (403, 404, 502, None)
    assert status_of(deployment.outside, "/v1/fleet/pull-messages", deployment.root, "GET") == 403


def test_a_hospital_that_nobody_enrolled_is_refused(deployment: Deployment, stranger: Joining) -> None:
    node = deployment.join(stranger)
    node.hear_of("does not know its key", 60)
    said = refusal(node, 240)
    assert "does not know this hospital's key" in said and str(stranger.public_key) in said


def test_a_hospital_that_was_removed_is_refused(deployment: Deployment, stranger: Joining) -> None:
    deployment.enroll(stranger)
    node = deployment.join(stranger)
    node.hear_of("joined as", 60)
    deployment.command("coordinator", "remove", deployment.coordinator, stranger.center)
    assert "does not know this hospital's key" in refusal(node, 300)


def test_a_coordinator_that_another_authority_vouches_for_is_refused(
    deployment: Deployment, stranger: Joining, tmp_path: Path
) -> None:
    other = Files(stranger.folder / "ca.crt", tmp_path / "server.pem", tmp_path / "server.key")
    other.authority.unlink()
    make_trial(other, tmp_path / "authority.key", [])
    assert "is not vouched for by" in refusal(deployment.join(stranger))


def test_a_coordinator_whose_certificate_expired_is_refused(
    deployment: Deployment, stranger: Joining, tmp_path: Path
) -> None:
    shown = Files(stranger.folder / "ca.crt", tmp_path / "server.pem", tmp_path / "server.key")
    shown.authority.unlink()
    make_trial(shown, tmp_path / "authority.key", [])
    make_trial(shown, tmp_path / "authority.key", [], datetime.now(UTC) - timedelta(days=500))
    address = f"127.0.0.1:{free_port()}"
    deployment.another_nginx(address, shown.certificate, shown.key)
    change(stranger, deployment.address, address)
    assert "has expired: ask it to renew" in refusal(deployment.join(stranger))


def test_a_coordinator_by_another_name_than_its_certificate_is_refused(
    deployment: Deployment, stranger: Joining
) -> None:
    tls = deployment.coordinator / "tls"
    address = f"127.0.0.2:{free_port()}"
    deployment.another_nginx(address, tls / "server.pem", tls / "server.key")
    change(stranger, deployment.address, address)
    assert "certificate is not for 127.0.0.2" in refusal(deployment.join(stranger))


def test_an_address_without_tls_is_refused(deployment: Deployment, stranger: Joining, tmp_path: Path) -> None:
    port = free_port()
    words: list[str | Path] = ["-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", tmp_path]
    plain = Watched(SCRIPTS / "python", *words, log=tmp_path / "plain.out")
    try:
        change(stranger, deployment.address, f"127.0.0.1:{port}")
        assert "does not speak TLS" in refusal(deployment.join(stranger))
    finally:
        plain.stop()


def test_a_node_without_tls_is_refused(deployment: Deployment, stranger: Joining, tmp_path: Path) -> None:
    """What Wardround never does, done by hand: with the key Flower refuses, and without it nginx."""
    node = [str(SCRIPTS / "flower-supernode"), "--insecure", "--superlink", deployment.address]
    node += ["--port", str(free_port()), "--max-retries", "1"]
    key = ["--auth-supernode-private-key", str(stranger.public_key.with_suffix(""))]
    home = flower_environment(tmp_path)
    for options, reason in ((key, "requires a secure TLS connection"), ([], "400 Bad Request")):
        ended = Watched(*node, *options, log=tmp_path / "node.out", environment=home)
        assert ended.end(180) != 0 and reason in "\n".join(ended.lines)


def test_a_hospital_whose_file_has_two_names_is_refused(deployment: Deployment, stranger: Joining) -> None:
    change(stranger, f'enrolled-as = "{stranger.center}"', 'enrolled-as = "milan"')
    assert "refuses a hospital that answers by another name" in refusal(deployment.join(stranger))


def test_a_node_under_a_name_that_the_protocol_does_not_have_is_left_alone(
    deployment: Deployment, stranger: Joining
) -> None:
    """It has approved nothing, and would refuse whatever it is asked."""
    with present(deployment, stranger, name="bystander"):
        run = begin(deployment, "bystander")
        assert run.end(300) == 0, run.tail()
    assert "sent" not in deployment.command("hospital", "audit", stranger.toml)


def test_a_coordinator_s_other_code_does_not_run_at_a_hospital_and_the_study_ends(
    deployment: Deployment, tmp_path: Path
) -> None:
    altered = tmp_path / "altered"
    ran = tmp_path / "ran"
    for part in ("client", "server", "shared", "scenarios"):
        shutil.copytree(ROOT / part, altered / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / part, altered)
    app = altered / "client" / "app.py"
    app.write_text(f"{app.read_text()}\nopen({str(ran)!r}, 'w').close()\n")
    run = begin(deployment, "altered", code=altered)
    assert run.end(180) == 1
    told = "\n".join(run.lines)
    assert re.search(r"runs other code \(fingerprint [0-9a-f]{16}\) than the coordinator \([0-9a-f]{16}\)", told), told
    assert code_fingerprint()[:16] in told and code_fingerprint(altered)[:16] in told
    assert not ran.exists()


@contextmanager
def present(deployment: Deployment, hospital: Joining, name: str) -> Iterator[None]:
    """The hospital has joined, enrolled under `name`; afterwards it is gone."""
    deployment.enroll(hospital, name)
    node = deployment.join(hospital)
    try:
        node.hear_of("joined as", 60)
        yield
    finally:
        node.stop()
        deployment.command("coordinator", "remove", deployment.coordinator, name)
        del deployment.joined[hospital.center]


def begin(deployment: Deployment, name: str, code: Path = ROOT) -> Watched:
    """The coordinator's command for a short study, from a checkout of its own where `code` is one."""
    centers = ",".join(list(deployment.joined)[:2])
    protocol = deployment.propose(name, SMOKE[0], "-c", "method=finetune", "-c", f"centers={centers}", *ROUGH)
    words: list[str | Path] = ["-P", "-m", "scenarios.cli", "run", "--protocol", protocol]
    words += ["--output", deployment.folder / name, "--coordinator", deployment.coordinator]
    environment = {"PYTHONPATH": str(code), "FLWR_TELEMETRY_ENABLED": "0"}
    return Watched(SCRIPTS / "python", *words, log=deployment.folder / f"{name}.out", environment=environment)


def test_a_hospital_comes_back_after_its_node_and_its_coordinator_died(deployment: Deployment) -> None:
    center, node = next(iter(deployment.joined.items()))
    told = len(node.lines)
    node.kill("flower-supernode")
    node.until(lambda: any(line.startswith("waiting: ") for line in node.lines[told:]), "it waits", 60)
    node.until(lambda: any(line.startswith("joined as") for line in node.lines[told:]), "it is back", 150)

    told = len(node.lines)
    deployment.superlink.kill("flower-superlink")
    node.until(lambda: any(line.startswith("lost: ") for line in node.lines[told:]), "it says lost", 60)
    node.until(lambda: any(line.startswith("joined again") for line in node.lines[told:]), "it is back", 90)
    wait_until(lambda: f"{center} " in deployment.listing(), "it is listed", node.tail)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL]
)
def test_a_hospital_that_leaves_leaves_nothing_running(
    deployment: Deployment, stranger: Joining, number: signal.Signals
) -> None:
    deployment.enroll(stranger)
    # Where the tests themselves run in the background, Ctrl-C is ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    node = deployment.join(stranger)
    signal.signal(signal.SIGINT, before)
    node.hear_of("joined as", 60)
    kin = node.family("")
    assert len(kin) > 2
    send(node.process.pid, number)
    codes = {signal.SIGINT: (130, -2), signal.SIGTERM: (143,), signal.SIGKILL: (-9,)}
    assert node.process.wait(30) in codes[number]
    wait_until(lambda: not living(kin), "all have ended", lambda: str(list(map(command_of, living(kin)))))
    if number == signal.SIGTERM:
        assert "online" not in next(line for line in deployment.listing().splitlines() if stranger.center in line)


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if pid in parents_of_all()]

"""A coordinator's folder, without a SuperLink."""

import socket
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scenarios.cli.main import cli
from scenarios.deployment.certificates import Files, make_trial
from scenarios.deployment.coordinator import PORT, Coordinator, judge
from scenarios.processes.supervisor import End
from shared.errors import LaunchError, ResultsError, SettingsError, TrustError


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return Coordinator(tmp_path / "study")


def test_a_folder_is_made_once_and_then_kept(coordinator: Coordinator) -> None:
    assert coordinator.prepare(None, [], None) == [
        "made an authority of our own and a certificate for localhost, 127.0.0.1"
    ]
    kept = {path: path.read_bytes() for path in coordinator.folder.rglob("*") if path.is_file()}
    assert coordinator.prepare(None, [], None) == []
    assert kept == {path: path.read_bytes() for path in coordinator.folder.rglob("*") if path.is_file()}
    assert stat.S_IMODE(coordinator.folder.stat().st_mode) == 0o700


def test_a_port_that_was_chosen_stays(coordinator: Coordinator) -> None:
    coordinator.prepare(None, [], None)
    assert coordinator.address == f"127.0.0.1:{PORT}"
    coordinator.prepare(41234, [], None)
    coordinator.prepare(None, [], None)
    assert coordinator.port == 41234


def test_the_superlink_listens_on_loopback_with_tls_and_authentication(coordinator: Coordinator) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    coordinator.prepare(port, [], None)
    command = coordinator.command()
    assert command[1:5] == ["--host", "127.0.0.1", "--port", str(port)]
    assert "--enable-supernode-auth" in command and "--insecure" not in command
    assert {"--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certfile", "--database"} <= set(command)
    assert "--disable-runtime-dependency-installation" in command


def test_a_port_that_is_taken_is_named(coordinator: Coordinator) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        coordinator.prepare(other.getsockname()[1], [], None)
        with pytest.raises(LaunchError, match=r"cannot be used \(Address already in use\)"):
            coordinator.command()


def test_certificates_are_taken_from_files_or_refused_before_anything_changes(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    given = Files(tmp_path / "a.crt", tmp_path / "s.pem", tmp_path / "s.key")
    make_trial(given, tmp_path / "a.key", ["here.example"])
    assert coordinator.prepare(None, [], given) == [f"took the certificate {given.certificate}"]
    assert coordinator.tls.certificate.read_bytes() == given.certificate.read_bytes()
    with pytest.raises(TrustError, match=r"not for there\.example"):
        coordinator.prepare(None, ["there.example"], given)
    assert coordinator.tls.certificate.read_bytes() == given.certificate.read_bytes()


def test_a_folder_that_is_no_coordinators_is_named(coordinator: Coordinator) -> None:
    with pytest.raises(ResultsError, match="make one by: wardround coordinator up"):
        _ = coordinator.address
    coordinator.home.mkdir(parents=True)
    (coordinator.home / "config.toml").write_text("superlink = 3")
    with pytest.raises(ResultsError, match="delete it"):
        _ = coordinator.address


def test_an_end_that_would_come_again_is_final() -> None:
    with pytest.raises(LaunchError, match="another version of Flower"):
        judge(End(1, 3.0, ("ERROR : Exit Code: 105", "mismatch")))
    with pytest.raises(LaunchError, match="cannot start: no such thing"):
        judge(End(1, 3.0, ("ERROR : Exit Code: 104", "no such thing")))
    assert judge(End(-9, 3.0, ("INFO : fine",))) == "the SuperLink ended with code -9"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["coordinator", "up", "{}", "--key", "k"], "--certificate, --key and --authority together"),
        (["coordinator", "proxy", "{}", "--key", "k"], "--certificate and --key together"),
        (["coordinator", "proxy", "{}", "--standalone"], "--standalone needs --output"),
        (["run", "--coordinator", "{}", "--superlink", "x"], "--superlink or --coordinator, not both"),
        (["coordinator", "enroll", "{}", "a b", "k"], "no center name"),
    ],
)
def test_options_that_do_not_go_together_are_refused(coordinator: Coordinator, words: list[str], reason: str) -> None:
    coordinator.prepare(None, [], None)
    result = CliRunner().invoke(cli, [word.format(coordinator.folder) for word in words])
    assert isinstance(result.exception, SettingsError) and reason in str(result.exception)


def test_a_coordinator_that_does_not_run_is_said_to(coordinator: Coordinator) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    coordinator.prepare(port, [], None)
    result = CliRunner().invoke(cli, ["coordinator", "list", str(coordinator.folder)])
    assert isinstance(result.exception, LaunchError) and "does not answer" in str(result.exception)


def test_the_proxy_is_printed_or_written(coordinator: Coordinator, tmp_path: Path) -> None:
    coordinator.prepare(41234, [], None)
    printed = CliRunner().invoke(cli, ["coordinator", "proxy", str(coordinator.folder), "--listen", "8443"])
    assert printed.exit_code == 0 and "listen 8443 ssl;" in printed.stdout and "events" not in printed.stdout
    file = tmp_path / "n" / "nginx.conf"
    words = ["coordinator", "proxy", str(coordinator.folder), "--standalone", "--output", str(file)]
    assert "start it by: nginx" in CliRunner().invoke(cli, words).stdout
    assert "events {}" in file.read_text()

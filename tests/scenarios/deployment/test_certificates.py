"""Trial certificates, by the eyes of another implementation: Python's own TLS."""

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scenarios.deployment.certificates import (
    LOOPBACK,
    SERVER_DAYS,
    Files,
    check_authority,
    check_server,
    general_name,
    make_trial,
    names_of,
)
from shared.errors import SettingsError, TrustError

NOW = datetime(2030, 5, 1, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "ca.crt", tmp_path / "server.pem", tmp_path / "server.key")


def authority_key(files: Files) -> Path:
    return files.authority.with_name("authority.key")


def handshake(files: Files, name: str) -> None:
    """Both ends of one TLS connection; raises what the client finds wrong."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=str(files.authority))
    ends = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(ends[0], server_side=True).close()
        except OSError:
            ends[0].close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(ends[1], server_hostname=name).close()
    finally:
        ends[1].close()
        thread.join()


@pytest.mark.parametrize("name", [*LOOPBACK, "coordinator.example", "192.0.2.7"])
def test_a_client_that_holds_the_authority_connects_by_every_name(files: Files, name: str) -> None:
    make_trial(files, authority_key(files), ["coordinator.example", "192.0.2.7"])
    handshake(files, name)


def test_a_client_refuses_another_name(files: Files) -> None:
    make_trial(files, authority_key(files), ["coordinator.example"])
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'elsewhere\.example'"):
        handshake(files, "elsewhere.example")


def test_a_renewed_certificate_comes_from_the_authority_that_hospitals_hold(files: Files) -> None:
    make_trial(files, authority_key(files), [])
    held, before = files.authority.read_bytes(), files.certificate.read_bytes()
    make_trial(files, authority_key(files), ["more.example"])
    assert files.authority.read_bytes() == held and files.certificate.read_bytes() != before
    handshake(files, "more.example")


def test_private_keys_are_for_their_owner_alone(files: Files) -> None:
    make_trial(files, authority_key(files), [])
    for path in (files.key, authority_key(files)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_certificate_is_checked_before_it_is_used(files: Files) -> None:
    make_trial(files, authority_key(files), ["here.example"], NOW)
    assert names_of(check_server(files, LOOPBACK, NOW)) == {*LOOPBACK, "here.example"}
    with pytest.raises(TrustError, match=r"not for there\.example"):
        check_server(files, ["there.example"], NOW)
    with pytest.raises(TrustError, match="expired on 2031-06-02"):
        check_server(files, now=NOW + timedelta(days=SERVER_DAYS, hours=1))
    with pytest.raises(TrustError, match="begins only on 2030-04-30: see whether this machine's clock"):
        check_server(files, now=NOW - timedelta(days=1))
    with pytest.raises(TrustError, match="expired"):
        check_authority(files.authority, NOW + timedelta(days=2000))


def test_a_key_of_another_certificate_is_refused(files: Files, tmp_path: Path) -> None:
    make_trial(files, authority_key(files), [])
    other = Files(tmp_path / "o.crt", tmp_path / "o.pem", tmp_path / "o.key")
    make_trial(other, tmp_path / "o.authority", [])
    with pytest.raises(TrustError, match="is not the key of"):
        check_server(Files(files.authority, files.certificate, other.key))


def test_files_that_are_missing_or_something_else_are_named(files: Files, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"ca\.crt cannot be read \(No such file"):
        check_authority(files.authority)
    files.authority.write_text("hello")
    with pytest.raises(TrustError, match="no certificate in PEM format"):
        check_authority(files.authority)


@pytest.mark.parametrize("host", ["", "https://x.example", "x.example:443", "a b", "a..b", "münchen.example"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="neither a name nor an address"):
        general_name(host)

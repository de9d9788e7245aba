"""nginx, as it runs: a hospital's traffic passes, and what no node signed is answered at the door."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from scenarios.deployment import nginx
from scenarios.deployment.certificates import Files, make_trial
from scenarios.deployment.nginx import Proxy
from scenarios.processes.supervisor import free_port

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
SIGNED = {"flwr-public-key": "a", "flwr-signature": "b"}
NO_SUPERLINK = 502
"""What passes is answered so here, where there is no SuperLink."""


@dataclass(frozen=True)
class Door:
    """nginx, and how it answers."""

    port: int
    root: Path

    def status(self, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
        trust = ssl.create_default_context(cafile=str(self.root))
        with closing(HTTPSConnection("localhost", self.port, timeout=30, context=trust)) as connection:
            connection.request("POST", "/v1/fleet/push-object", body, SIGNED if headers is None else headers)
            return connection.getresponse().status


@pytest.fixture
def limits() -> tuple[int, int]:
    """Requests a second, and how many more at once."""
    return nginx.RATE, nginx.BURST


@pytest.fixture
def door(tmp_path: Path, limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    if NGINX is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    monkeypatch.setattr(nginx, "RATE", limits[0])
    monkeypatch.setattr(nginx, "BURST", limits[1])
    files = Files(tmp_path / "ca.crt", tmp_path / "server.pem", tmp_path / "server.key")
    make_trial(files, tmp_path / "authority.key", ["localhost"])
    port, superlink = free_port(), free_port()
    text = Proxy(f"127.0.0.1:{port}", files.certificate, files.key, f"127.0.0.1:{superlink}", files.authority)
    (tmp_path / "nginx.conf").write_text(text.standalone(tmp_path))
    words = [NGINX, "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "nginx.pid").is_file():
            assert process.poll() is None, (tmp_path / "error.log").read_text()
            time.sleep(0.05)
        yield Door(port, tmp_path / "ca.crt")
    finally:
        process.terminate()
        process.wait(30)


def test_a_part_of_a_message_passes_and_a_body_beyond_its_limit_does_not(door: Door) -> None:
    assert door.status(bytes(5 * 2**20)) == NO_SUPERLINK
    assert door.status(bytes((nginx.BODY_MEGABYTES - 1) * 2**20)) == NO_SUPERLINK


@pytest.mark.parametrize("missing", SIGNED)
def test_what_no_node_signed_is_answered_at_the_door(door: Door, missing: str) -> None:
    headers = {name: value for name, value in SIGNED.items() if name != missing}
    assert door.status(b"x", headers) == 401


def test_a_hospital_s_burst_passes(door: Door) -> None:
    assert {door.status(b"x") for _ in range(400)} == {NO_SUPERLINK}


@pytest.mark.parametrize("limits", [(1, 5)])
def test_beyond_its_burst_an_address_waits(door: Door) -> None:
    answers = [door.status(b"x") for _ in range(20)]
    assert answers[:6] == [NO_SUPERLINK] * 6 and answers.count(503) >= 10


def test_the_limits_stand_in_the_configuration() -> None:
    text = Proxy("443", Path("/c/a"), Path("/c/b"), "127.0.0.1:9092", Path("/c/ca")).server()
    assert text.index("limit_req_zone $binary_remote_addr") < text.index("server {")
    assert "limit_conn wardround_connections 64;" in text and "burst=4000 nodelay;" in text
    assert text.count("client_max_body_size") == 2 and "client_max_body_size 8k;" in text

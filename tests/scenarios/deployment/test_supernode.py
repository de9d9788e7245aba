"""What a SuperNode's lines mean to a person; the lines are those of Flower 1.41."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from scenarios.deployment.hospital_file import Membership
from scenarios.deployment.supernode import STILL_COUNTED, Listener
from scenarios.processes.supervisor import End
from shared.errors import LaunchError, TrustError
from tests.scenarios.deployment.test_hospital_file import written

REFUSED = "[code: 2004] Failed to activate SuperNode."


def listener(folder: Path) -> tuple[Listener, list[str]]:
    said: list[str] = []
    return Listener(Membership.read(written(folder)), said.append), said


def failed(reason: str, seconds: float = 4.0) -> End:
    lines = ("ERROR :     Exit Code: 305", "Failed to initialize the connection to the SuperLink.", reason, "help")
    return End(1, seconds, lines)


def test_states_are_told_once(tmp_path: Path) -> None:
    node, said = listener(tmp_path)
    for line in (
        "WARNING :   Connection attempt failed, retrying in 0.80 seconds",
        "WARNING :   Connection attempt failed, retrying in 1.80 seconds",
        "INFO :      Connection successful after 3.00 seconds and 3 tries.",
        "INFO :      SuperNode ID: 123",
        "INFO :      Receiving: query message (ID: ab)",
        "INFO :      Receiving: train message (ID: ab)",
        "[wardround] milan: step 1/4",
        "INFO :      Receiving: evaluate message (ID: ab)",
        "WARNING :   Connection attempt failed, retrying in 0.80 seconds",
        "WARNING :   Connection attempt failed, retrying in 1.80 seconds",
        "INFO :      Connection successful after 3.00 seconds and 3 tries.",
    ):
        node.hear(line)
    assert said == [
        "connecting: coordinator.example:443 does not answer; trying again until it does",
        "joined as milan (node 123); waiting for a study",
        "training: the coordinator sent a model",
        "milan: step 1/4",
        "testing: the coordinator sent a model",
        "lost: coordinator.example:443 does not answer; trying again until it does",
        "joined again: coordinator.example:443 answers",
    ]


def test_an_answer_that_flower_drops_is_told(tmp_path: Path) -> None:
    node, said = listener(tmp_path)
    node.hear("ERROR :     Failed to send message 058d: Server error '500 Internal Server Error' for url 'x'")
    assert "could not be sent (Server error '500 Internal Server Error' for url 'x'): tell the coordinator" in said[0]


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1)", "renew"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate is not yet valid", "clock is right"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate", "not vouched for by"),
        ("certificate verify failed: Hostname mismatch, certificate is not valid for 'x.example'. (_s", "not for x.ex"),
        (
            "certificate verify failed: IP address mismatch, certificate is not valid for '1.2.3.4'.",
            "not for 1.2.3.4",
        ),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "does not speak TLS"),
    ],
)
def test_a_certificate_that_is_wrong_ends_it(tmp_path: Path, reason: str, meaning: str) -> None:
    with pytest.raises(TrustError, match=meaning):
        listener(tmp_path)[0].ended(failed(reason))


def test_a_key_that_is_refused_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    """It may count a connection that broke a moment ago, not know the key, or know it from another node."""
    node, _ = listener(tmp_path)
    times = iter([100.0, 99.0 + STILL_COUNTED, 101.0 + STILL_COUNTED])
    node.clock = lambda: next(times)
    for _ in range(2):
        told = node.ended(failed(REFUSED, seconds=0.0))
        assert told.startswith("waiting: the coordinator still counts")
        assert re.search(r"or does not know its key: then send it .*node_key\.pub", told)
    with pytest.raises(TrustError, match=r"does not know this hospital's key, or another node is joined") as refused:
        node.ended(failed(REFUSED, seconds=0.0))
    assert re.search(r"send it .*node_key\.pub", str(refused.value))


def test_an_address_at_which_something_else_answers_ends_it(tmp_path: Path) -> None:
    reason = "Client error '404 Not Found' for url 'https://x/v1/fleet/activate-node'"
    with pytest.raises(LaunchError, match=r"not as a coordinator does \(404 Not Found\)"):
        listener(tmp_path)[0].ended(failed(reason))


def test_a_signature_that_is_refused_ends_it(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="clock is right"):
        listener(tmp_path)[0].ended(End(0, 3.0, ("INFO :      SuperNode terminated gracefully.",)))


def test_another_version_of_flower_ends_it(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="another version of Flower"):
        listener(tmp_path)[0].ended(End(1, 3.0, ("ERROR : Exit Code: 606", "x")))


@pytest.mark.parametrize(
    ("joined", "end", "told"),
    [
        (True, lambda: End(-9, 300.0, ("INFO : fine",)), "lost: the SuperNode ended with code -9"),
        (True, lambda: End(0, 300.0, ("INFO : SuperNode terminated gracefully.",)), "lost: the SuperNode ended with"),
        (False, lambda: failed("Server error '500 Internal'"), "not joined: Server error '500 Internal'"),
        (False, lambda: End(1, 1.0, ()), "not joined: the SuperNode ended with code 1"),
    ],
)
def test_what_may_pass_is_tried_again(tmp_path: Path, joined: bool, end: Callable[[], End], told: str) -> None:
    node, _ = listener(tmp_path)
    if joined:
        node.hear("INFO :      SuperNode ID: 123")
    assert node.ended(end()).startswith(told)

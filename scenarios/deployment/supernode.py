"""A hospital's SuperNode: how it is started, and what its lines mean to a person.

Flower ends a SuperNode with exit code 1 for every fault, and the reason stands in its log
(`Exit Code: 305` and a sentence). Some faults pass by themselves: a SuperLink that is down, or a
connection of a moment ago that the SuperLink still takes for living. Others never do, and are
said once, with the mend.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from scenarios.deployment.hospital_file import Membership
from scenarios.deployment.node_keys import PRIVATE
from scenarios.processes.supervisor import End, flower_command, free_port
from shared.errors import LaunchError, TrustError
from shared.files import private_folder
from shared.log import MARK

STILL_COUNTED = 150.0
"""Seconds after which the SuperLink no longer takes a connection that broke for a living one, with some to spare."""


def command(membership: Membership) -> list[str]:
    """The command line of the SuperNode, on a port that is free now."""
    config = private_folder(membership.flower, "folder") / "node.toml"
    # A file, as on the command line Flower would take a quote in a path for the path's end.
    config.write_text(tomli_w.dumps(membership.node_config()), encoding="utf-8")
    options = ["--superlink", membership.coordinator.address, "--host", "127.0.0.1", "--port", str(free_port())]
    options += ["--auth-supernode-private-key", str(membership.flower / PRIVATE), "--node-config", str(config)]
    if membership.coordinator.root_certificate is not None:
        options += ["--root-certificates", str(membership.coordinator.root_certificate)]
    return [flower_command("flower-supernode"), *options]


@dataclass
class Listener:
    """Turns the SuperNode's lines into a few that a person wants to see, and its end into a reason."""

    membership: Membership
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    joined: bool = False
    lost: bool = False
    refused_since: float | None = None

    def hear(self, line: str) -> None:
        """Say what a line means, where it means something."""
        if line.startswith(MARK):
            self.say(line.removeprefix(MARK))
        elif found := re.search(r"SuperNode ID: (\d+)", line):
            self.joined, self.lost, self.refused_since = True, False, None
            self.say(f"joined as {self.membership.site.center} (node {found[1]}); waiting for a study")
        elif "Connection attempt failed, retrying" in line:
            if not self.lost:
                state = "lost" if self.joined else "connecting"
                self.say(f"{state}: {self.membership.coordinator.address} does not answer; trying again until it does")
            self.lost = True
        elif "Connection successful after" in line:
            if self.lost and self.joined:
                self.say(f"joined again: {self.membership.coordinator.address} answers")
            self.lost = False
        elif found := re.search(r"Receiving: (train|evaluate)\b", line):
            doing = {"train": "training", "evaluate": "testing"}[found[1]]
            self.say(f"{doing}: the coordinator sent a model")
        elif "Failed to send message" in line:
            # Flower drops the answer when its announcement is already at the SuperLink, so that the coordinator
            # waits for it; a new start does not change that.
            reason = line.partition(": ")[2].partition(": ")[2] or line
            self.say(f"lost: the answer could not be sent ({reason}): tell the coordinator, who must resume the run")

    def ended(self, end: End) -> str:
        """Why the SuperNode ended. Raises `LaunchError` or `TrustError` where a new start cannot help."""
        text, was_joined = "\n".join(end.last), self.joined
        self.joined = self.lost = False
        self._raise_certificate(text)
        self._raise_setup(text)
        if "code: 2004" in text:
            return self._refused(end)
        if end.code == 0 and not was_joined:
            # Flower answers a signature that it does not accept with 401, at which a SuperNode leaves politely.
            raise LaunchError(
                f"the coordinator at {self.membership.coordinator.address} does not accept this node's signature: see "
                "whether this machine's clock is right, to the minute, and whether the hospital is still enrolled"
            )
        if "Exit Code: 305" in text:
            raise_for_status(text, self.membership.coordinator.address)
        return f"lost: the SuperNode ended with code {end.code}" if was_joined else f"not joined: {_reason(text, end)}"

    def _refused(self, end: End) -> str:
        """The SuperLink does not take this key now. It says no more: it may not know it, or count it as connected."""
        now = self.clock()
        self.refused_since = self.refused_since or now - end.seconds
        address, key = self.membership.coordinator.address, self.membership.flower / PRIVATE
        center = self.membership.site.center
        if now - self.refused_since > STILL_COUNTED:
            raise TrustError(
                f"the coordinator at {address} does not know this hospital's key, or another node is joined with it: "
                f"send it {key}.pub, and ask it to enroll {center}; if it has done so, end the other node, or if that "
                f"is not yours, have the coordinator remove {center} at once, delete {key}, and run init anew"
            )
        return (
            "waiting: the coordinator still counts this hospital's last connection, for about a minute, or does not "
            f"know its key: then send it {key}.pub, and ask it to enroll {center}"
        )

    def _raise_certificate(self, text: str) -> None:
        address, root = self.membership.coordinator.address, self.membership.coordinator.root_certificate
        if "certificate has expired" in text:
            raise TrustError(f"the certificate of the coordinator at {address} has expired: ask it to renew that")
        if "certificate is not yet valid" in text:
            raise TrustError(
                f"the certificate of the coordinator at {address} is not valid yet: see whether this machine's clock "
                "is right"
            )
        if found := re.search(r"certificate is not valid for '([^']*)'|IP address mismatch.*for '([^']*)'", text):
            raise TrustError(
                f"the coordinator's certificate is not for {found[1] or found[2]}: write the name that it is for into "
                "address in hospital.toml, or ask the coordinator for a certificate that names this one"
            )
        if "CERTIFICATE_VERIFY_FAILED" in text:
            by = f"by {root}" if root else "by what this machine trusts"
            raise TrustError(
                f"the coordinator at {address} shows a certificate that is not vouched for {by}: ask it for its root "
                "certificate anew, compare its fingerprint by telephone, and connect to nothing else"
            )
        if re.search(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST\b", text):
            raise TrustError(
                f"{address} does not speak TLS: see whether address in hospital.toml is the coordinator's, and port, "
                "for nothing is sent without TLS"
            )
        if "SSL/TLS handshake error" in text:
            raise TrustError(f"no TLS connection to {address} ({_reason(text, None)}): ask the coordinator")

    def _raise_setup(self, text: str) -> None:
        mends = {
            302: f"the node's key {self.membership.flower / PRIVATE} is unusable: restore it from a backup",
            606: "the coordinator runs another version of Flower: install the version of Wardround that it names",
        }
        for code, mend in mends.items():
            if f"Exit Code: {code}" in text:
                raise LaunchError(mend)


def raise_for_status(text: str, address: str) -> None:
    """Raise `LaunchError` where something answers at the address that is no coordinator."""
    if found := re.search(r"'(4\d\d [^']*)' for url", text):
        raise LaunchError(
            f"{address} answers, but not as a coordinator does ({found[1]}): see whether address in hospital.toml is "
            "right, and whether the coordinator's proxy shows the Fleet API"
        )


def _reason(text: str, end: End | None) -> str:
    """The sentence after Flower's exit code, or the last line that there is."""
    if found := re.search(r"Exit Code: \d+\n(?:Failed to initialize the connection to the SuperLink\.\n)?(.+)", text):
        return found[1]
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"the SuperNode ended with code {end.code if end else '?'}"


def log_file(membership: Membership) -> Path:
    """The SuperNode's own lines."""
    return membership.site.state / "join.log"

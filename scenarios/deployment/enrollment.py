"""Who may join: hospitals' public keys and names, in the SuperLink's database, by way of its Control API."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scenarios.deployment.coordinator import Coordinator
from scenarios.deployment.node_keys import read_public, short
from shared.errors import LaunchError, SettingsError
from shared.text import quoted
from shared.trust.canonical_json import CENTER_PATTERN

if TYPE_CHECKING:
    from shared.flower_private import ControlApi


@dataclass(frozen=True)
class Enrolled:
    """A hospital as the SuperLink knows it."""

    node: int
    name: str
    status: str
    """registered (never seen), online or offline."""
    since: str
    """When it last came or went, as Flower writes it; empty where it never did."""
    key: str
    """The end of its public key, by which people tell keys apart."""


def enroll(coordinator: Coordinator, name: str, public_key: Path) -> int:
    """Register a hospital's public key under a name; returns the node's number.

    Raises `SettingsError` where name or key are unusable or taken, `LaunchError` where the SuperLink does
    not answer.
    """
    check_name(name)
    key = read_public(public_key)
    with _control(coordinator) as control:
        for one in _enrolled(control):
            if one.key == short(key):
                raise SettingsError(f"the key {public_key} is enrolled already, as {one.name}: nothing is left to do")
            if one.name == name:
                raise SettingsError(
                    f"{name} is enrolled already, with another key: if the hospital made a new one, first "
                    f"wardround coordinator remove {quoted(coordinator.folder)} {name}"
                )
        return control.register(key, name)


def check_name(name: str) -> None:
    """Raise `SettingsError` where a name is no center's."""
    if not re.fullmatch(CENTER_PATTERN.strip("^$"), name):
        raise SettingsError(
            f"{name!r} is no center name: use 1 to 64 letters, digits, - and _, a letter or digit first"
        )


def remove(coordinator: Coordinator, name: str) -> None:
    """Let a hospital join no more. Raises `SettingsError` where none is enrolled by this name."""
    with _control(coordinator) as control:
        nodes = [one for one in _enrolled(control) if one.name == name]
        if not nodes:
            raise SettingsError(f"no hospital is enrolled as {name}: see 'wardround coordinator list'")
        for one in nodes:
            control.unregister(one.node)


def enrolled(coordinator: Coordinator) -> list[Enrolled]:
    """Everybody who may join, by name."""
    with _control(coordinator) as control:
        return _enrolled(control)


def _enrolled(control: "ControlApi") -> list[Enrolled]:
    nodes = [node for node in control.nodes() if node.status != "unregistered"]
    found = [
        Enrolled(
            node=node.node_id,
            name=node.name,
            status=node.status,
            since=node.last_activated_at if node.status == "online" else node.last_deactivated_at,
            key=short(node.public_key),
        )
        for node in nodes
    ]
    return sorted(found, key=lambda one: one.name)


@contextmanager
def _control(coordinator: Coordinator) -> Iterator["ControlApi"]:
    """A client of the Control API, whose failures are `LaunchError`."""
    import httpx  # with Flower it takes seconds, which --help need not wait for

    from shared.flower_private import ControlApi

    address = coordinator.address
    control = ControlApi(address, coordinator.tls.authority.read_bytes())
    try:
        yield control
    except httpx.HTTPStatusError as error:
        raise LaunchError(f"the SuperLink at {address} refused ({error.response.text[:200]}): see its log") from None
    except httpx.HTTPError as error:
        raise LaunchError(
            f"the SuperLink at {address} does not answer ({error}): start it by: "
            f"wardround coordinator up {quoted(coordinator.folder)}"
        ) from None
    finally:
        control.close()

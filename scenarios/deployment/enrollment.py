"""Who may join: hospitals' public keys and names, in the SuperLink's database, by way of its Control API."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.deployment.coordinator import Coordinator
from scenarios.deployment.node_keys import read_public, short
from shared.errors import LaunchError, SettingsError
from shared.trust.canonical_json import CENTER_PATTERN


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
    if not re.fullmatch(CENTER_PATTERN.strip("^$"), name):
        raise SettingsError(
            f"{name!r} is no center name: use 1 to 64 letters, digits, - and _, a letter or digit first"
        )
    key = read_public(public_key)
    from flwr.proto.control_pb2 import RegisterNodeRequest

    with _control(coordinator) as control:
        for one in _enrolled(control):
            if one.key == short(key):
                raise SettingsError(f"the key {public_key} is enrolled already, as {one.name}: nothing is left to do")
            if one.name == name:
                raise SettingsError(
                    f"{name} is enrolled already, with another key: if the hospital made a new one, first "
                    f"'wardround coordinator remove {coordinator.folder} {name}'"
                )
        return int(control.RegisterNode(RegisterNodeRequest(public_key=key, name=name)).node_id)


def remove(coordinator: Coordinator, name: str) -> None:
    """Let a hospital join no more. Raises `SettingsError` where none is enrolled by this name."""
    from flwr.proto.control_pb2 import UnregisterNodeRequest

    with _control(coordinator) as control:
        nodes = [one for one in _enrolled(control) if one.name == name]
        if not nodes:
            raise SettingsError(f"no hospital is enrolled as {name}: see 'wardround coordinator list'")
        for one in nodes:
            control.UnregisterNode(UnregisterNodeRequest(node_id=one.node))


def enrolled(coordinator: Coordinator) -> list[Enrolled]:
    """Everybody who may join, by name."""
    with _control(coordinator) as control:
        return _enrolled(control)


def _enrolled(control: Any) -> list[Enrolled]:
    from flwr.proto.control_pb2 import ListNodesRequest

    nodes = [node for node in control.ListNodes(ListNodesRequest()).nodes_info if node.status != "unregistered"]
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
def _control(coordinator: Coordinator) -> Iterator[Any]:
    """A client of the Control API, whose failures are `LaunchError`."""
    import httpx
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor

    address = coordinator.address
    control = ControlHttpClient.from_server_address(
        address,
        insecure=False,
        root_certificates=coordinator.tls.authority.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
    )
    try:
        yield control
    except httpx.HTTPStatusError as error:
        raise LaunchError(f"the SuperLink at {address} refused ({error.response.text[:200]}): see its log") from None
    except httpx.HTTPError as error:
        raise LaunchError(
            f"the SuperLink at {address} does not answer ({error}): start it by "
            f"'wardround coordinator up {coordinator.folder}'"
        ) from None
    finally:
        control.close()

"""The names of Flower outside its public API (`flwr.app`, `flwr.serverapp`, `flwr.clientapp`), all in one place.

Flower may move them in any version: the bound in pyproject.toml is the last with which the tests pass. Most are
imported where they are used, so that whoever needs one of them does not wait for all.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

# The public `Error` has a code, and no name for what it means.
from flwr.common.constant import ErrorCode as ErrorCode

# What would leave a hospital is shown as the very bytes that Flower would send.
from flwr.common.serde import recorddict_to_proto as recorddict_to_proto


def command_line() -> Callable[..., Any]:
    """The command `flwr`, to be called twice in one process: each start of its own takes two seconds."""
    from flwr.cli.app import app

    return app


class ControlApi:
    """The Control API of a SuperLink, for which Flower's own commands alone have a client. Raises httpx's errors."""

    def __init__(self, address: str, root_certificates: bytes) -> None:
        from flwr.supercore.control import ControlHttpClient
        from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor

        self._client = ControlHttpClient.from_server_address(
            address,
            insecure=False,
            root_certificates=root_certificates,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
        )

    def register(self, public_key: bytes, name: str) -> int:
        """Let a node join; returns its number."""
        from flwr.proto.control_pb2 import RegisterNodeRequest

        return int(self._client.RegisterNode(RegisterNodeRequest(public_key=public_key, name=name)).node_id)

    def unregister(self, node: int) -> None:
        """Let it join no more."""
        from flwr.proto.control_pb2 import UnregisterNodeRequest

        self._client.UnregisterNode(UnregisterNodeRequest(node_id=node))

    def nodes(self) -> list[Any]:
        """Flower's `NodeInfo` of each node, those that were unregistered too."""
        from flwr.proto.control_pb2 import ListNodesRequest

        return list(self._client.ListNodes(ListNodesRequest()).nodes_info)

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def commands_of_a_supernode() -> set[str]:
    """The commands by which a SuperNode starts a coordinator's code: each is to lead to a hospital's own."""
    from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

    return {str(command) for command in TASK_TYPE_TO_COMMAND.values()}


def clientapp_runtime() -> ModuleType:
    """The module that installs and loads a coordinator's ClientApp, of which a hospital replaces three functions."""
    from flwr.supernode.runtime import run_clientapp

    return run_clientapp


def flwr_clientapp() -> None:
    """Be the command `flwr-clientapp`: it speaks to the SuperNode that started it."""
    from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

    flwr_clientapp()

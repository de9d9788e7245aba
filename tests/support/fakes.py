"""A stand-in for Flower's runtime: nodes that are called where the message is sent."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity


@dataclass
class FakeGrid(Grid):
    """Delivers each message to a ClientApp in this process.

    `absent` nodes are never listed; `errors` gives the error with which a node answers the
    n-th message (from 0) of a type, instead of handling it.
    """

    client: ClientApp
    run_config: Mapping[str, Any]
    nodes: Mapping[int, Mapping[str, Any]]
    absent: set[int] = field(default_factory=set)
    errors: dict[tuple[int, str, int], Error] = field(default_factory=dict)
    sent: list[Message] = field(default_factory=list)
    _replies: dict[str, Message] = field(default_factory=dict)

    def __post_init__(self) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1

    @classmethod
    def simulated(cls, client: ClientApp, run_config: Mapping[str, Any], nodes: int) -> "FakeGrid":
        """So many nodes, each with its partition, as Flower's simulation makes them."""
        configs = {100 + i: {"partition-id": i, "num-partitions": nodes} for i in range(nodes)}
        return cls(client, run_config, configs)

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in self.nodes if node not in self.absent]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        keys = []
        for message in messages:
            key = uuid.uuid4().hex
            message.metadata.__dict__["_message_id"] = key
            self._replies[key] = self._handle(message)
            self.sent.append(message)
            keys.append(key)
        return keys

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(key) for key in list(message_ids) if key in self._replies]

    def _handle(self, message: Message) -> Message:
        node, kind = message.metadata.dst_node_id, message.metadata.message_type
        count = sum(m.metadata.dst_node_id == node and m.metadata.message_type == kind for m in self.sent)
        if error := self.errors.get((node, kind, count)):
            return Message(error, reply_to=message)
        config: Any = dict(self.nodes[node])
        context = Context(1, node, config, RecordDict(), dict(self.run_config))
        TaskIdentity.node_id = node
        return self.client(message, context)

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError

"""Sending and waiting: every reply arrives once, and whoever fails is named."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from server.dispatch import exchange
from shared.errors import CenterError
from tests.fakes import FakeGrid

NODES: dict[int, dict[str, Any]] = {101: {}, 102: {}, 103: {}}
NAMES = ["center milan", "center ucsf", "center amu"]


def echo() -> ClientApp:
    """Answers with its node's id and what was said."""
    app = ClientApp()

    @app.query()
    def answer(message: Message, context: Context) -> Message:
        said = str(message.content.config_records["said"]["word"])
        return Message(say(f"{message.metadata.dst_node_id} heard {said}"), reply_to=message)

    return app


def say(word: str) -> RecordDict:
    return RecordDict({"said": ConfigRecord({"word": word})})


def messages() -> list[Message]:
    return [Message(say("hello"), node, "query") for node in NODES]


def heard(reply: Message) -> str:
    return str(reply.content.config_records["said"]["word"])


def no_sleep(seconds: float) -> None:
    raise AssertionError("nothing was to be waited for")


@dataclass
class Naps:
    """A sleep that takes no time."""

    slept: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class Slow(FakeGrid):
    """Hands out one reply a pull, the last first, and those of `deaf` nodes never."""

    deaf: set[int] = field(default_factory=set)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ready = [key for key in message_ids if self._replies[key].metadata.src_node_id not in self.deaf]
        return super().pull_messages(ready[-1:])


@dataclass
class Undeliverable(FakeGrid):
    """Cannot send to some nodes; as Flower's, it gives no id for their messages."""

    unknown: set[int] = field(default_factory=set)
    no_id: str | None = None

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        keys: list[Any] = []
        for message in messages:
            known = message.metadata.dst_node_id not in self.unknown
            keys += super().push_messages([message]) if known else [self.no_id]
        return keys


class TooLarge(FakeGrid):
    """Refuses all messages together; as Flower's, it then gives an empty list."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return []


class Twice(FakeGrid):
    """Goes through the messages twice, as Flower's grid of a deployment does."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            assert message.metadata.dst_node_id in self.nodes
        return super().push_messages(messages)


def test_all_are_sent_to_at_once_and_each_reply_comes_once() -> None:
    grid = FakeGrid(echo(), {}, NODES)
    replies = list(exchange(grid, messages(), NAMES, 10, no_sleep))
    assert [heard(reply) for reply in replies] == ["101 heard hello", "102 heard hello", "103 heard hello"]
    assert len(grid.sent) == 3


def test_nobody_to_ask_is_nothing_to_wait_for() -> None:
    assert list(exchange(FakeGrid(echo(), {}, NODES), [], [], 10, no_sleep)) == []


def test_replies_come_in_whatever_order_they_are_ready() -> None:
    naps = Naps()
    replies = exchange(Slow(echo(), {}, NODES), messages(), NAMES, 10, naps)
    assert [heard(reply)[:3] for reply in replies] == ["103", "102", "101"]
    assert len(naps.slept) == 2


def test_messages_may_be_made_as_they_are_sent() -> None:
    replies = exchange(Twice(echo(), {}, NODES), iter(messages()), iter(NAMES), 10, no_sleep)
    assert len(list(replies)) == 3


@pytest.mark.parametrize("code", [0, 2, 3, 5, 8])
def test_a_node_that_failed_is_named_with_reason_and_code(code: int) -> None:
    error = Error(code, 'Traceback (most recent call last):\n  File "app.py"\nValueError: the disk is full\n\n')
    grid = FakeGrid(echo(), {}, NODES, errors={(102, "query", 0): error})
    with pytest.raises(CenterError) as caught:
        list(exchange(grid, messages(), NAMES, 10, no_sleep))
    said = str(caught.value)
    assert said == f"center ucsf failed at query: ValueError: the disk is full (Flower's error code {code})"


@pytest.mark.parametrize("reason", [None, "", "\n \n"])
def test_a_node_that_failed_without_a_reason_is_named_all_the_same(reason: str | None) -> None:
    grid = FakeGrid(echo(), {}, NODES, errors={(103, "query", 0): Error(8, reason)})
    with pytest.raises(CenterError, match=r"center amu failed at query: no reason given .*code 8"):
        list(exchange(grid, messages(), NAMES, 10, no_sleep))


def test_replies_before_a_failure_have_been_handed_on() -> None:
    grid = FakeGrid(echo(), {}, NODES, errors={(103, "query", 0): Error(2, "boom")})
    replies = exchange(grid, messages(), NAMES, 10, no_sleep)
    assert [heard(next(replies))[:3] for _ in range(2)] == ["101", "102"]
    with pytest.raises(CenterError, match="center amu"):
        next(replies)


def test_whoever_is_late_is_named_and_nobody_else() -> None:
    grid = Slow(echo(), {}, NODES, deaf={101, 103})
    got: list[str] = []
    with pytest.raises(CenterError) as caught:
        got.extend(heard(reply) for reply in exchange(grid, messages(), NAMES, 0, Naps()))
    assert "center amu, center milan did not answer within 0 s" in str(caught.value)
    assert "ucsf" not in str(caught.value)


def test_waiting_goes_on_until_the_time_is_over() -> None:
    naps = Naps()
    with pytest.raises(CenterError, match="did not answer"):
        list(exchange(Slow(echo(), {}, NODES, deaf={102}), messages(), NAMES, 0.02, naps))
    assert len(naps.slept) > 2


@pytest.mark.parametrize("no_id", ["", None])
@pytest.mark.parametrize("unknown", [{102}, {101, 103}, {101, 102, 103}])
def test_everybody_who_could_not_be_sent_to_is_named(unknown: set[int], no_id: str | None) -> None:
    grid = Undeliverable(echo(), {}, NODES, unknown=unknown, no_id=no_id)
    with pytest.raises(CenterError, match="could not be sent to") as caught:
        list(exchange(grid, messages(), NAMES, 10, no_sleep))
    named = {node for node, name in zip(NODES, NAMES, strict=True) if name in str(caught.value)}
    assert named == unknown


def test_messages_that_flower_refuses_altogether_are_a_clear_error() -> None:
    with pytest.raises(CenterError, match="could not be sent"):
        list(exchange(TooLarge(echo(), {}, NODES), messages(), NAMES, 10, no_sleep))

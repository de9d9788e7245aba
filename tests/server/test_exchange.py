"""Sending and waiting: every reply arrives once, and whoever fails is named."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from server.exchange import Clock, Failure, Patience, exchange
from shared.errors import CenterError
from tests.support.fakes import FakeGrid

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
    replies = list(exchange(grid, messages(), NAMES, 10, clock=Clock(sleep=no_sleep)))
    assert [heard(reply) for reply in replies] == ["101 heard hello", "102 heard hello", "103 heard hello"]
    assert len(grid.sent) == 3


def test_nobody_to_ask_is_nothing_to_wait_for() -> None:
    assert list(exchange(FakeGrid(echo(), {}, NODES), [], [], 10, clock=Clock(sleep=no_sleep))) == []


def test_replies_come_in_whatever_order_they_are_ready() -> None:
    naps = Naps()
    replies = exchange(Slow(echo(), {}, NODES), messages(), NAMES, 10, clock=Clock(sleep=naps))
    assert [heard(reply)[:3] for reply in replies] == ["103", "102", "101"]
    assert len(naps.slept) == 2


def test_messages_may_be_made_as_they_are_sent() -> None:
    replies = exchange(Twice(echo(), {}, NODES), iter(messages()), iter(NAMES), 10, clock=Clock(sleep=no_sleep))
    assert len(list(replies)) == 3


@pytest.mark.parametrize("code", [0, 2, 3, 5, 8])
def test_a_node_that_failed_is_named_with_reason_and_code(code: int) -> None:
    error = Error(code, 'Traceback (most recent call last):\n  File "app.py"\nValueError: the disk is full\n\n')
    grid = FakeGrid(echo(), {}, NODES, errors={(102, "query", 0): error})
    with pytest.raises(CenterError) as caught:
        list(exchange(grid, messages(), NAMES, 10, clock=Clock(sleep=no_sleep)))
    said = str(caught.value)
    assert said == f"center ucsf failed at query: ValueError: the disk is full (Flower's error code {code})"


@pytest.mark.parametrize("reason", [None, "", "\n \n"])
def test_a_node_that_failed_without_a_reason_is_named_all_the_same(reason: str | None) -> None:
    grid = FakeGrid(echo(), {}, NODES, errors={(103, "query", 0): Error(8, reason)})
    with pytest.raises(CenterError, match=r"center amu failed at query: no reason given .*code 8"):
        list(exchange(grid, messages(), NAMES, 10, clock=Clock(sleep=no_sleep)))


def test_replies_before_a_failure_have_been_handed_on() -> None:
    grid = FakeGrid(echo(), {}, NODES, errors={(103, "query", 0): Error(2, "boom")})
    replies = exchange(grid, messages(), NAMES, 10, clock=Clock(sleep=no_sleep))
    assert [heard(next(replies))[:3] for _ in range(2)] == ["101", "102"]
    with pytest.raises(CenterError, match="center amu"):
        next(replies)


def test_whoever_is_late_is_named_and_nobody_else() -> None:
    grid = Slow(echo(), {}, NODES, deaf={101, 103})
    got: list[str] = []
    with pytest.raises(CenterError) as caught:
        got.extend(heard(reply) for reply in exchange(grid, messages(), NAMES, 0, clock=Clock(sleep=Naps())))
    assert "center amu, center milan did not answer within 0 s" in str(caught.value)
    assert "ucsf" not in str(caught.value)


def test_waiting_goes_on_until_the_time_is_over() -> None:
    naps = Naps()
    with pytest.raises(CenterError, match="did not answer"):
        list(exchange(Slow(echo(), {}, NODES, deaf={102}), messages(), NAMES, 0.02, clock=Clock(sleep=naps)))
    assert len(naps.slept) > 2


@pytest.mark.parametrize("no_id", ["", None])
@pytest.mark.parametrize("unknown", [{102}, {101, 103}, {101, 102, 103}])
def test_everybody_who_could_not_be_sent_to_is_named(unknown: set[int], no_id: str | None) -> None:
    grid = Undeliverable(echo(), {}, NODES, unknown=unknown, no_id=no_id)
    with pytest.raises(CenterError, match="could not be sent to") as caught:
        list(exchange(grid, messages(), NAMES, 10, clock=Clock(sleep=no_sleep)))
    named = {node for node, name in zip(NODES, NAMES, strict=True) if name in str(caught.value)}
    assert named == unknown


def test_messages_that_flower_refuses_altogether_are_a_clear_error() -> None:
    with pytest.raises(CenterError, match="could not be sent"):
        list(exchange(TooLarge(echo(), {}, NODES), messages(), NAMES, 10, clock=Clock(sleep=no_sleep)))


# Faults that pass


@dataclass
class Timeline:
    """Time that passes only in sleep; what is planned happens when its time comes."""

    now: float = 0.0
    plan: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        while self.plan and self.plan[0][0] <= self.now:
            self.plan.pop(0)[1]()

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)


def here(grid: FakeGrid) -> Callable[[str, int], int | None]:
    """Finds a node where it was, as soon as the grid lists it."""
    return lambda name, node: node if node in grid.get_node_ids() else None


@pytest.mark.parametrize("code", [3, 4, 5, 8])
def test_a_message_that_was_lost_with_its_node_is_sent_again_when_the_node_is_back(code: int) -> None:
    grid = FakeGrid(echo(), {}, NODES, errors={(102, "query", 0): Error(code, "gone")}, absent={102})
    time = Timeline(plan=[(1000.0, lambda: grid.absent.clear())])
    patience = Patience(3600, here(grid))
    replies = list(exchange(grid, messages(), NAMES, 9999, patience=patience, clock=time.clock))
    assert [heard(reply)[:3] for reply in replies] == ["101", "103", "102"]
    assert [message.metadata.dst_node_id for message in grid.sent] == [101, 102, 103, 102]
    assert time.now == pytest.approx(1000, abs=6)


def test_a_center_that_comes_back_as_another_node_is_asked_there() -> None:
    grid = FakeGrid(echo(), {}, NODES | {104: {}}, errors={(102, "query", 0): Error(5, "gone")})
    patience = Patience(60, lambda name, node: 104 if (name, node) == ("center ucsf", 102) else None)
    replies = list(exchange(grid, messages(), NAMES, 99, patience=patience, clock=Timeline().clock))
    assert sorted(heard(reply)[:3] for reply in replies) == ["101", "103", "104"]


def test_a_center_that_stays_away_is_given_up_by_its_name() -> None:
    grid = FakeGrid(echo(), {}, NODES, errors={(102, "query", 0): Error(5, "gone")}, absent={102})
    time, failures = Timeline(), list[Failure]()
    replies = exchange(
        grid, messages(), NAMES, 9999, patience=Patience(600, here(grid)), on_failure=failures.append, clock=time.clock
    )
    assert len(list(replies)) == 2
    (failure,) = failures
    assert (failure.name, failure.lost) == ("center ucsf", True)
    assert "was lost (gone (Flower's error code 5)) and did not come back within 10 minutes" in failure.reason
    assert 600 < time.now < 610


def test_some_are_waited_for_less_long() -> None:
    grid = FakeGrid(echo(), {}, NODES, errors={(102, "query", 0): Error(5, "gone")}, absent={102})
    time, failures = Timeline(), list[Failure]()
    patience = Patience(600, here(grid), {"center ucsf": 60, "center nih": 5})
    replies = exchange(grid, messages(), NAMES, 9999, patience=patience, on_failure=failures.append, clock=time.clock)
    assert len(list(replies)) == 2
    assert "did not come back within 1 minutes" in failures[0].reason and 60 < time.now < 70


@pytest.mark.parametrize("code", [0, 1, 2, 6, 7])
def test_what_would_fail_again_is_not_tried_again(code: int) -> None:
    grid = FakeGrid(echo(), {}, NODES, errors={(102, "query", 0): Error(code, "broken")})
    with pytest.raises(CenterError, match="center ucsf failed at query: broken"):
        list(exchange(grid, messages(), NAMES, 99, patience=Patience(600, here(grid)), clock=Timeline().clock))
    assert len(grid.sent) == 3


def test_a_client_that_is_killed_again_and_again_is_given_up() -> None:
    errors = {(102, "query", n): Error(8, "killed") for n in range(9)}
    grid = FakeGrid(echo(), {}, NODES, errors=errors)
    with pytest.raises(CenterError, match=r"center ucsf failed at query: killed .*code 8"):
        list(exchange(grid, messages(), NAMES, 9999, patience=Patience(9999, here(grid)), clock=Timeline().clock))
    assert [message.metadata.dst_node_id for message in grid.sent].count(102) == 3


def test_without_patience_a_lost_node_fails_at_once() -> None:
    grid = FakeGrid(echo(), {}, NODES, errors={(102, "query", 0): Error(5, "gone")})
    with pytest.raises(CenterError, match="center ucsf failed at query: gone"):
        list(exchange(grid, messages(), NAMES, 99, patience=Patience(0, here(grid)), clock=Clock(sleep=no_sleep)))


def test_a_node_that_cannot_be_sent_to_is_waited_for() -> None:
    grid = Undeliverable(echo(), {}, NODES, unknown={103})
    time = Timeline(plan=[(30.0, lambda: grid.unknown.clear())])
    patience = Patience(600, lambda name, node: node if node not in grid.unknown else None)
    replies = list(exchange(grid, messages(), NAMES, 9999, patience=patience, clock=time.clock))
    assert [heard(reply)[:3] for reply in replies] == ["101", "102", "103"]


def test_an_actor_that_died_is_told_in_few_words() -> None:
    reason = (
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: x"
    )
    grid = FakeGrid(echo(), {}, NODES, errors={(102, "query", 0): Error(0, reason)})
    with pytest.raises(
        CenterError, match=r"^center ucsf failed at query: its process was killed, or ran out of memory"
    ):
        list(exchange(grid, messages(), NAMES, 10, clock=Clock(sleep=no_sleep)))

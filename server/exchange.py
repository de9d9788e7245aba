"""Sending messages and waiting for their replies, through the faults that pass.

What a node's silence means is Flower's error code: the message or its reply was lost or too
old (3, 4), the node went away (5), its ClientApp was killed (8). Those are worth another
try, once the node is there. A ClientApp that raised an exception (2) would raise it again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import Error, Message
from flwr.serverapp import Grid

from shared.errors import CenterError
from shared.flower_private import ErrorCode
from shared.log import say
from shared.stage_archive import Moved, Transit
from shared.text import printable
from shared.wire.records import content_bytes

POLL_SECONDS = 0.1
LOOK_SECONDS = 5.0
"""Between two looks for a node that went away."""

PASSING = {
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.CLIENT_APP_CRASHED,
}

ACTOR_DIED = "worker process has died"
"""What Ray says, in many words, of a simulated hospital whose process is gone."""

MOST_CRASHES = 3
"""A ClientApp that is killed so often for one message, for want of memory say, will be killed again."""

Find = Callable[[str, int], int | None]
"""Where a center is now, by its name and last node; nothing while it is away."""


@dataclass(frozen=True)
class Failure:
    """Why a message will have no reply."""

    name: str
    """Whom it was for."""
    reason: str
    lost: bool = False
    """Whether its node was away, rather than answered with an error."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a center that was lost, and how to find it again."""

    seconds: float
    find: Find
    shorter: Mapping[str, float] = field(default_factory=dict)
    """The seconds for those centers that are not waited for as long."""

    def of(self, name: str) -> float:
        """How long this center is waited for."""
        return self.shorter.get(name, self.seconds)


@dataclass
class _Letter:
    """One message on its way, as often as it is sent."""

    name: str
    message: Message
    sent_at: float
    crashes: int = 0
    lost_at: float | None = None
    looked_at: float = 0.0
    reason: str = ""


class Count:
    """Counts the bytes of messages on their way out, and of the replies that come back."""

    def __init__(self) -> None:
        self.moved = Moved()

    def sent(self, messages: Iterable[Message]) -> Iterator[Message]:
        """The same messages, counted."""
        for message in messages:
            self.moved += Moved(sent_bytes=content_bytes(message.content))
            yield message

    def received(self, replies: Iterable[Message]) -> Iterator[Message]:
        """The same replies, counted."""
        for reply in replies:
            self.moved += Moved(received_bytes=content_bytes(reply.content))
            yield reply

    def transit(self, seconds: float) -> Transit:
        """What was counted, and how long it took."""
        return Transit(**self.moved.model_dump(), seconds=seconds)


@dataclass
class Clock:
    """Time, as far as waiting needs it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def exchange(
    grid: Grid,
    messages: Iterable[Message],
    names: Iterable[str],
    ttl: float,
    *,
    patience: Patience | None = None,
    on_failure: Callable[[Failure], None] | None = None,
    clock: Clock | None = None,
) -> Iterator[Message]:
    """Send all messages at once and yield their replies as they come.

    `names` says for each message whom it is for. A message that was lost with its node is sent
    again when `patience` finds the node, and given up after its seconds. Where a node could not
    be sent to, failed for good, or did not answer within `ttl` seconds, `on_failure` is told;
    without it, `CenterError` is raised.
    """
    return _Exchange(grid, ttl, patience, on_failure, clock or Clock()).replies(messages, names)


@dataclass
class _Exchange:
    grid: Grid
    ttl: float
    patience: Patience | None
    on_failure: Callable[[Failure], None] | None
    clock: Clock
    waiting: dict[str, _Letter] = field(default_factory=dict)
    lost: list[_Letter] = field(default_factory=list)

    def replies(self, messages: Iterable[Message], names: Iterable[str]) -> Iterator[Message]:
        self._send([_Letter(name, message, 0.0) for message, name in zip(messages, names, strict=True)])
        while self.waiting or self.lost:
            for reply in list(self.grid.pull_messages(self.waiting)):
                letter = self.waiting.pop(reply.metadata.reply_to_message_id)
                if not reply.has_error():
                    yield reply
                elif self._may_pass(letter, reply.error):
                    self._lose(letter, _reason(reply))
                else:
                    lost = reply.error.code in PASSING
                    self._fail([letter.name], f"failed at {reply.metadata.message_type}: {_reason(reply)}", lost)
            self._look_for_lost()
            late = {key for key, letter in self.waiting.items() if self.clock.now() - letter.sent_at > self.ttl}
            if late:
                names_late = sorted(self.waiting.pop(key).name for key in late)
                self._fail(names_late, f"did not answer within {self.ttl:.0f} s: look at its SuperNode's log")
            if self.waiting or self.lost:
                self.clock.sleep(POLL_SECONDS)

    def _send(self, letters: list[_Letter]) -> None:
        # Flower's grid goes through the messages twice, gives no id for what it could not send,
        # and no list at all where it refuses everything.
        keys = list(self.grid.push_messages([letter.message for letter in letters]))
        if letters and not keys:
            names = [letter.name for letter in letters]
            self._fail(names, "could not be sent to: Flower refuses the message, most likely for its size")
            return
        unsent = []
        for key, letter in zip(keys, letters, strict=True):
            letter.sent_at = self.clock.now()
            if key:
                self.waiting[key] = letter
            elif self.patience:
                self._lose(letter, "its SuperNode is not there")
            else:
                unsent.append(letter.name)
        if unsent:
            self._fail(unsent, "could not be sent to: is its SuperNode registered?")

    def _may_pass(self, letter: _Letter, error: Error) -> bool:
        if self.patience is None or not self.patience.of(letter.name) or error.code not in PASSING:
            return False
        letter.crashes += error.code == ErrorCode.CLIENT_APP_CRASHED
        return letter.crashes < MOST_CRASHES

    def _lose(self, letter: _Letter, reason: str) -> None:
        letter.reason = reason
        if letter.lost_at is None:
            letter.lost_at = self.clock.now()
            say(f"{letter.name} was lost: {reason}; waiting for it")
        self.lost.append(letter)

    def _look_for_lost(self) -> None:
        """Send again what is for a center that has come back; give up on one that was away too long."""
        patience, now = self.patience, self.clock.now()
        if patience is None:
            return
        for letter in list(self.lost):
            if now - letter.looked_at < LOOK_SECONDS:
                continue
            letter.looked_at = now
            old = letter.message
            node = patience.find(letter.name, old.metadata.dst_node_id)
            if node is not None:
                say(f"{letter.name} is there: asking again")
                self.lost.remove(letter)
                letter.message = Message(
                    old.content, node, old.metadata.message_type, ttl=self.ttl, group_id=old.metadata.group_id
                )
                self._send([letter])
            elif letter.lost_at is not None and now - letter.lost_at > patience.of(letter.name):
                self.lost.remove(letter)
                waited = patience.of(letter.name) / 60
                self._fail(
                    [letter.name], f"was lost ({letter.reason}) and did not come back within {waited:g} minutes", True
                )

    def _fail(self, names: list[str], reason: str, lost: bool = False) -> None:
        if self.on_failure is None:
            raise CenterError(f"{', '.join(names)} {reason}")
        for name in names:
            self.on_failure(Failure(name, reason, lost))


def _reason(reply: Message) -> str:
    """The last line of what the node reported, and Flower's error code."""
    if ACTOR_DIED in (reply.error.reason or ""):
        return f"its process was killed, or ran out of memory (Flower's error code {reply.error.code})"
    lines = [line.strip() for line in (reply.error.reason or "").splitlines() if line.strip()]
    return f"{printable(lines[-1]) if lines else 'no reason given'} (Flower's error code {reply.error.code})"

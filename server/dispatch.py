"""Sending messages and waiting for their replies."""

import time
from collections.abc import Callable, Iterable, Iterator

from flwr.app import Message
from flwr.serverapp import Grid

from shared.errors import CenterError

POLL_SECONDS = 0.1


def exchange(
    grid: Grid,
    messages: Iterable[Message],
    names: Iterable[str],
    ttl: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Message]:
    """Send all messages at once and yield their replies as they come.

    `names` says for each message whom it is for. Raises `CenterError` with that name where a
    node failed, or did not answer within `ttl` seconds.
    """
    started = time.monotonic()
    # Flower's grid goes through the messages twice, gives no id for what it could not send,
    # and no list at all where it refuses everything.
    named = list(zip(messages, names, strict=True))
    keys = list(grid.push_messages([message for message, _ in named])) or [""] * len(named)
    sent = list(zip(keys, [name for _, name in named], strict=True))
    if unsent := [name for key, name in sent if not key]:
        raise CenterError(f"{', '.join(unsent)} could not be sent to: is its SuperNode registered?")
    waiting = dict(sent)
    while waiting:
        for reply in grid.pull_messages(waiting):
            name = waiting.pop(reply.metadata.reply_to_message_id)
            if reply.has_error():
                raise CenterError(f"{name} failed at {reply.metadata.message_type}: {_reason(reply)}")
            yield reply
        if waiting and time.monotonic() - started > ttl:
            late = ", ".join(sorted(waiting.values()))
            raise CenterError(f"{late} did not answer within {ttl:.0f} s: look at its SuperNode's log")
        if waiting:
            sleep(POLL_SECONDS)


def _reason(reply: Message) -> str:
    """The last line of what the node reported, and Flower's error code."""
    lines = [line.strip() for line in (reply.error.reason or "").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'no reason given'} (Flower's error code {reply.error.code})"

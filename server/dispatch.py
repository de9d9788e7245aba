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
    waiting = dict(zip(grid.push_messages(messages), names, strict=True))
    if unsent := [name for key, name in waiting.items() if not key]:
        raise CenterError(f"{', '.join(unsent)} could not be sent to: is its SuperNode registered?")
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

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
    on_failure: Callable[[str, str], None] | None = None,
) -> Iterator[Message]:
    """Send all messages at once and yield their replies as they come.

    `names` says for each message whom it is for. Where a node could not be sent to, failed, or
    did not answer within `ttl` seconds, `on_failure` is told that name and the reason; without
    it, `CenterError` is raised.
    """
    started = time.monotonic()
    # Flower's grid goes through the messages twice, gives no id for what it could not send,
    # and no list at all where it refuses everything.
    named = list(zip(messages, names, strict=True))
    keys = list(grid.push_messages([message for message, _ in named])) or [""] * len(named)
    sent = list(zip(keys, [name for _, name in named], strict=True))
    if unsent := [name for key, name in sent if not key]:
        _fail(unsent, "could not be sent to: is its SuperNode registered?", on_failure)
    waiting = {key: name for key, name in sent if key}
    while waiting:
        for reply in grid.pull_messages(waiting):
            name = waiting.pop(reply.metadata.reply_to_message_id)
            if reply.has_error():
                _fail([name], f"failed at {reply.metadata.message_type}: {_reason(reply)}", on_failure)
            else:
                yield reply
        if waiting and time.monotonic() - started > ttl:
            late = sorted(waiting.values())
            _fail(late, f"did not answer within {ttl:.0f} s: look at its SuperNode's log", on_failure)
            return
        if waiting:
            sleep(POLL_SECONDS)


def _fail(names: list[str], reason: str, on_failure: Callable[[str, str], None] | None) -> None:
    if on_failure is None:
        raise CenterError(f"{', '.join(names)} {reason}")
    for name in names:
        on_failure(name, reason)


def _reason(reply: Message) -> str:
    """The last line of what the node reported, and Flower's error code."""
    lines = [line.strip() for line in (reply.error.reason or "").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'no reason given'} (Flower's error code {reply.error.code})"

"""What processes print: without terminal colours, without the names that Ray puts before it, and its last lines."""

import re
from contextlib import suppress
from pathlib import Path

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_ACTOR = re.compile(r"^\((?:\w+ )?pid=\d+(?:, ip=[^)]*)?\) ?")


def plain(text: str) -> str:
    """Text without terminal colours, which Flower writes into files and pipes as well."""
    return _ANSI.sub("", text)


def own_words(line: str) -> str:
    """A log line as its author wrote it: without colours and the name that Ray gives a client's line."""
    return _ACTOR.sub("", plain(line))


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file, or a remark that it holds none."""
    with suppress(OSError):
        if text := plain(log.read_text("utf-8", "replace")).strip():
            return "\n".join(text.splitlines()[-lines:])
    return "(its log is empty)"

"""Words for what is shown to people, who must be able to trust their terminal."""

import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def counted(number: int, noun: str) -> str:
    """A number of things, such as `1 image` and `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def tallied(reasons: Iterable[str]) -> dict[str, int]:
    """How often each of them is there, in the order of the alphabet."""
    return dict(sorted(Counter(reasons).items()))


def quoted(path: Path) -> str:
    """A path as one word of a command that a person copies into a shell."""
    return shlex.quote(str(path))


def printable(text: str) -> str:
    """A text of another party on one line, with each character written out that a terminal or a reader would obey.

    Those are line ends, control characters (ESC begins colours, links and titles), and signs that turn the direction of
    writing: what `str.isprintable` calls not printable.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def printable_lines(text: str) -> str:
    """The same for a text of our own that may have several lines: only its line ends stay."""
    return "\n".join(printable(line) for line in text.split("\n"))


def printable_in(value: Any) -> Any:
    """A value as JSON has it, with each text in it, names too, made printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_in(name): printable_in(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(printable_in(one) for one in value)
    return value

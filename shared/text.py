"""Words for what is shown to people."""

import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def counted(number: int, noun: str) -> str:
    """A number of things, such as `1 image` and `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def tallied(reasons: Iterable[str]) -> dict[str, int]:
    """How often each of them is there, in the order of the alphabet."""
    return dict(sorted(Counter(reasons).items()))


def quoted(path: Path) -> str:
    """A path as one word of a command that a person copies into a shell."""
    return shlex.quote(str(path))

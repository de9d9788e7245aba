"""The pages that people read, taken apart: blocks of code, commands, mentions of commands, links."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

ROOMS = ("scenarios", "server", "client", "shared")

PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / room / "README.md" for room in ROOMS),
    ROOT / "scenarios" / "benchmark" / "SCALING.md",
)

SHELL = ("sh", "bash", "shell", "console")

STARTS = re.compile(r"\s*\$?\s*(wardround|flwr|python3?|pip|bash|pytest|curl|git|nginx|export|\.venv/bin)\b")
"""How a line begins that is a command."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
_MARKER = re.compile(r"^\s*<!-- (?P<kind>run|not run): (?P<what>.+) -->\s*$")
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_MENTION = re.compile(r"(?<!`)`(?P<command>wardround [^`]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    text: str
    kind: str
    """`run`, `not run`, or empty where no comment above it says."""
    what: str
    """The workplace in which it is run, or why it is not."""

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each command, without comments."""
        text = self.text.replace("\\\n", " ")
        return [
            shlex.split(part, comments=True)
            for line in text.splitlines()
            for part in re.split(r"\s&&\s", line)
            if shlex.split(part, comments=True)
        ]


def name_of(page: Path) -> str:
    """A page as its repository names it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, also those within lists."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence:
            start, indent = number, len(fence["indent"])
            number += 1
            while number < len(lines) and lines[number].strip() != "```":
                number += 1
            if number == len(lines):
                raise ValueError(f"{name_of(page)}:{start + 1}: a block of code begins, and none of its lines ends it")
            marker = _MARKER.match(lines[start - 1]) if start else None
            text = "".join(f"{line[indent:]}\n" for line in lines[start + 1 : number])
            kind, what = (marker["kind"], marker["what"]) if marker else ("", "")
            found.append(Block(page, start + 1, fence["language"], text, kind, what))
        number += 1
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    kept: list[str] = []
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def mentions(page: Path) -> list[list[str]]:
    """The words of each `wardround` command in running text."""
    return [shlex.split(found["command"].replace("\n", " ")) for found in _MENTION.finditer(prose(page))]


def links(page: Path) -> list[str]:
    """Where a page's links and pictures lead, as written."""
    return [found["target"] for found in _LINK.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

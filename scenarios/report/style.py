"""How methods and pages look: a colour, a line and a marker for each method, a light and a dark theme of the page.

Colours are those of Okabe & Ito (2008), which people with any common colour blindness tell apart,
darkened where they would be faint on white. On a dark page each has a lighter form; without any
colour the line's dashes and the marker's shape still name the method.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.methods import METHODS, Course, spec_of


@dataclass(frozen=True)
class Look:
    """What stands for a method in every figure and table."""

    method: str
    name: str
    """In a heading or legend."""
    noun: str
    """In a sentence."""
    color: str
    dark: str
    """The colour on a dark page."""
    dashes: Any
    """A line style of matplotlib."""
    marker: str


@dataclass(frozen=True)
class Theme:
    """The colours of a page and its figures."""

    ink: str
    """Text."""
    quiet: str
    """Secondary text and axes."""
    rule: str
    """Grid lines."""
    paper: str
    """Background."""
    card: str
    """Background of a box."""
    mark: str
    """Links, and the edge of a box."""
    dark: bool = False

    def color(self, method: str) -> str:
        """A method's colour."""
        look = look_of(method)
        return look.dark if self.dark else look.color


LIGHT = Theme("#1b1f24", "#59636e", "#d1d9e0", "#ffffff", "#f6f8fa", "#0b5cad")
DARK = Theme("#e6e9ec", "#9aa4ae", "#363c42", "#14171a", "#1d2125", "#8ec5ff", dark=True)

PALETTE: tuple[tuple[str, str, Any, str], ...] = (
    ("#7a7f85", "#9fa5ab", (0, (2, 2.5)), "v"),
    ("#d55e00", "#f28a3c", (0, (5, 1.5)), "s"),
    ("#0072b2", "#56b4e9", "-", "o"),
    ("#2b2f33", "#e8e8e8", (0, (7, 2)), "P"),
    ("#00805d", "#3ecf9f", (0, (7, 2, 1, 2)), "X"),
    ("#aa4f85", "#e39ac2", (0, (4, 1.2, 1, 1.2)), "^"),
    ("#a86f00", "#f0b93a", (0, (1.2, 1.2)), "D"),
    ("#5b4bb5", "#ab9ff2", (0, (3, 1, 1, 1, 1, 1)), "*"),
    ("#8c564b", "#d3a094", (0, (6, 1, 2, 1)), "p"),
    ("#4d6b00", "#a8cc4a", (0, (1, 3)), "<"),
    ("#00708a", "#4fc3dc", (0, (8, 1, 1, 1, 1, 1)), ">"),
    ("#b3005e", "#ff8fc4", (0, (2, 1, 6, 1)), "h"),
)
"""A colour, its form on a dark page, a line and a marker, for each method in the order of `METHODS`, and some to spare;
further methods begin again."""

COURSES: tuple[Course, ...] = ("sequential", "pooled", "rounds", "single")
"""In this order methods stand in every legend and table, those that replay first."""


def look_of(method: str) -> Look:
    """How a method looks; one that is not known here gets its look by its name."""
    spec = spec_of(method)
    place = list(METHODS).index(method) if method in METHODS else sum(method.encode())
    return Look(method, spec.title, spec.term, *PALETTE[place % len(PALETTE)])


def in_order(methods: Iterable[str]) -> tuple[str, ...]:
    """Methods as they stand in every legend and table: by their course, then as listed, then others by name."""

    def rank(method: str) -> tuple[bool, int, bool, int, str]:
        spec = spec_of(method)
        listed = list(METHODS).index(method) if method in METHODS else len(METHODS)
        return method not in METHODS, COURSES.index(spec.course), not spec.replays, listed, method

    return tuple(sorted(set(methods), key=rank))

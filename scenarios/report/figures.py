"""From matplotlib to files, and to a page that may be light or dark."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from scenarios.report.style import DARK, LIGHT, Theme
from scenarios.report.table import EMPTY, Sheet

DOTS = 200
"""An inch, of PNG files."""

LETTER = 0.085
"""Inches; about as wide as a letter of a label is."""

STYLE = {
    "svg.fonttype": "path",  # the same glyphs, as wide as they were measured, wherever it is opened
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # a $ in a center's or method's name is one
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}

COLORS = {
    "ink": ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor"),
    "quiet": ("axes.edgecolor", "xtick.color", "ytick.color", "hatch.color"),
    "rule": ("grid.color",),
}
"""The keys of matplotlib that each colour of a theme is for."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of the page."""

    name: str
    """Of its files."""
    title: str
    caption: str
    alternative: str
    """For those who cannot see it: what it shows and what it says."""
    draw: Callable[[Theme], Figure]
    sheet: Sheet = EMPTY
    """The numbers behind it."""

    @cached_property
    def figure(self) -> Figure:
        """As on paper."""
        with style(LIGHT):
            return self.draw(LIGHT)

    @cached_property
    def dark_figure(self) -> Figure:
        """For a dark page."""
        with style(DARK):
            return self.draw(DARK)


@contextmanager
def style(theme: Theme = LIGHT) -> Iterator[None]:
    """The report's look of figures, inside the block."""
    colors = {key: getattr(theme, name) for name, keys in COLORS.items() for key in keys}
    with matplotlib.rc_context(STYLE | colors):  # type: ignore[arg-type]
        yield


def to_png(figure: Figure) -> bytes:
    """On white, where the figure has no ground of its own."""
    stream = io.BytesIO()
    ground = figure.get_facecolor()
    with style():
        canvas: Any = FigureCanvasAgg(figure)
        figure.set_dpi(DOTS)
        canvas.print_figure(stream, facecolor=ground if to_rgba(ground)[3] else LIGHT.paper, dpi=DOTS)
    return stream.getvalue()


def to_svg(figure: Figure, name: str) -> str:
    """On nothing; the same figure gives the same text."""
    stream = io.StringIO()
    with style(), matplotlib.rc_context({"svg.hashsalt": name}):
        figure.set_dpi(72)
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(stream, metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def crowded(names: Sequence[str], inches: float) -> bool:
    """Whether names side by side would overlap on an axis of this length, so that they must be turned."""
    return max(map(len, names), default=0) * LETTER > inches / max(1, len(names))


def grid(axes: Axes, axis: str = "both") -> None:
    """Faint lines behind what is drawn."""
    axes.grid(visible=True, axis=axis)  # type: ignore[arg-type]
    axes.tick_params(length=0)

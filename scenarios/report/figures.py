"""From matplotlib to files and to a page that may be light or dark."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from scenarios.report.style import INK, PAPER, QUIET, RULE
from scenarios.report.table import Sheet

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
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "text.color": INK,
    "text.parse_math": False,  # a $ in a center's or method's name is one
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "hatch.color": QUIET,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}

VARIABLES = {INK: "--text", QUIET: "--quiet", RULE: "--line", PAPER: "--paper"}


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of the page."""

    name: str
    """Of its files."""
    title: str
    caption: str
    alternative: str
    """For those who cannot see it: what it shows and what it says."""
    figure: Figure
    sheet: Sheet
    """The numbers behind it."""


@contextmanager
def style() -> Iterator[None]:
    """The report's look of figures, inside the block."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def to_png(figure: Figure) -> bytes:
    """On white, where the figure has no ground of its own."""
    stream = io.BytesIO()
    ground = figure.get_facecolor()
    with style():
        canvas: Any = FigureCanvasAgg(figure)
        figure.set_dpi(DOTS)
        canvas.print_figure(stream, facecolor=ground if to_rgba(ground)[3] else PAPER, dpi=DOTS)
    return stream.getvalue()


def to_svg(figure: Figure, name: str) -> str:
    """On nothing, with the colours of paper; the same figure gives the same text."""
    stream = io.StringIO()
    with style(), matplotlib.rc_context({"svg.hashsalt": name}):
        figure.set_dpi(72)
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(stream, metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def inline(svg: str, name: str, colors: Mapping[str, str]) -> str:
    """An SVG file as part of a page: its ids its own, and its colours those of the page.

    `colors` maps a colour, such as #0072b2, to the CSS custom property that stands for it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    properties = VARIABLES | dict(colors)
    body = re.sub(
        r"#[0-9a-f]{6}\b",
        lambda found: f"var({properties[found[0]]})" if found[0] in properties else found[0],
        body,
    )
    # Its size is the page's to say; the view box keeps the shape.
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1))


def crowded(names: Sequence[str], inches: float) -> bool:
    """Whether names side by side would overlap on an axis of this length, so that they must be turned."""
    return max(map(len, names), default=0) * LETTER > inches / max(1, len(names))


def grid(axes: Axes, axis: str = "both") -> None:
    """Faint lines behind what is drawn."""
    axes.grid(visible=True, axis=axis)  # type: ignore[arg-type]
    axes.tick_params(length=0)

"""Pictures of where a segmentation errs: an image's worst slices, bare and with what was hit, missed and false."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from client.qc.montage import GOOD, PAPER, drawable, png
from scenarios.inference.overlay import draw_twice
from scenarios.inference.worst_slices import FALSE, HIT, MISSED, ErrorSlice, ErrorView

COLORS = {HIT: "#648fff", MISSED: "#ffb000", FALSE: "#dc267f"}
"""Blue, amber and magenta of IBM's palette, which are told apart under every common colour blindness; on grey, amber is
the lightest and magenta the darkest."""

COVER = 0.8
"""How much of the image a colour hides."""

SIDE = 2.6
"""Inches of one slice's width."""

FOOT = 0.42
"""Inches below the slices, for the words, which never lie over the brain."""

DOTS = 120
"""An inch."""


def draw_errors(view: ErrorView) -> bytes:
    """A PNG of an image's slices: bare above, with the errors laid over below, and what they hold under each."""
    columns = len(view.slices)
    rows, across = view.slices[0].image.shape
    height = SIDE * float(np.clip(drawable(view.aspect) * rows / across, 0.4, 2.0))
    size = (SIDE * columns, 2 * height + FOOT)
    figure = Figure(figsize=size, dpi=DOTS, facecolor=PAPER)
    draw_twice(figure, [(one.image, _colors(one)) for one in view.slices], view.aspect, height, FOOT, view.upright)
    for place, one in enumerate(view.slices):
        middle = (place + 0.5) / columns
        figure.text(middle, 0.5 * FOOT / size[1], _two_lines(one), color=GOOD, fontsize=7.5, ha="center", va="center")
    return png(figure)


def words_of(one: ErrorSlice) -> str:
    """What a slice holds, and how high it lies in the head."""
    return f"{one.hit_ml:.2f} ml hit, {one.missed_ml:.2f} ml missed, {one.false_ml:.2f} ml false, at {one.height:.0%}"


def _two_lines(one: ErrorSlice) -> str:
    amounts, _, height = words_of(one).rpartition(", ")
    return f"{amounts}\n{height} of the head's height"


def _colors(one: ErrorSlice) -> NDArray[np.float64]:
    colors = np.zeros((*one.kinds.shape, 4))
    for kind, color in COLORS.items():
        colors[one.kinds == kind] = (*to_rgb(color), COVER)
    return colors

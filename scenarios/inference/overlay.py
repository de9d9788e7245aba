"""A picture of a soft segmentation: slices of the image, and below them the same with the lesions laid over."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from client.qc.montage import GOOD, PAPER, drawable, mark_sides, plain, png, show_slice
from client.qc.slices import Slice, View

FAINT = "#9a9a9a"

DOTS = 130
"""An inch."""

SIDE = 2.3
"""Inches of one slice's width."""

SOFT = LinearSegmentedColormap.from_list("soft lesion", ["#7a1f00", "#ff8c00", "#ffe680"])
"""Dark red over orange to pale yellow: it grows lighter throughout, so that it reads without colour."""

HEAD, FOOT = 0.42, 0.55
"""Inches above and below the slices."""


def draw_overlay(view: View, title: str, footer: str) -> bytes:
    """A PNG of the slices of `view`, twice: bare above, with its soft label below."""
    columns = len(view.slices)
    rows, across = view.slices[0].image.shape
    height = SIDE * float(np.clip(view.aspect * rows / across, 0.4, 2.0))
    # Wide enough for a title over a single slice.
    size = (max(SIDE * columns, 2.5 * SIDE), 2 * height + HEAD + FOOT)
    figure = Figure(figsize=size, dpi=DOTS, facecolor=PAPER)
    draw_twice(figure, [(one.image, _colours(one)) for one in view.slices], view.aspect, height, FOOT, view.upright)
    figure.text(0.012, 1 - 0.12 / size[1], plain(title), color=GOOD, fontsize=9, va="top")
    _scale(figure, size)
    figure.text(0.988, 0.16 / size[1], plain(footer), color=FAINT, fontsize=7.5, ha="right", va="bottom")
    return png(figure)


def draw_twice(
    figure: Figure,
    slices: Sequence[tuple[NDArray[np.uint8], NDArray[np.float64]]],
    aspect: float,
    height: float,
    foot: float,
    upright: bool,
) -> None:
    """Draw slices side by side, bare above, and below with colours laid over.

    Of each slice come pixels (rows, columns) and colours (rows, columns, 4). `height` and `foot` are inches of a row
    and of what is left below; `upright`: whether the patient's sides are known, and marked.
    """
    columns, whole = len(slices), figure.get_figheight()
    for place, (image, colours) in enumerate(slices):
        for row in (0, 1):
            left, bottom = place / columns, (foot + (1 - row) * height) / whole
            axes = figure.add_axes((left + 0.004, bottom + 0.004, 1 / columns - 0.008, height / whole - 0.008))
            show_slice(axes, image, aspect)
            if row == 1:
                axes.imshow(colours, aspect=drawable(aspect), interpolation="nearest")
            if place == 0 and upright:
                mark_sides(axes)


def _colours(one: Slice) -> NDArray[np.float64]:
    colours: NDArray[np.float64] = SOFT(one.label.clip(0, 1))
    # Below a tenth it would tint the whole brain; from there on it covers more the surer it is.
    colours[..., 3] = np.where(one.label < 0.1, 0, 0.35 + 0.5 * one.label.clip(0, 1))
    return colours


def _scale(figure: Figure, size: tuple[float, float]) -> None:
    axes = figure.add_axes((0.012, 0.34 / size[1], 1.3 / size[0], 0.09 / size[1]))
    bar = figure.colorbar(ScalarMappable(cmap=SOFT), cax=axes, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)
    axes.tick_params(colors=FAINT, labelsize=7, length=2, pad=2)
    axes.set_xticklabels(["0", "0.5", "1"])

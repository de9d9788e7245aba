"""Drawing what was checked: slices with the lesions' outline, one picture a case and one of all cases."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from client.qc.case_check import CaseCheck
from client.qc.slices import Slice, View
from shared.errors import ResultsError
from shared.text import counted

OUTLINE = "#ffb000"
"""Amber: it is told from grey by brightness and hue under every common colour blindness."""

BAD, GOOD, PAPER = "#ff9d8a", "#e8e8e8", "#101010"

TILE = (6.0, 2.75)
"""Inches, of three slices and their title."""

DOTS = 110
"""An inch."""

TALLEST = 150
"""Rows of one picture; more cases make it wider, since pictures end at 65,535 dots."""


def draw_montage(checked: Sequence[CaseCheck], path: Path) -> None:
    """Write one PNG of every case whose image could be read. Raises `ResultsError` where it cannot be written."""
    draw_views([(one.view, title(one), one.ok) for one in checked if one.view is not None], path)


def draw_views(shown: Sequence[tuple[View, str, bool]], path: Path) -> None:
    """Write one PNG of all views, each with its title and whether it is good. Raises `ResultsError`."""
    columns = 1 if len(shown) < 3 else max(2, -(-len(shown) // TALLEST))
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(TILE[0] * columns, TILE[1] * rows), dpi=DOTS, facecolor=PAPER)
    tiles: list[SubFigure] = list(figure.subfigures(rows, columns, squeeze=False).flat)
    for tile in tiles:
        tile.set_facecolor(PAPER)
    for tile, (view, text, ok) in zip(tiles, shown, strict=False):
        _draw(tile, view, text, ok)
    if not shown:
        figure.text(0.5, 0.5, "no image could be read", color=GOOD, ha="center")
    try:
        path.write_bytes(png(figure))
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror}): choose another folder") from None


def draw_case(view: View) -> bytes:
    """The slices of one case as PNG, without title."""
    figure = Figure(figsize=(TILE[0], TILE[1] - 0.35), dpi=DOTS, facecolor=PAPER)
    _draw(figure, view, "", True)
    return png(figure)


def title(checked: CaseCheck) -> str:
    """What stands above a case: whose it is, its lesions, and whether it is set aside."""
    parts = [checked.subject, checked.contrast]
    if checked.measured is not None and checked.measured.lesion_ml is not None:
        lesions = counted(checked.measured.lesion_count or 0, "lesion")
        parts.append(f"{checked.measured.lesion_ml:.1f} ml in {lesions}")
    if not checked.ok:
        parts.append("SET ASIDE")
    elif checked.warnings:
        parts.append("warning")
    return "  ·  ".join(parts)


def _draw(tile: Figure | SubFigure, view: View, heading: str, ok: bool) -> None:
    top = 0.86 if heading else 0.99
    if heading:
        tile.text(0.02, 0.97, plain(heading), color=GOOD if ok else BAD, fontsize=9, va="top")
    width = 1 / len(view.slices)
    for place, one in enumerate(view.slices):
        axes = tile.add_axes((place * width + 0.004, 0.01, width - 0.008, top - 0.01))
        show_slice(axes, one.image, view.aspect)
        _outline(axes, one)
        axes.text(0.99, 0.02, f"{one.level:.0%}", color=GOOD, fontsize=6, ha="right", transform=axes.transAxes)
        if place == 0 and view.upright:
            mark_sides(axes)


def show_slice(axes: Axes, image: NDArray[np.uint8], aspect: float) -> None:
    """The image alone, in grey."""
    axes.set_axis_off()
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, aspect=drawable(aspect), interpolation="bilinear")


def drawable(aspect: float) -> float:
    """A voxel's height over its width; a damaged header may claim any, and its picture must still be one."""
    return float(np.clip(aspect, 0.1, 10))


def mark_sides(axes: Axes) -> None:
    """Say which side is the patient's right, seen from the feet."""
    for side, text, align in ((0.01, "R", "left"), (0.99, "L", "right")):
        axes.text(side, 0.5, text, color=GOOD, fontsize=7, ha=align, transform=axes.transAxes)


def _outline(axes: Axes, one: Slice) -> None:
    # Contour lines cannot be drawn through a single row, and not around nothing.
    if min(one.lesion.shape) > 1 and one.lesion.any() and not one.lesion.all():
        # A frame of non-lesion closes outlines at the image's edge.
        framed = np.pad(one.lesion.astype(np.float32), 1)
        rows, columns = (np.arange(-1, edge + 1) for edge in one.lesion.shape)
        lines = axes.contour(columns, rows, framed, levels=[0.5], colors=[OUTLINE], linewidths=0.8)
        lines.set_path_effects([patheffects.withStroke(linewidth=1.8, foreground="black", alpha=0.6)])
        axes.set_xlim(-0.5, one.lesion.shape[1] - 0.5)
        axes.set_ylim(one.lesion.shape[0] - 0.5, -0.5)


def plain(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG."""
    # Straight to Agg: no window system, and no state shared with whoever else draws.
    stream = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(stream)
    return stream.getvalue()

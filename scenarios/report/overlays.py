"""The paper's Figure 3: slices with the truth, and each method's soft segmentation as an overlay."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scenarios.report.figures import Picture
from scenarios.report.style import in_order, look_of
from scenarios.report.table import Sheet

GROUND, PALE = "#101214", "#f1f3f5"
"""Images are looked at on black, on a light page too."""

OUTLINE = "#5ad1ff"
"""Truth as a blue line, segmentation as an amber glow: apart under every colour blindness, and in kind in grey."""

GLOW = LinearSegmentedColormap.from_list("glow", [(1.0, 0.67, 0.1, 0.0), (1.0, 0.67, 0.1, 0.75)])
"""From nothing to amber."""

THRESHOLD = 0.5

TILE = 1.72
"""Inches."""


@dataclass(frozen=True, eq=False)
class Example:
    """One axial slice of a test image, anterior up and the patient's right on the left."""

    center: str
    subject: str
    contrast: str
    image: NDArray[np.float32]
    """(rows, columns), from 0 (black) to 1 (white)."""
    truth: NDArray[np.float32]
    """Of the same shape, the soft label."""
    segmentations: dict[str, NDArray[np.float32]]
    """By method, of the same shape, in [0, 1]."""
    dice: dict[str, float]
    """By method, of the whole volume."""
    aspect: float
    """Height of a pixel over its width."""
    worst_of: tuple[str, ...] = ()
    """Methods whose final model is at no center worse than at this."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What can be shown, how it was chosen, and why anything is lacking."""

    shown: tuple[Example, ...]
    rule: str
    """A sentence."""
    lacking: str = ""
    """A sentence; empty where nothing is."""
    confidential: bool = False
    """Whether the images may be patients'."""


def draw_overlays(examples: Examples) -> Picture | None:
    """One row a test image: the image, then each method's segmentation; None where there is no image."""
    if not examples.shown:
        return None
    methods = in_order(method for one in examples.shown for method in one.segmentations)
    # Fine-tuning first, as in the paper: what was lost, then what was kept.
    methods = tuple(sorted(methods, key=lambda method: method != "finetune"))
    said = "; ".join(
        f"{_title(one)}: " + ", ".join(f"{look_of(m).name} {d:.2f}" for m, d in one.dice.items())
        for one in examples.shown
    )
    return Picture(
        name="slices",
        title="Segmentations by the final models",
        caption=f"Blue line: the true lesions, at {THRESHOLD}. Amber: the soft segmentation, brighter where it is "
        f"surer. The number is the Dice of the whole volume. {examples.rule}",
        alternative=f"Axial slices with overlays. Dice of the whole volumes: {said}.",
        draw=lambda theme: _draw(examples.shown, methods),
        sheet=Sheet(
            ("center", "subject", "contrast", "method", "dice"),
            tuple((one.center, one.subject, one.contrast, m, d) for one in examples.shown for m, d in one.dice.items()),
        ),
    )


def _title(one: Example) -> str:
    return f"{one.center} ({_worst(one, ' ')})" if one.worst_of else one.center


def _worst(one: Example, between: str) -> str:
    """Whose worst center it is; `between` the words and the methods."""
    return f"worst center of{between}{', '.join(look_of(method).name for method in in_order(one.worst_of))}"


def _draw(shown: Sequence[Example], methods: Sequence[str]) -> Figure:
    columns = 1 + len(methods)
    tall = [TILE * one.image.shape[0] * one.aspect / one.image.shape[1] for one in shown]
    head, gap = 0.3, 0.04
    width, height = columns * (TILE + gap) + gap, sum(tall) + len(shown) * gap + head
    figure = Figure(figsize=(width, height), facecolor=GROUND)
    for column, title in enumerate(("Image and truth", *(look_of(method).name for method in methods))):
        center = (gap + column * (TILE + gap) + TILE / 2) / width
        figure.text(center, 1 - head / 2 / height, title, color=PALE, ha="center", va="center", fontsize=9)
    for row, one in enumerate(shown):
        bottom = (height - head - sum(tall[: row + 1]) - row * gap) / height
        for column in range(columns):
            left = (gap + column * (TILE + gap)) / width
            axes = figure.add_axes((left, bottom, TILE / width, tall[row] / height))
            _show(axes, one)
            if column == 0:
                _say(axes, 0.03, 0.97, f"{one.center} · {one.contrast}", "left")
                if one.worst_of:
                    _say(axes, 0.03, 0.1, _worst(one, "\n"), "left")
                continue
            method = methods[column - 1]
            if method in one.segmentations:
                axes.imshow(
                    one.segmentations[method], cmap=GLOW, vmin=0, vmax=1, aspect=one.aspect, interpolation="bilinear"
                )
                _outline(axes, one)
                if method in one.dice:
                    _say(axes, 0.97, 0.97, f"{one.dice[method]:.2f}", "right")
            else:
                _say(axes, 0.5, 0.5, "no model", "center")
    return figure


def _show(axes: Axes, one: Example) -> None:
    axes.set_axis_off()
    axes.imshow(one.image, cmap="gray", vmin=0, vmax=1, aspect=one.aspect, interpolation="bilinear")
    _outline(axes, one)


def _outline(axes: Axes, one: Example) -> None:
    if min(one.truth.shape) > 1 and one.truth.max() >= THRESHOLD > one.truth.min():
        axes.contour(one.truth, levels=[THRESHOLD], colors=[OUTLINE], linewidths=0.7)


def _say(axes: Axes, x: float, y: float, text: str, side: str) -> None:
    words = axes.text(
        x, y, text, color=PALE, fontsize=8, ha=side, va="top" if y > 0.5 else "center", transform=axes.transAxes
    )
    words.set_path_effects([patheffects.withStroke(linewidth=2, foreground=GROUND)])

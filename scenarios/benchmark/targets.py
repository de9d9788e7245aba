"""The figures: what each is called, what it should be, and what it means.

Seven are ratios, which mean the same on any machine; those of one device are times and shares of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.errors import SettingsError


@dataclass(frozen=True)
class Figure:
    """One number that the benchmark measures."""

    name: str
    """Its key in the JSON."""
    letter: str
    """A short name for it; may be empty."""
    bound: Literal["at least", "at most"]
    target: float | None
    """None: it is told, and should be nothing in particular."""
    meaning: str

    def met(self, value: float) -> bool | None:
        """Whether a value is as good as it should be; None where there is no target."""
        if self.target is None:
            return None
        return value >= self.target if self.bound == "at least" else value <= self.target


FIGURES = (
    Figure("compute_share", "a", "at least", 0.95, "share of a stage in forward, backward and step"),
    Figure("peak_share", "b", "at least", 0.60, "a training step's GFLOP/s over the best matrix product's"),
    Figure("data_path_ratio", "c", "at least", 3.0, "patches a second, over the paper's data path"),
    Figure("flower_overhead_ratio", "d", "at most", 1.10, "a whole run after its start, over plain PyTorch"),
    Figure("replay_over_finetune", "e", "at most", 1.10, "a whole run with replay, over fine-tuning"),
    Figure("handoff_ratio", "f", "at most", 0.05, "bytes handed on, over float32 whole volumes"),
    Figure("stage_growth", "", "at most", 1.10, "a stage after 63 hospitals, over one after a single one"),
)

DEVICE_FIGURES = (
    Figure("step_ms", "", "at most", 7.0, "ms of a training step of the paper's size, instance norm"),
    Figure("step_ms_channel", "", "at most", None, "the same with channel norm"),
    Figure("product_share", "", "at least", None, "a step's FLOP/s over the device's best matrix product"),
    Figure("evaluation_ms", "", "at most", 40.0, "ms a test volume at 1 mm with all scores, instance norm"),
    Figure("evaluation_ms_channel", "", "at most", None, "the same with channel norm"),
    Figure("stage_share", "", "at least", 0.97, "share of a stage in forward, backward and step"),
    Figure("precision_gap", "", "at most", 0.005, "test Dice of this device's precision against float32"),
    Figure("first_step_s", "", "at most", 25.0, "s from `wardround run` to the first step, caches warm"),
    Figure("paper_projected_s", "", "at most", 300.0, "s of the paper's replay run, from the parts above"),
    Figure("study_projected_h", "", "at most", 3.0, "h of the paper's whole experiment, one run after another"),
    Figure("paper_data_s", "", "at most", 60.0, "s to simulate and prepare the paper's 290 subjects"),
    Figure("paper_s", "", "at most", 300.0, "s of the paper's replay run, seed 0, data in place"),
)
"""Of one device."""

PAPER = ("paper_data_s", "paper_s")
"""Of one device, those that are measured only where they are asked for."""


def names_of(figures: Sequence[Figure]) -> str:
    """The names of figures, with their letters where they have one."""
    return ", ".join(f"{figure.name} ({figure.letter})" if figure.letter else figure.name for figure in figures)


NAMES = names_of(FIGURES)


def choose(only: str | None, figures: tuple[Figure, ...] = FIGURES) -> tuple[Figure, ...]:
    """The figures of a comma-separated list of names or letters, in their own order; all where there is none.

    Raises `SettingsError` for what is no figure.
    """
    if only is None:
        return figures
    words = [word.strip().lower().replace("-", "_") for word in only.split(",") if word.strip()]
    known = {word for figure in figures for word in _words(figure)}
    if unknown := [word for word in words if word not in known] or (["nothing"] if not words else []):
        raise SettingsError(f"--only {only!r}: {unknown[0]!r} is no figure; choose from {names_of(figures)}")
    return tuple(figure for figure in figures if _words(figure) & set(words))


def choose_of_device(only: str | None, paper: bool) -> tuple[Figure, ...]:
    """The figures of one device: those that are named, or all, `PAPER` among them where it is asked for.

    Raises `SettingsError` for what is no figure.
    """
    chosen = choose(only, DEVICE_FIGURES)
    asked = {one.name for one in chosen} - (set() if only else set(PAPER)) | (set(PAPER) if paper else set())
    return tuple(figure for figure in DEVICE_FIGURES if figure.name in asked)


def _words(figure: Figure) -> set[str]:
    return {figure.name, figure.letter} - {""}

"""The seven figures: what each is called, what it should be, and what it means."""

from dataclasses import dataclass
from typing import Literal

from shared.errors import SettingsError


@dataclass(frozen=True)
class Figure:
    """One ratio that the benchmark measures."""

    name: str
    """Its key in the JSON."""
    letter: str
    """A short name for it; may be empty."""
    bound: Literal["at least", "at most"]
    target: float
    meaning: str

    def met(self, value: float) -> bool:
        """Whether a value is as good as it should be."""
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

NAMES = ", ".join(f"{figure.name} ({figure.letter})" if figure.letter else figure.name for figure in FIGURES)


def choose(only: str | None) -> tuple[Figure, ...]:
    """The figures of a comma-separated list of names or letters, in their own order; all where there is none.

    Raises `SettingsError` for what is no figure.
    """
    if only is None:
        return FIGURES
    words = [word.strip().lower().replace("-", "_") for word in only.split(",") if word.strip()]
    known = {word for figure in FIGURES for word in _words(figure)}
    if unknown := [word for word in words if word not in known] or (["nothing"] if not words else []):
        raise SettingsError(f"--only {only!r}: {unknown[0]!r} is no figure; choose from {NAMES}")
    return tuple(figure for figure in FIGURES if _words(figure) & set(words))


def _words(figure: Figure) -> set[str]:
    return {figure.name, figure.letter} - {""}

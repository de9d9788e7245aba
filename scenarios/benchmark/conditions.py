"""Under which conditions the figures are measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from scenarios.run_config import Value, default_run_config
from shared.config.settings import Settings

QUICK: Mapping[str, Value] = {
    "centers": "milan,ucsf,amu",
    "spacing": 4.0,
    "phantom-scale": 0.02,
    "phantom-minimum": 3,
    "features": 2,
    "steps": 4,
    "batch-size": 2,
    "patch-size": 16,
    "exemplar-mm": 64.0,
}
"""What a quick benchmark changes: it shows that all is measured, and its numbers mean nothing."""

Size = TypeVar("Size")


class Measured(Protocol):
    """What each figure's dataclass tells."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def detail(self) -> str:
        """What it was made from, in one line."""


@dataclass(frozen=True)
class Conditions:
    """What all figures have in common."""

    folder: Path
    """Of what is written on the way; the caller deletes it."""
    quick: bool = False
    peak_mb: Callable[[Mapping[str, float]], None] = lambda peaks: None
    """Hears of the resident memory of each process of a run that was started."""

    def settings(self, **changes: Value) -> Settings:
        """The default run-config with a figure's changes; a quick benchmark's come before them.

        Raises `SettingsError` as any run does.
        """
        own = {key.replace("_", "-"): value for key, value in changes.items()}
        return Settings.from_run_config({**default_run_config(), **(QUICK if self.quick else {}), **own})

    def size(self, full: Size, quick: Size) -> Size:
        """The one of two sizes that counts here."""
        return quick if self.quick else full

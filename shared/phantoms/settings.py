"""What a set of simulated hospitals depends on, checked once at the door."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass

from shared.errors import SettingsError

VERSION = 7
"""Raised whenever a change of the code changes an image, so that old folders are not reused."""


@dataclass(frozen=True)
class PhantomSettings:
    """How fine, how many and which: the settings of one set of simulated hospitals.

    Raises `SettingsError` when a value is out of range.
    """

    spacing: float = 2.0
    """In-plane voxel size in mm; a center with thick slices stores a multiple of it along the slice axis."""
    scale: float = 0.2
    """Every center's number of subjects is multiplied by this and rounded."""
    minimum_subjects: int = 4
    """No center gets fewer subjects than this."""
    seed: int = 0

    def __post_init__(self) -> None:
        _check("spacing", self.spacing, 0.5, 8.0, "millimetres")
        _check("scale", self.scale, 0.001, 100.0, "a factor of the paper's numbers of subjects")
        _check("minimum_subjects", self.minimum_subjects, 1, 10_000, "a whole number", whole=True)
        _check("seed", self.seed, 0, 2**63 - 1, "a whole number", whole=True)
        for name in ("spacing", "scale"):  # 2 and 2.0 are one setting, hence one digest
            object.__setattr__(self, name, float(getattr(self, name)))

    def subjects(self, number: int) -> int:
        """Return how many subjects a center has that has this number in the paper."""
        return max(self.minimum_subjects, round(number * self.scale))

    def digest(self) -> str:
        """Return the short name of this set: another setting, or version of the code, gives another."""
        text = json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _check(name: str, value: object, low: float, high: float, unit: str, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
        expected = "a whole number" if whole else "a number"
        raise SettingsError(f"simulated hospitals: {name} is {value!r}, which is not {expected}; give {unit}")
    if not low <= value <= high:
        raise SettingsError(
            f"simulated hospitals: {name} is {value!r}, not in {low:g} to {high:g}; give {unit} in that range"
        )

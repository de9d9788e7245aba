"""The eight centers of Karthik et al. 2022, each with a signature of its own, and as many more as are asked for.

Names, numbers of subjects and contrasts are the paper's. Scanner signatures and lesion loads are invented:
they differ as hospitals do, and say nothing about the real ones.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from phantoms.scanners import Contrast, Protocol
from shared.errors import SettingsError


@dataclass(frozen=True)
class CenterProfile:
    """What makes one simulated hospital."""

    name: str
    title: str
    subjects: int
    """Number of subjects in the paper."""
    protocols: Mapping[Contrast, Protocol]
    """How each of the center's contrasts is made; subjects take turns between them."""
    load: float
    """Median lesion volume of a patient, in ml."""
    spread: float
    """Standard deviation of the logarithm of that volume."""
    slice_ratio: float = 1.0
    """Thickness of a slice, in in-plane voxel sizes."""
    orientation: str = "RAS"
    """Directions in which the stored voxels run."""

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The contrasts that the center has."""
        return tuple(self.protocols)

    def contrast_of(self, subject: int) -> Contrast:
        """Return the one contrast in which subject 1, 2, ... was imaged."""
        return self.contrasts[(subject - 1) % len(self.contrasts)]


_PROFILES = (
    CenterProfile(
        name="bwh",
        title="BWH",
        subjects=80,
        protocols={"FLAIR": Protocol(1.20, 0.24, 1.62, noise=0.045, bias=0.05, blur=0.5, level=420)},
        load=9.0,
        spread=0.75,
    ),
    CenterProfile(
        name="karo",
        title="Karo",
        subjects=51,
        protocols={
            "FLAIR": Protocol(1.17, 0.30, 1.52, noise=0.050, bias=0.06, blur=0.6, level=250),
            "T2w": Protocol(1.30, 2.55, 2.05, noise=0.050, bias=0.06, blur=0.6, level=310),
        },
        load=8.0,
        spread=0.70,
    ),
    CenterProfile(
        name="rennes",
        title="Rennes",
        subjects=51,
        protocols={"FLAIR": Protocol(1.28, 0.18, 1.75, noise=0.040, bias=0.10, blur=0.4, level=150, gamma=0.9)},
        load=6.0,
        spread=0.80,
        slice_ratio=1.5,
    ),
    CenterProfile(
        name="milan",
        title="Milan",
        subjects=47,
        protocols={"T2w": Protocol(1.35, 2.85, 2.30, noise=0.040, bias=0.07, blur=0.5, level=520)},
        load=10.0,
        spread=0.70,
        slice_ratio=1.5,
        orientation="LPS",
    ),
    CenterProfile(
        name="nih",
        title="NIH",
        subjects=28,
        protocols={"FLAIR": Protocol(1.15, 0.35, 1.55, noise=0.035, bias=0.12, blur=0.4, level=900, halo=0.18)},
        load=11.0,
        spread=0.80,
    ),
    CenterProfile(
        name="montp",
        title="Montp",
        subjects=13,
        protocols={"FLAIR": Protocol(1.25, 0.15, 1.60, noise=0.055, bias=0.04, blur=0.8, level=80, halo=0.08)},
        load=7.0,
        spread=0.70,
        slice_ratio=2.0,
        orientation="LAS",
    ),
    CenterProfile(
        name="ucsf",
        title="UCSF",
        subjects=12,
        protocols={"FLAIR": Protocol(1.22, 0.28, 1.85, noise=0.080, bias=0.05, blur=0.3, level=1200, gamma=1.15)},
        load=5.0,
        spread=0.75,
    ),
    CenterProfile(
        name="amu",
        title="AMU",
        subjects=8,
        protocols={"FLAIR": Protocol(1.12, 0.45, 1.45, noise=0.045, bias=0.08, blur=0.9, level=330, gamma=0.85)},
        load=13.0,
        spread=0.60,
    ),
)

CENTERS: Mapping[str, CenterProfile] = MappingProxyType({profile.name: profile for profile in _PROFILES})
"""All eight, in descending order of size."""

_FURTHER = re.compile(r"(?P<name>.+)-(?P<number>[2-9]|[1-9]\d+)")


def profile(name: str) -> CenterProfile:
    """Return the center of that name: one of the eight, or, as in `bwh-2`, another hospital with the scanner of one.

    `bwh-2` has the signature, the size and the lesion loads of `bwh`, and patients of its own. Raises `SettingsError`.
    """
    further = _FURTHER.fullmatch(name)
    if name in CENTERS:
        return CENTERS[name]
    if further and further["name"] in CENTERS:
        like = CENTERS[further["name"]]
        return replace(like, name=name, title=f"{like.title} {further['number']}")
    raise SettingsError(
        f"simulated hospitals: there is no center {name!r}; choose from {', '.join(CENTERS)}, "
        f"or number another hospital like one of them from 2, as in {next(iter(CENTERS))}-2"
    )

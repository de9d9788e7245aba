"""The eight centers of Karthik et al. 2022, each with a signature of its own, and as many more as are asked for.

Names, numbers of subjects and contrasts are the paper's. Which hospital has which of the published sequences, its
noise, shading and lesion loads are invented: they differ as hospitals do, and say nothing about the real ones.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from shared.errors import SettingsError
from shared.phantoms.relaxation import Sequence
from shared.phantoms.scanner import Protocol
from shared.phantoms.signals import Contrast


@dataclass(frozen=True)
class CenterProfile:
    """What makes one simulated hospital."""

    name: str
    title: str
    subjects: int
    """Number of subjects in the paper."""
    protocols: Mapping[Contrast, Protocol]
    """How each of the center's contrasts is made; every subject is imaged in all of them."""
    load: float
    """Median lesion volume of a patient, in ml."""
    spread: float
    """Standard deviation of the logarithm of that volume."""
    slice_ratios: tuple[float, ...] = (1.0,)
    """Thickness of a slice, in in-plane voxel sizes: each patient has one of these, drawn with equal chance."""
    orientation: str = "RAS"
    """Directions in which the stored voxels run."""
    lesion_free: float = 0.02
    """Share of the patients in whom no lesion is seen."""
    rater: float = 0.0
    """Standard deviation in mm by which the label of each lesion is too wide or too narrow."""
    vary: float = 0.0
    """How much protocols, magnets and tissues differ from the ones below, 0 to 1: in this hospital, and in each of its
    sessions again by half as much."""
    random_share: float = 0.0
    """Share of the images whose tissues are of any brightness with which the contrast may still be called so."""
    resampled: float = 0.0
    """Share of the patients whose slices, along any axis, are interpolated to voxels of equal edges."""

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The contrasts that the center has."""
        return tuple(self.protocols)


# Sequences of the kind that is published for MS, such as Commowick et al., NeuroImage 244:118589, 2021 (MSSEG 2016),
# Carass et al., NeuroImage 148:77-102, 2017 (ISBI 2015) and the FLAIR of MRBrainS (3 T; 11000, 125, 2800), within the
# ranges of the MAGNIMS-CMSC-NAIMS protocol (Wattjes et al., Lancet Neurology 20:653-670, 2021). None is claimed to be
# one scanner's to the millisecond. TE of the 3D ones is the contrast-equivalent (shared/phantoms/relaxation.py).
_PROFILES = (
    CenterProfile(
        name="bwh",
        title="BWH",
        subjects=80,
        protocols={
            "FLAIR": Protocol(
                Sequence("3T", 9000, 100, 2355, prep=170), noise=0.045, bias=0.08, blur=0.5, level=420, flow=0.8
            ),
        },
        load=9.0,
        spread=0.75,
    ),
    CenterProfile(
        name="karo",
        title="Karo",
        subjects=51,
        protocols={
            "FLAIR": Protocol(Sequence("1.5T", 9000, 108, 2500), noise=0.050, bias=0.06, blur=0.6, level=250, flow=0.6),
            "T2w": Protocol(Sequence("1.5T", 5000, 98), noise=0.050, bias=0.06, blur=0.6, level=310),
        },
        load=8.0,
        spread=0.70,
    ),
    CenterProfile(
        name="rennes",
        title="Rennes",
        subjects=51,
        protocols={
            "FLAIR": Protocol(
                Sequence("3T", 5000, 90, 1800, prep=170), noise=0.040, bias=0.12, blur=0.4, level=150, flow=0.2
            ),
        },
        load=6.0,
        spread=0.80,
        slice_ratios=(1.5,),
    ),
    CenterProfile(
        name="milan",
        title="Milan",
        subjects=47,
        protocols={"T2w": Protocol(Sequence("3T", 4500, 100), noise=0.040, bias=0.10, blur=0.5, level=520, clip=3.0)},
        load=10.0,
        spread=0.70,
        slice_ratios=(1.5,),
        orientation="LPS",
    ),
    CenterProfile(
        name="nih",
        title="NIH",
        subjects=28,
        protocols={
            "FLAIR": Protocol(Sequence("3T", 11000, 125, 2800), noise=0.035, bias=0.14, blur=0.4, level=900, flow=0.9),
        },
        load=11.0,
        spread=0.80,
    ),
    CenterProfile(
        name="montp",
        title="Montp",
        subjects=13,
        protocols={
            "FLAIR": Protocol(Sequence("1.5T", 8000, 120, 2200), noise=0.055, bias=0.05, blur=0.8, level=80, flow=0.5),
        },
        load=7.0,
        spread=0.70,
        slice_ratios=(2.0,),
        orientation="LAS",
    ),
    CenterProfile(
        name="ucsf",
        title="UCSF",
        subjects=12,
        protocols={
            "FLAIR": Protocol(
                Sequence("3T", 5400, 110, 1800, prep=125), noise=0.080, bias=0.08, blur=0.3, level=1200, clip=2.2
            ),
        },
        load=5.0,
        spread=0.75,
    ),
    CenterProfile(
        name="amu",
        title="AMU",
        subjects=8,
        protocols={
            "FLAIR": Protocol(Sequence("1.5T", 5000, 110, 1800), noise=0.045, bias=0.08, blur=0.9, level=330, flow=0.3),
        },
        load=13.0,
        spread=0.60,
    ),
)

CENTERS: Mapping[str, CenterProfile] = MappingProxyType({profile.name: profile for profile in _PROFILES})
"""All eight, in descending order of size."""

VARIED = CenterProfile(
    name="varied",
    title="Varied",
    subjects=50,
    protocols={
        "FLAIR": Protocol(Sequence("3T", 9000, 115, 2480), noise=0.045, bias=0.10, blur=0.4, level=300, flow=0.5),
        "T2w": Protocol(Sequence("3T", 5000, 98), noise=0.045, bias=0.10, blur=0.4, level=300),
    },
    load=8.0,
    spread=1.3,
    slice_ratios=(1.0, 1.0, 1.5, 2.0, 3.0, 5.0),
    lesion_free=0.05,
    rater=0.3,
    vary=1.0,
    random_share=0.5,
    resampled=0.4,
)
"""A hospital to learn from for all others, none of the paper's; `varied-2`, `varied-3`, ... have other scanners."""

_FURTHER = re.compile(r"(?P<name>.+)-(?P<number>[2-9]|[1-9]\d+)")


def profile(name: str) -> CenterProfile:
    """Return the center of that name: one of the eight, `varied`, or, as in `bwh-2`, another hospital like one of them.

    `bwh-2` has the signature, the size and the lesion loads of `bwh`, and patients of its own. Raises `SettingsError`.
    """
    further, known = _FURTHER.fullmatch(name), {**CENTERS, VARIED.name: VARIED}
    if name in known:
        return known[name]
    if further and further["name"] in known:
        like = known[further["name"]]
        return replace(like, name=name, title=f"{like.title} {further['number']}")
    raise SettingsError(
        f"simulated hospitals: there is no center {name!r}; choose from {', '.join(known)}, "
        f"or number another hospital like one of them from 2, as in {next(iter(CENTERS))}-2"
    )

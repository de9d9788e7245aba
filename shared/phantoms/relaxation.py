"""How tissues relax, and what FLAIR and T2-weighted turbo spin echo make of it.

Relaxation times in ms and proton densities beside water:

- T2, proton density, T1 at 1.5 T and the MS lesion: BrainWeb's (Kwan et al., IEEE Trans. Med. Imaging 18:1085-1097,
  1999). T2 of white matter is about the same at 3 T (80 and 71 ms: Magn. Reson. Med. 64:1440-1445, 2010).
- T1 at 3 T: Wansapura et al., J. Magn. Reson. Imaging 9:531-538, 1999. Published values of white matter run from 600
  to 1100 ms, by how they are measured (Assländer, arXiv:2409.05318).
- Fluid: T1 of 4.3 to 4.5 s and T2 of 1.9 to 2.4 s in living people at 3 T; BrainWeb's are shorter.
- Cortex is not one tissue: T2 rises from auditory and visual over frontal and temporal cortex and caudate nucleus to
  insula, and on to cingulate gyrus and hippocampus (Georgiades et al., Am. J. Neuroradiol. 22:1732-1737, 2001).

Signal equations: Bernstein, King and Zhou, Handbook of MRI Pulse Sequences, 2004, chapters 14 and 16, for echo trains
that are short beside TR. For 3D sequences with varying flip angles TE is not the one of the protocol (330 to 400 ms),
but one with which a train of equal angles would give like contrast (Mugler, J. Magn. Reson. Imaging 39:745-767, 2014):
90 to 110 ms is our estimate, by which lesions are 1.3 to 1.6 times as bright as what lies around them.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Strength = Literal["1.5T", "3T"]
"""Of the magnet."""


@dataclass(frozen=True)
class Relaxation:
    """One tissue at one field strength."""

    t1: float
    t2: float
    density: float

    def towards(self, other: "Relaxation", share: float) -> "Relaxation":
        """Return the tissue that lies this share of the way to another."""
        return Relaxation(*(a + share * (b - a) for a, b in zip(self._values, other._values, strict=True)))

    @property
    def _values(self) -> tuple[float, float, float]:
        return self.t1, self.t2, self.density


@dataclass(frozen=True)
class Sequence:
    """A turbo spin echo, after an inversion where there is a `ti` (FLAIR); all in ms."""

    field: Strength
    tr: float
    te: float
    ti: float | None = None
    prep: float = 0.0
    """T2 weighting before the inversion, as 3D FLAIR has it: what has decayed by then is not inverted."""

    def signal(self, tissue: Relaxation) -> float:
        """Return the transverse magnetisation at the echo that decides contrast, before any receiver gain."""
        return float(self.signals(np.float64(tissue.t1), np.float64(tissue.t2), np.float64(tissue.density)))

    def signals(self, t1: Any, t2: Any, density: Any) -> Any:
        """Return the same of many tissues at once, arrays of one shape."""
        recovered = 1 - np.exp(-self.tr / t1)
        if self.ti is not None:
            # The echo train leaves nothing along the field; what has grown back by the next inversion is turned over.
            inverted = (1 - np.exp(-(self.tr - self.ti) / t1)) * np.exp(-self.prep / t2)
            recovered = 1 - (1 + inverted) * np.exp(-self.ti / t1)
        return density * np.abs(recovered) * np.exp(-self.te / t2)


FLUID = Relaxation(4300, 2000, 1.0)
WHITE: dict[Strength, Relaxation] = {"1.5T": Relaxation(500, 70, 0.77), "3T": Relaxation(832, 70, 0.77)}
CORTEX: dict[Strength, Relaxation] = {"1.5T": Relaxation(833, 83, 0.86), "3T": Relaxation(1331, 83, 0.86)}
NUCLEI = {field: CORTEX[field].towards(WHITE[field], 0.5) for field in CORTEX}
"""Thalamus and pallidum; caudate nucleus and putamen are nearly cortex (shared/phantoms/anatomy.py)."""
DAMAGED: dict[Strength, Relaxation] = {"1.5T": Relaxation(752, 237, 0.76), "3T": Relaxation(1251, 237, 0.76)}
"""The MS lesion of BrainWeb, the end of a scale: T1 at 3 T is longer by as much as that of white matter."""
LIMBIC = {field: replace(tissue, t2=1.07 * tissue.t2) for field, tissue in CORTEX.items()}
"""Cingulate gyrus, insula and hippocampus, after Georgiades et al.; by how much is our choice."""
LESION_T2 = (0.12, 0.70)
"""How far on the way from white matter to `DAMAGED` the T2 of lesions lies: 90 to 187 ms, of most nearer to 90."""
LESION_T1 = (0.0, 0.6)
"""How much further T1 lies: in FLAIR it darkens what long T2 brightens, and lesions stand out less than in T2w."""
CAP = 0.12
"""How far on the way to `DAMAGED` white matter lies right at the ventricles: finely porous ependyma lets in fluid (Sze
et al. 1986)."""
PLEXUS = 0.55
"""How far choroid plexus lies on the way from cortex to fluid."""


@dataclass(frozen=True)
class Brain:
    """The tissues of one brain at one field strength."""

    white: Relaxation
    cortex: Relaxation
    nuclei: Relaxation
    limbic: Relaxation
    damaged: Relaxation


BRAINS = {field: Brain(WHITE[field], CORTEX[field], NUCLEI[field], LIMBIC[field], DAMAGED[field]) for field in WHITE}
"""The usual one at each strength."""


def nulling_time(tr: float, prep: float = 0.0) -> float:
    """Return the TI at which fluid sends nothing, in ms: where `Sequence.signals` is 0 for `FLUID`.

    With p what the preparation leaves to invert, exp(TI/T1) = (1 + p) / (1 + p exp(-TR/T1)); without one and for a long
    TR that is the textbook's T1 ln 2.
    """
    left = math.exp(-prep / FLUID.t2)
    return FLUID.t1 * math.log((1 + left) / (1 + left * math.exp(-tr / FLUID.t1)))

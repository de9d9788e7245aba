"""How tissues relax, and what FLAIR and T2-weighted turbo spin echo make of it.

Relaxation times in ms and proton densities beside water:

- T2, proton density and the MS lesion: BrainWeb's (Kwan et al., IEEE Trans. Med. Imaging 18:1085-1097, 1999). T2
  changes little from 1.5 to 3 T (Stanisz et al., Magn. Reson. Med. 54:507-512, 2005: 72 and 69 ms in white matter).
- T1 at 1.5 T: BrainWeb's; at 3 T: Wansapura et al., J. Magn. Reson. Imaging 9:531-538, 1999. T1 of fluid hardly
  depends on the field (Rooney et al., Magn. Reson. Med. 57:308-318, 2007, who also place deep grey nuclei between
  cortex and white matter), and its T2 is about 2 s (Hopkins et al., Magn. Reson. Med. 3:303-311, 1986).

Signal equations: Bernstein, King and Zhou, Handbook of MRI Pulse Sequences, 2004, chapters 14 and 16, for echo trains
that are short beside TR. For 3D sequences with varying flip angles TE means the contrast-equivalent one, 100 to 140 ms
where the protocol says 330 to 400 (Mugler, J. Magn. Reson. Imaging 39:745-767, 2014).
"""

import math
from dataclasses import dataclass
from typing import Literal

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
        recovered = 1 - math.exp(-self.tr / tissue.t1)
        if self.ti is not None:
            # The echo train leaves nothing along the field; what has grown back by the next inversion is turned over.
            inverted = (1 - math.exp(-(self.tr - self.ti) / tissue.t1)) * math.exp(-self.prep / tissue.t2)
            recovered = 1 - (1 + inverted) * math.exp(-self.ti / tissue.t1)
        return tissue.density * abs(recovered) * math.exp(-self.te / tissue.t2)


FLUID = Relaxation(4300, 2000, 1.0)
WHITE: dict[Strength, Relaxation] = {"1.5T": Relaxation(500, 70, 0.77), "3T": Relaxation(832, 70, 0.77)}
CORTEX: dict[Strength, Relaxation] = {"1.5T": Relaxation(833, 83, 0.86), "3T": Relaxation(1331, 83, 0.86)}
NUCLEI = {field: CORTEX[field].towards(WHITE[field], 0.5) for field in CORTEX}
"""Thalamus and basal ganglia."""
DAMAGED: dict[Strength, Relaxation] = {"1.5T": Relaxation(752, 237, 0.76), "3T": Relaxation(1251, 237, 0.76)}
"""The MS lesion of BrainWeb, the end of a scale: T1 at 3 T is longer by as much as that of white matter."""
LESION = (0.12, 0.40)
"""How far on the way from white matter to `DAMAGED` lesions lie: T2 of 90 to 137 ms, as chronic lesions have."""
CAP = 0.12
"""The same of white matter right at the ventricles: finely porous ependyma lets in fluid (Sze et al. 1986)."""
PLEXUS = 0.55
"""How far choroid plexus lies on the way from cortex to fluid."""

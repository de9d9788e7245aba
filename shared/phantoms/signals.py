"""How bright each tissue is beside white matter, which is 1: by a sequence's equations, or drawn at random.

A random mixture of Gaussians (Billot et al., Med. Image Anal. 86:102789, 2023: SynthSeg) gives each tissue any mean and
any spread. There a network learns what every contrast has in common; here it is to find lesions in the contrast that an
image is named after, so what a radiologist tells it by holds: lesions are brighter than white matter, fluid is darker
than lesions in FLAIR and no darker than they in T2w. All else is free.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from shared.phantoms.grids import Array
from shared.phantoms.relaxation import BRAINS, CAP, FLUID, PLEXUS, Brain, Sequence

Contrast = Literal["FLAIR", "T2w"]

TYPICAL = 0.34
"""How far the T2 of the mean lesion lies on the way from white matter to the most damaged tissue."""
FAINT, BRIGHT = 0.5, 1.6
"""Least and greatest contrast of a lesion to white matter, in those of the typical one, in a random mixture."""


@dataclass(frozen=True)
class Signals:
    """What each tissue sends, relative to white matter."""

    cortex: float
    nuclei: float
    limbic: float
    fluid: float
    plexus: float
    cap: float
    """More than white matter has, right at the ventricles."""


@dataclass(frozen=True)
class Grain:
    """Standard deviation of each tissue's signal from place to place, relative to white matter's mean."""

    white: float
    grey: float
    fluid: float
    lesion: float


@dataclass(frozen=True)
class Mixture:
    """Signals that follow from no sequence."""

    means: Signals
    lesion: float
    """Of a typical one."""
    grain: Grain

    def lesions(self, t2: Array) -> Array:
        """Return lesions' signals, by how far their T2 is on the way to the most damaged tissue."""
        contrast = (self.lesion - 1) * np.clip(t2 / TYPICAL, FAINT, BRIGHT)
        return np.asarray(1 + contrast, dtype=np.float32)


def signals_of(sequence: Sequence, brain: Brain | None = None) -> Signals:
    """Return each tissue's signal beside white matter's, in a brain of the usual relaxation times or another."""
    brain = brain or BRAINS[sequence.field]
    unit = sequence.signal(brain.white)
    return Signals(
        cortex=sequence.signal(brain.cortex) / unit,
        nuclei=sequence.signal(brain.nuclei) / unit,
        limbic=sequence.signal(brain.limbic) / unit,
        fluid=sequence.signal(FLUID) / unit,
        plexus=sequence.signal(brain.cortex.towards(FLUID, PLEXUS)) / unit,
        cap=sequence.signal(brain.white.towards(brain.damaged, CAP)) / unit - 1,
    )


def lesion_signals(sequence: Sequence, t2: Any, t1: Any, brain: Brain | None = None) -> Array:
    """Return lesions' signals beside white matter's, by how far their T2 and T1 are on the way to `DAMAGED`."""
    brain = brain or BRAINS[sequence.field]
    white, damaged = brain.white, brain.damaged
    signals = sequence.signals(
        white.t1 + t1 * (damaged.t1 - white.t1),
        white.t2 + t2 * (damaged.t2 - white.t2),
        white.density + t2 * (damaged.density - white.density),
    )
    return np.asarray(signals / sequence.signal(white), dtype=np.float32)


def draw_mixture(contrast: Contrast, rng: np.random.Generator) -> Mixture:
    """Draw any means and spreads with which an image may still be called by its contrast."""
    lesion = 1 + float(np.clip(rng.lognormal(np.log(0.45), 0.45), 0.22, 1.6))
    more = lesion - 1
    cortex = float(rng.uniform(0.65, 1 + 0.9 * more))
    limbic = cortex * float(rng.uniform(0.97, 1.12))
    nuclei = float(rng.uniform(0.7, 1 + 0.7 * more))
    low, high = (0.0, 0.9) if contrast == "FLAIR" else (1 + BRIGHT * more) * np.array([1.0, 1.8])
    fluid = float(rng.uniform(low, high))
    plexus = float(rng.uniform(min(cortex, fluid), max(cortex, fluid)))
    cap = more * float(rng.uniform(0.0, 0.4))
    white, grey, wet, within = (
        float(spread) for spread in rng.uniform([0.01, 0.01, 0.01, 0.02], [0.05, 0.1, 0.06, 0.15])
    )
    grain = Grain(white, grey, wet * max(1.0, fluid), within * more)
    return Mixture(Signals(cortex, nuclei, limbic, fluid, plexus, cap), lesion, grain)

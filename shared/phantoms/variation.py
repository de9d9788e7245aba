"""Scanners, sessions and patients that differ: protocols drawn about a center's, by its `vary` (0: none, 1: broad).

No hospital has the protocol of a textbook, most have more than one magnet, and each patient's tissues relax a little
otherwise. What is drawn stays within what is published for MS:

- FLAIR has a TE of 100 to 140 ms (Bachmann et al., Eur. Radiol. 16:915-921, 2006, compare 100, 120 and 140 at 3 T; the
  six scanners of the MS-SMART trial have 100 to 128: Connick et al., BMJ Open 8:e021944, 2018), with some room below
  for 3D (shared/phantoms/relaxation.py). TR is 7 to 11 s in 2D (MS-SMART: 9.5 to 10) and 4.8 to 8 s in 3D.
- T2w has a TE of 80 to 120 ms and a TR of 2.6 to 8 s (MS-SMART: 85 to 100 ms, 2.6 to 3.3 s).
- TI is not free: it nulls fluid at this TR and preparation, but for what an operator misses by.
- Slices are 1 mm in 3D and 3 to 5 mm in 2D (Wattjes et al., Lancet Neurology 20:653-670, 2021, ask for 3 at most).
- T1 of white matter is published from 600 to 1100 ms at 3 T: as broadly as it is drawn here.

How broadly noise, shading and blurring vary is our choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from shared.phantoms.centers import CenterProfile
from shared.phantoms.grids import Grid
from shared.phantoms.relaxation import BRAINS, Brain, Relaxation, Sequence, Strength, nulling_time
from shared.phantoms.scanner import Effects, Protocol
from shared.phantoms.signals import Contrast, draw_mixture
from shared.seeds import generator

SESSIONS = 0.5
"""By how much of a center's `vary` its sessions differ from each other."""
OTHER_MAGNET, OTHER_FLAIR = 0.5, 0.4
"""How often, at `vary` 1, the magnet is of the other strength, and FLAIR 2D in place of 3D or the other way round."""
FLAIR_2D, FLAIR_3D = (7000.0, 11_000.0), (4800.0, 8000.0)
"""Range of TR in ms."""
T2W = (2600.0, 8000.0)
TE: Mapping[Contrast, tuple[float, float]] = {"FLAIR": (85.0, 140.0), "T2w": (80.0, 120.0)}
PREPARED = (120.0, 180.0)
"""Range of the T2 preparation of a 3D FLAIR in ms."""


@dataclass(frozen=True)
class Take:
    """How one image of one patient is made."""

    protocol: Protocol
    effects: Effects


def draw_takes(center: CenterProfile, subject: int, grid: Grid, seed: int) -> dict[Contrast, Take]:
    """Return how each contrast of a patient is made on a grid: the center's own protocols where nothing varies."""
    drawn = _about(center.protocols, center.vary, generator(seed, "phantom", center.name, "protocols"))
    rng = generator(seed, "phantom", center.name, subject, "session")
    drawn = _about(drawn, center.vary * SESSIONS, rng)
    damage = float(np.exp(center.vary * rng.normal(-0.1, 0.3)))  # more faint lesions than bright ones
    factors = np.exp(rng.normal(0, center.vary, 6) * [0.12, 0.08, 0.05, 0.05, 0.08, 0.04])
    # A thicker slice holds more signal; half of it is spent on scanning faster.
    quieter = (max(grid.voxel) / min(grid.voxel)) ** (-0.5 * center.vary)
    takes: dict[Contrast, Take] = {}
    for contrast, protocol in drawn.items():
        shading = 70.0 * float(np.exp(rng.normal(0, 0.25 * center.vary)))
        along, across = (float(1 - center.vary * missing) for missing in rng.uniform(0, 0.35, 2))
        sharpening = center.vary * max(0.0, float(rng.uniform(-0.7, 0.7)))
        random, mixture = rng.random() < center.random_share, draw_mixture(contrast, rng)
        takes[contrast] = Take(
            replace(protocol, noise=protocol.noise * quieter),
            Effects(
                brain=_brain(protocol.sequence.field, factors) if center.vary else None,
                damage=damage,
                mixture=mixture if random else None,
                shading=shading,
                matrix=(along, across),
                sharpening=sharpening,
            ),
        )
    return takes


def draw_grids(center: CenterProfile, subject: int, spacing: float, seed: int) -> tuple[Grid, Grid]:
    """Return on which voxels a patient is imaged, at an in-plane size in mm, and on which the images are stored.

    They are the same but where slices, along any axis, are interpolated to voxels of equal edges.
    """
    rng = generator(seed, "phantom", center.name, subject, "slices")
    ratio = center.slice_ratios[int(rng.integers(len(center.slice_ratios)))]
    thin, thick = spacing, spacing * ratio
    if rng.random() >= center.resampled:
        grid = Grid.covering((thin, thin, thick))
        return grid, grid
    axis = int(rng.integers(3))
    x, y, z = (thick if axis == number else thin for number in range(3))
    return Grid.covering((x, y, z)), Grid.covering((thin, thin, thin))


def _about(
    protocols: Mapping[Contrast, Protocol], amount: float, rng: np.random.Generator
) -> Mapping[Contrast, Protocol]:
    """Draw protocols about others, all for one magnet."""
    if not amount:
        return protocols
    other = rng.random() < OTHER_MAGNET * amount
    return {contrast: _drawn(contrast, protocol, amount, other, rng) for contrast, protocol in protocols.items()}


def _drawn(
    contrast: Contrast, protocol: Protocol, amount: float, other_magnet: bool, rng: np.random.Generator
) -> Protocol:
    """Draw one protocol about another."""
    noise, bias, blur, level = np.exp(rng.normal(0, amount, 4) * [0.35, 0.35, 0.4, 0.7])
    field = protocol.sequence.field
    if other_magnet:  # a stronger one gives more signal, and more shading (its waves are shorter)
        field, stronger = ("3T", True) if field == "1.5T" else ("1.5T", False)
        noise, bias = noise * (0.8 if stronger else 1.25), bias * (1.5 if stronger else 0.67)
    sequence = _sequence(contrast, protocol.sequence, field, amount, rng)
    flow, clips, clip = rng.uniform([0.0, 0.0, 2.0], [0.4 if sequence.prep else 1.0, 1.0, 4.0])
    return replace(
        protocol,
        sequence=sequence,
        noise=float(min(protocol.noise * noise, max(0.12, protocol.noise))),
        bias=float(min(protocol.bias * bias, max(0.3, protocol.bias))),
        blur=float(min(protocol.blur * blur, max(1.0, protocol.blur))),
        level=float(np.clip(protocol.level * level, 20, 4000)),
        flow=float(protocol.flow + amount * (flow - protocol.flow)) if contrast == "FLAIR" else protocol.flow,
        clip=float(clip) if clips < 0.15 * amount else protocol.clip,
    )


def _sequence(
    contrast: Contrast, usual: Sequence, field: Strength, amount: float, rng: np.random.Generator
) -> Sequence:
    """Draw the times of a sequence about the usual ones."""
    slower, later, missed, changes = *rng.normal(0, amount, 3), rng.random()
    prepared = float(rng.uniform(*PREPARED))
    te = _within(usual.te * float(np.exp(0.15 * later)), TE[contrast], usual.te)
    if usual.ti is None:
        tr = _within(usual.tr * float(np.exp(0.25 * slower)), T2W, usual.tr)
        return replace(usual, field=field, tr=tr, te=te)
    prep, middle, bounds = usual.prep, usual.tr, FLAIR_3D if usual.prep else FLAIR_2D
    if changes < OTHER_FLAIR * amount:
        prep, bounds = (0.0, FLAIR_2D) if usual.prep else (prepared, FLAIR_3D)
        middle = sum(bounds) / 2
    tr = _within(middle * float(np.exp(0.15 * slower)), bounds, middle)
    # What the center misses fluid by is left of it where little varies.
    own = (usual.ti / nulling_time(usual.tr, usual.prep)) ** (1 - amount)
    ti = nulling_time(tr, prep) * own * float(np.exp(0.03 * missed))
    return Sequence(field, tr, te, ti, prep)


def _within(value: float, bounds: tuple[float, float], usual: float) -> float:
    """Return a value no farther outside of the bounds than the usual one."""
    return min(max(value, min(bounds[0], usual)), max(bounds[1], usual))


def _brain(field: Strength, factors: np.ndarray) -> Brain:
    """Return tissues whose relaxation times differ from the usual ones by these factors."""
    t1, grey_t1, t2, grey_t2, nuclei_t2, limbic_t2 = map(float, factors)
    usual = BRAINS[field]

    def with_times(tissue: Relaxation, t1: float, t2: float) -> Relaxation:
        return replace(tissue, t1=tissue.t1 * t1, t2=tissue.t2 * t2)

    cortex = with_times(usual.cortex, t1 * grey_t1, grey_t2)
    return Brain(
        white=with_times(usual.white, t1, t2),
        cortex=cortex,
        nuclei=with_times(usual.nuclei, t1 * grey_t1, grey_t2 * nuclei_t2),
        limbic=with_times(usual.limbic, t1 * grey_t1, grey_t2 * limbic_t2),
        damaged=with_times(usual.damaged, t1, t2),
    )

"""From tissues to an image: one center's protocol makes of a patient what its scanner would store.

What shines in an image follows from relaxation (relaxation.py) and the sequence. So do the lures: caps and
bands at the ventricles, choroid plexus, fluid that flows in while FLAIR nulls the rest, fluid around vessels.
Intensities are relative to white matter, which is 1.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.anatomy import Tissues
from shared.phantoms.canvas import LesionMaps
from shared.phantoms.grids import Array, Axes, Grid, SmoothField
from shared.phantoms.relaxation import Brain, Sequence
from shared.phantoms.signals import Mixture, lesion_signals, signals_of

GRAIN = 2.5
"""mm between the knots of what makes a tissue of a random mixture uneven."""
SLAB = 2**18
"""Voxels that are worked on at once: what a processor's own cache holds of a few arrays."""


@dataclass(frozen=True)
class Protocol:
    """One center's way of making one contrast: its signature in every image."""

    sequence: Sequence
    noise: float
    """Standard deviation of each of the two channels of Rician noise."""
    bias: float
    """Standard deviation of the logarithm of the coil's shading."""
    blur: float
    """Width (standard deviation, mm) of blurring beyond the voxel's own."""
    level: float
    """Stored value of white matter, before each session's own gain."""
    clip: float = 10.0
    """Stored values end at so many times that of white matter."""
    flow: float = 0.0
    """Where the sequence nulls fluid: how bright it is in the third and fourth ventricle, through which it flows."""
    ghosting: float = 0.1
    """Share of the images with ghosts of a patient who moved."""


@dataclass(frozen=True)
class Effects:
    """What makes one image beside its protocol: another brain's tissues, another coil, a coarser acquisition."""

    brain: Brain | None = None
    """The patient's relaxation times, at the protocol's field strength; the usual ones where there is none."""
    damage: float = 1.0
    """How much farther from white matter the T2 of lesions lies than it was drawn."""
    mixture: Mixture | None = None
    """Signals in place of those that the sequence would make."""
    shading: float = 70.0
    """mm between the knots of the coil's shading."""
    matrix: tuple[float, float] = (1.0, 1.0)
    """Along the first two axes, the share of the spatial frequencies that was acquired before interpolation."""
    sharpening: float = 0.0
    """How much the highest of them are raised, as the edge enhancement of a scanner does."""


PLAIN = Effects()


def session(protocol: Protocol, rng: np.random.Generator) -> Protocol:
    """Return a protocol as one session had it: over the years coils, software and settings change a little."""
    times, noise, bias, blur = np.exp(rng.normal(0, [0.04, 0.25, 0.3, 0.2]))
    sequence = protocol.sequence
    return replace(
        protocol,
        sequence=replace(sequence, te=sequence.te * float(times), ti=sequence.ti and sequence.ti * float(times)),
        noise=protocol.noise * float(noise),
        bias=protocol.bias * float(bias),
        blur=protocol.blur * float(blur),
    )


def scan(
    protocol: Protocol,
    tissues: Tissues,
    lesions: LesionMaps,
    grid: Grid,
    rng: np.random.Generator,
    effects: Effects = PLAIN,
) -> NDArray[np.int16]:
    """Return the image that a protocol stores: at least 1 in the brain and exactly 0 outside it."""
    protocol = session(protocol, rng)
    # A brain fills less than half of its field of view: nothing else need be computed.
    box = tissues.box
    x, y, z = (axis[side] for axis, side in zip(grid.axes(), box, strict=True))
    signal = _signal(protocol, effects, tissues, lesions, box, (x, y, z), rng)
    if protocol.blur > 0:
        signal = ndimage.gaussian_filter(signal, [protocol.blur / size for size in grid.voxel], truncate=3)
    if rng.random() < protocol.ghosting:
        signal = _ghosted(signal, rng)
    shading, image = SmoothField(rng, effects.shading), np.zeros(grid.shape, dtype=np.int16)
    for part in _slabs(signal.shape):
        signal[part] *= np.exp(protocol.bias * shading((x[part], y, z)))
        signal[part] += protocol.noise * rng.standard_normal(signal[part].shape, dtype=np.float32)
    signal = _filtered(signal, effects)
    for part in _slabs(signal.shape):
        imaginary = protocol.noise * rng.standard_normal(signal[part].shape, dtype=np.float32)
        signal[part] = np.minimum(np.sqrt(signal[part] ** 2 + imaginary**2), protocol.clip)
    gain = protocol.level * float(np.exp(rng.normal(0, 0.12)))
    for part in _slabs(signal.shape):
        stored = np.clip(np.rint(gain * signal[part]), 1, np.iinfo(np.int16).max)
        image[box][part] = np.where(tissues.brain[box][part], stored, 0)
    return image


def _slabs(shape: tuple[int, ...]) -> list[slice]:
    """Return parts along the first axis that stay in a processor's cache."""
    rows = max(1, SLAB // math.prod(shape[1:]))
    return [slice(start, start + rows) for start in range(0, shape[0], rows)]


def _signal(
    protocol: Protocol,
    effects: Effects,
    tissues: Tissues,
    lesions: LesionMaps,
    box: tuple[slice, slice, slice],
    axes: Axes,
    rng: np.random.Generator,
) -> Array:
    """Return the signal of a box, as an ideal scanner would receive it."""
    mixture, (x, y, z) = effects.mixture, axes
    of = mixture.means if mixture else signals_of(protocol.sequence, effects.brain)
    patches = SmoothField(rng, 16.0)  # neither cortex nor white matter is equally bright everywhere
    capped, limbic_share = float(rng.uniform(0.2, 1.0)), float(rng.uniform(0.3, 1.7))
    brightness = float(rng.normal(1, 0.03))
    # Widened spaces around vessels: here and there a little of white matter is fluid (Wardlaw et al. 2020).
    vessels = SmoothField(rng, 3.0) if of.fluid > 1 else None
    # Inflow brings fluid that was never inverted: third and fourth ventricle, in each patient by another amount.
    inflow = protocol.flow * float(rng.uniform(0, 1.5))
    texture = SmoothField(rng, GRAIN) if mixture else None
    signal = np.empty(tissues.gm[box].shape, dtype=np.float32)
    for part in _slabs(signal.shape):

        def of_part(values: Array, part: slice = part) -> Array:
            return values[box][part]

        grey, white, fluid, nuclei = map(of_part, (tissues.gm, tissues.wm, tissues.csf, tissues.nuclei))
        patchy = patches((x[part], y, z))
        caps = capped * np.exp(-of_part(tissues.ventricle_distance) / 2.5)
        limbic = limbic_share * of_part(tissues.limbic) * (1 - nuclei)
        cortex = of.cortex + (of.nuclei - of.cortex) * nuclei + (of.limbic - of.cortex) * limbic
        cortex = brightness * cortex + (0.3 * (of.cortex - 1) + 0.02) * patchy
        matter = 1 + of.cap * (caps * (1 + 0.4 * patchy) + 0.15 * patchy)
        if vessels is not None:
            matter += (of.fluid - matter) * np.clip(0.12 * (vessels((x[part], y, z)) - 2.2), 0, 0.3)
        dark = of.fluid + inflow * of_part(tissues.flow)
        dark += (of.plexus - dark) * of_part(tissues.plexus)
        if mixture and texture:
            grain, spread = texture((x[part], y, z)), mixture.grain
            cortex += spread.grey * grain
            matter += spread.white * grain
            dark += spread.fluid * grain
        normal = grey * cortex + white * matter + fluid * dark

        fraction = of_part(lesions.fraction)
        rim = 0.4 * of.cap * of_part(lesions.rim) * white
        made = (normal + rim) * (1 - fraction)
        some = fraction > 0
        share = fraction[some]
        t2, t1 = of_part(lesions.t2)[some] / share, of_part(lesions.t1)[some] / share
        t2 = np.minimum(effects.damage * t2, 1)
        if mixture and texture:
            made[some] += share * (mixture.lesions(t2) + mixture.grain.lesion * grain[some])
        else:
            made[some] += share * lesion_signals(protocol.sequence, t2, t1, effects.brain)
        signal[part] = made
    return _darkened(signal, tissues)


def _darkened(signal: Array, tissues: Tissues) -> Array:
    """Take away what is blood that flows: between two pulses it has left the slice."""
    places = np.unravel_index(tissues.vessels.voxels, tissues.brain.shape)
    inside = np.logical_and.reduce([(p >= b.start) & (p < b.stop) for p, b in zip(places, tissues.box, strict=True)])
    within = tuple(p[inside] - b.start for p, b in zip(places, tissues.box, strict=True))
    signal[within] *= 1 - tissues.vessels.share[inside]
    return signal


def _ghosted(signal: Array, rng: np.random.Generator) -> Array:
    """Add what periodic motion leaves: weak copies, shifted along the phase-encoding direction, and some blur."""
    axis = int(rng.integers(2))
    shift = signal.shape[axis] // int(rng.integers(2, 5))
    weight = float(rng.uniform(0.01, 0.05))
    blurred = ndimage.gaussian_filter1d(signal, float(rng.uniform(0.2, 0.6)), axis=axis)
    ghosts = np.roll(signal, shift, axis=axis) + np.roll(signal, -shift, axis=axis)
    return np.asarray((1 - weight) * blurred + weight * ghosts, dtype=np.float32)


def _filtered(signal: Array, effects: Effects) -> Array:
    """Return what is left when the highest frequencies along the first two axes were never acquired.

    The image is as fine as before but blurred, with ringing at edges (Gibbs) and noise that spans voxels. As scanners
    do, the last of what was acquired is faded out, by a cosine over a fifth of it, and what is high may be raised.
    """
    for axis, share in enumerate(effects.matrix):
        if share < 1 or effects.sharpening:
            spectrum = fft.rfft(signal, axis=axis)
            place = np.arange(spectrum.shape[axis], dtype=np.float32) / (share * (spectrum.shape[axis] - 1))
            fading = 0.5 + 0.5 * np.cos(np.pi * np.clip((place - 0.8) / 0.2, 0, 1))
            shape = [1, 1, 1]
            shape[axis] = -1
            spectrum *= (fading * (1 + effects.sharpening * place**2)).astype(np.float32).reshape(shape)
            signal = fft.irfft(spectrum, signal.shape[axis], axis=axis)
    return signal

"""Where the head is in an image, whatever the scale and the zero of its intensities.

MRI knows neither: images come as scanners write them, z-scored over the whole or inside a mask, less a constant, or
padded with a value of their own. All that follows is therefore by order and by ratio of differences, so that an image
`a x + b` has the head of `x`. Air is told in one of three ways:

1. Air of one value, at or a little below the darkest tissue, as around a stripped brain: it ends a fiftieth of the
   way up to the bright tissue.
2. Air of one value amid the brain's own values, or far below them (a brain z-scored inside its mask, with 0 around;
   padding of -32768): only a mask tells it, the voxels of that value that hang together with the image's border. They
   are put where air usually lies, a little below all of the brain.
3. Noise: it ends four deviations above its median, both by ranks (median and MAD).

Two thousandths of an image's voxels may be wild, wherever they lie. The head's brightest of that number left out, the
others span what is tissue, from the 5th percentile on, and a voxel 1.5 spans beyond is clipped: Tukey's fence. Beyond
3 spans, which Tukey calls far out, is no tissue: such a voxel gets the median of its neighbours before anything is
resampled or measured, so that a single hot voxel vanishes, and a bright structure of many voxels stays. This module
imports nothing of Wardround, for the MONAI bundle carries a copy.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR = 0.02
"""Air of one value ends this share of the way up to the bright tissue."""

PLATEAU = 0.3
"""Air is of one value where that is the value of this share of the border's voxels."""

LOW, HIGH = 5.0, 95.0
"""Percentiles between which the span of tissue is measured; the few hot and cold voxels lie beyond."""

AMID, FAR = 0.05, 1.5
"""Spans of the rest by which air of one value may lie above its 5th and below its 1st percentile, to be a level."""

DEPTH = 0.4
"""Spans below the 5th percentile of a brain where air is put whose depth is not known: 0.3 to 0.5 in stripped FLAIR and
T2w images of real patients, so that a z-scored brain comes out as it would have before."""

DIM = 0.1
"""Up to this share of the span above its lower end an image is dim, as noise is."""

NOISY, NOISY_EDGE = 0.25, 0.6
OPEN, OPEN_EDGE = 0.2, 0.5
"""Shares of dim voxels, in all and at the edge, from which they are noise: within air of one value, and without it.

In stripped brains of real patients 0.06 to 0.20 and 0.38 to 0.47 are dim, in whole heads 0.6 and 0.7 or more."""

DEVIATIONS = 4.0
"""Of noise, above its median: where it ends."""

FENCE, FAR_OUT = 1.5, 3.0
"""Spans of tissue beyond its brightest: Tukey's fences, with wider hinges than his quartiles, for tissue is skewed."""

WILD_SHARE, WILD_LEAST, WILD_MOST = 0.002, 30, 0.1
"""How many voxels may be wild: a share of the image, at least so many, at most a share of the head."""

WILD = 10.0
"""Spans beyond the 5th and the 95th percentile from which a voxel says nothing of how dark tissue is."""

MOST_SPIKES = 0.01
"""Share of voxels far out from which they are no spikes; they are only clipped."""

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Spikes:
    """Voxels of values that no tissue has."""

    hot: int
    cold: int
    highest: float
    """The greatest value of all."""
    lowest: float
    usual: float
    """The head's 99.9th percentile, spikes left out."""


@dataclass(frozen=True, eq=False)
class FoundHead:
    """An image without its spikes, and where air ends in it."""

    image: FloatArray
    """(D, H, W), in the file's intensities; air of one value is `floor` wherever it was."""
    air: float
    """The intensity at and below which a voxel is air."""
    floor: float
    """The intensity of air, below `air`; of noise, its median."""
    ceiling: float
    """The greatest intensity that is left."""
    spikes: Spikes

    @property
    def mask(self) -> Mask:
        """The voxels that are not air."""
        inside: Mask = self.image > self.air
        return inside


def find_head(image: FloatArray) -> FoundHead:
    """Where the head is in an image (D, H, W) of finite values that are not all the same."""
    value = _border_value(image)
    outside = None if value is None else image == value
    rest = image.ravel(order="K") if outside is None else image[~outside]
    if not rest.size:
        rest, outside, value = image.ravel(order="K"), None, None
    # Without air of one value most of an image may be air, and hot voxels a thousandth of it at most.
    dark, low, high = _percentiles(rest, 1.0, LOW, HIGH if value is not None else 99.0)
    span = high - low
    if _is_noisy(image, outside, rest, low + DIM * span):
        floor, air = _noise(rest, low, high)
        bottom = floor - (air - floor)
    elif value is not None and dark - FAR * (high - dark) <= value <= low + AMID * span:
        floor = bottom = value
        air = floor + AIR * (high - floor)
        outside = None  # it is air by its level
    else:
        if outside is not None and value is not None and value >= dark:
            outside = _connected(outside)
        rest = rest if outside is None else image[~outside]
        tame = (rest >= low - WILD * span) & (rest <= high + WILD * span)
        bottom, low, high = _percentiles(rest[tame], 1.0, LOW, HIGH)
        span = high - low or abs(bottom - (value if value is not None else 0.0)) or 1.0
        floor = min(low - DEPTH * span, bottom - 0.1 * span)
        air = floor + AIR * (high - floor)
    head = rest[rest > air]
    low, high = _tissue(head, image.size) if head.size else (air, air)
    ceiling = max(high + FENCE * (high - low), air)
    tidy = image.clip(bottom, ceiling)
    odd = image > high + FAR_OUT * (high - low)
    odd |= image < floor - (ceiling - floor) / 4
    if outside is not None:
        tidy[outside] = floor
        odd &= ~outside
    _mend(tidy, odd)
    spikes = _spikes(image[odd], head, floor, ceiling)
    return FoundHead(tidy, float(air), float(floor), float(ceiling), spikes)


def _percentiles(values: FloatArray, *which: float) -> tuple[float, ...]:
    return tuple(float(value) for value in np.percentile(values, which))


def _tissue(head: FloatArray, voxels: int) -> tuple[float, float]:
    """The 5th percentile of a head, and its brightest voxel but those that may be wild in an image of so many."""
    wild = min(max(WILD_SHARE * voxels, WILD_LEAST), WILD_MOST * head.size)
    low, high = _percentiles(head, LOW, 100 - 100 * wild / head.size)
    return low, high


def _border_value(image: FloatArray) -> float | None:
    """The value of most of the border's voxels, where they have one."""
    faces = _faces(image)
    values, counts = np.unique(faces, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]) if counts[most] >= PLATEAU * faces.size else None


def _faces(array: NDArray[Any]) -> NDArray[Any]:
    """The values at the border."""
    planes = [np.moveaxis(array, axis, 0)[end] for axis in range(array.ndim) for end in (0, -1)]
    return np.concatenate([plane.ravel() for plane in planes])


def _is_noisy(image: FloatArray, outside: Mask | None, rest: FloatArray, dim: float) -> bool:
    """Whether there is air that is not of one value: many voxels are dim, and of those at the edge most.

    Dim fluid in and around a brain is less than that, and its white matter is not at the edge.
    """
    share, edge = (OPEN, OPEN_EDGE) if outside is None else (NOISY, NOISY_EDGE)
    if np.count_nonzero(rest < dim) < share * rest.size:
        return False
    surface = image[_surface(outside, image.shape)]
    return bool(surface.size and np.count_nonzero(surface < dim) >= edge * surface.size)


def _surface(outside: Mask | None, shape: tuple[int, ...]) -> Mask:
    """The voxels at the image's border, or at that of what is outside."""
    surface = np.zeros(shape, dtype=bool)
    for axis in range(len(shape)):
        along = np.moveaxis(surface, axis, 0)
        along[0] = along[-1] = True
        if outside is not None:
            beside = np.moveaxis(outside, axis, 0)
            along[1:] |= beside[:-1]
            along[:-1] |= beside[1:]
    if outside is not None:
        surface &= ~outside
    return surface


def _noise(rest: FloatArray, low: float, high: float) -> tuple[float, float]:
    """The median of noise, and where it ends."""
    end, most = low + DIM * (high - low), low + (high - low) / 4
    floor = low
    # Twice, for strong noise reaches beyond what is dim.
    for _ in range(2):
        noise = rest[rest < end]
        if not noise.size:
            break
        floor = float(np.median(noise))
        deviation = 1.4826 * float(np.median(np.abs(noise - floor)))
        head = rest[rest > end]
        high = float(np.percentile(head, HIGH)) if head.size else high
        end = min(floor + max(AIR * (high - floor), DEVIATIONS * deviation), most)
    return floor, end


def _connected(outside: Mask) -> Mask:
    """What of it hangs together with the image's border."""
    names, _ = ndimage.label(outside)
    at_border = np.unique(_faces(names))
    known = np.zeros(int(names.max()) + 1, dtype=bool)
    known[at_border[at_border > 0]] = True
    connected: Mask = known[names]
    return connected


def _mend(tidy: FloatArray, odd: Mask) -> None:
    """Give each voxel beyond the fences the median of the 27 around and with it, which are clipped already."""
    if not 0 < np.count_nonzero(odd) <= MOST_SPIKES * odd.size:
        return
    where = np.argwhere(odd)
    steps = np.argwhere(np.ones((3,) * odd.ndim)) - 1
    around = (where[:, None, :] + steps).clip(0, np.array(odd.shape) - 1)
    medians = np.median(tidy[tuple(np.moveaxis(around, -1, 0))], axis=1)
    tidy[odd] = medians


def _spikes(odd: FloatArray, head: FloatArray, floor: float, ceiling: float) -> Spikes:
    """Those worth a warning: as far beyond the ceiling, or below the floor, as these are apart."""
    hot, cold = odd > 2 * ceiling - floor, odd < 2 * floor - ceiling
    usual = head[head <= ceiling]
    return Spikes(
        hot=int(np.count_nonzero(hot)),
        cold=int(np.count_nonzero(cold)),
        highest=float(odd.max()) if hot.any() else ceiling,
        lowest=float(odd.min()) if cold.any() else floor,
        usual=float(np.percentile(usual, 99.9)) if usual.size else ceiling,
    )

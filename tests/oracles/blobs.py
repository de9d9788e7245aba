"""Pairs of segmentations that an oracle and a test both make: lesions found, missed, merged and made up."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEEDS = range(40)


@dataclass(frozen=True, eq=False)
class Pair:
    """A prediction and a truth on one grid."""

    prediction: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    spacing: tuple[float, float, float]
    """mm."""

    @property
    def digest(self) -> str:
        """Tells whether two programs made the same arrays."""
        return hashlib.sha256(self.prediction.tobytes() + self.truth.tobytes()).hexdigest()[:16]


def make_pair(seed: int) -> Pair:
    """Up to eight ellipsoids in the truth; of each, the prediction finds it, a shifted one, or nothing, and more.

    Every fourth pair is sparse noise instead, in which components touch by edges and corners alone.
    """
    random = np.random.default_rng(seed)
    shape = tuple(int(edge) for edge in random.integers(12, 30, 3))
    first, second, third = (float(edge) for edge in random.choice([0.5, 0.9, 1.0, 1.3, 3.0, 6.5], 3))
    if seed % 4 == 3:
        noise = random.random((2, *shape))
        return Pair(noise[0] < 0.03, noise[1] < 0.05, (first, second, third))
    prediction, truth = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for _ in range(int(random.integers(1, 9))):
        middle, radius = random.random(3) * shape, random.integers(1, 5, 3)
        truth |= _ellipsoid(shape, middle, radius)
        if random.random() < 0.7:
            prediction |= _ellipsoid(shape, middle + random.integers(-3, 4, 3), radius + random.integers(0, 3, 3))
    for _ in range(int(random.integers(0, 3))):
        prediction |= _ellipsoid(shape, random.random(3) * shape, random.integers(1, 4, 3))
    return Pair(prediction, truth, (first, second, third))


def _ellipsoid(shape: tuple[int, ...], middle: NDArray[np.float64], radius: NDArray[np.int64]) -> NDArray[np.bool_]:
    axes = np.ogrid[tuple(slice(edge) for edge in shape)]
    distance = sum(((axis - at) / size) ** 2 for axis, at, size in zip(axes, middle, radius, strict=True))
    return np.asarray(distance <= 1)

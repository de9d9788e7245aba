"""Means over images with confidence intervals over patients, by the bootstrap.

Images of one patient are alike: they are drawn together or not at all (the cluster bootstrap: Davison & Hinkley 1997,
Bootstrap Methods and their Application, section 3.8). As many patients are drawn as there are, with replacement, and
the interval is that of the 2.5th and 97.5th percentiles of the means (Efron & Tibshirani 1993, An Introduction to the
Bootstrap, chapter 13). It says how the mean would vary over other patients of the same hospitals. Of few patients,
below twenty or so, such intervals are too narrow; of fewer than three, or of patients who are all alike, there is none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import stats

SEED = 0
"""The same scores give the same interval."""

RESAMPLES = 9_999

CONFIDENCE = 0.95

LEAST = 3
"""Patients; of fewer, resampling tells next to nothing."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over images."""

    mean: float
    interval: tuple[float, float] | None
    """Its 95 % confidence interval over patients; None where the patients give none."""


def estimate(values: Iterable[tuple[object, float]]) -> Estimate:
    """The mean of the images' values, each with whose image it is. Raises `ValueError` where there is none."""
    of_patient: dict[object, list[float]] = {}
    for patient, value in values:
        of_patient.setdefault(patient, []).append(value)
    every = [value for own in of_patient.values() for value in own]
    if not every:
        raise ValueError("a mean needs at least one image")
    sums, numbers = (np.array(part, dtype=np.float64) for part in zip(*map(_both, of_patient.values()), strict=True))
    return Estimate(fmean(every), None if len(sums) < LEAST else _interval(sums, numbers))


def _both(own: list[float]) -> tuple[float, int]:
    return sum(own), len(own)


def _interval(sums: FloatArray, numbers: FloatArray) -> tuple[float, float] | None:
    """By each patient's sum and number of images."""
    if np.ptp(sums / numbers) == 0:
        return None
    drawn = stats.bootstrap(
        (sums, numbers),
        lambda total, images, axis: total.sum(axis=axis) / images.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(SEED),
    )
    low, high = drawn.confidence_interval
    return float(low), float(high)

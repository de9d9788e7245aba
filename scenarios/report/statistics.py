"""Paired comparisons of two methods over the same seeds and orders.

A pair is one training seed with one order of the centers, run by both methods. The test assumes
only that, were the methods alike, each difference might as well have had the other sign; with n
pairs its smallest two-sided p is 2 / 2^n, so fewer than six pairs can never fall below 0.05. The
interval is Student's, and assumes differences that are roughly normal.

Sources: sign-flip test, Fisher 1935, section 21; effect size d_z, Cohen 1988, p. 48, and Lakens 2013,
eq. 6; step-down correction, Holm 1979.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]

ALPHA = 0.05
"""Two-sided."""

CONFIDENCE = 0.95

MOST_EXACT = 16
"""Pairs up to which all 2^n signs are tried; beyond, `DRAWS` of them at random."""

DRAWS = 2**MOST_EXACT

EVEN = 1e-12
"""Differences up to here are rounding, not differences."""


@dataclass(frozen=True)
class Paired:
    """Statistics of n paired differences; None where n is too small for one."""

    differences: tuple[float, ...]
    mean: float
    deviation: float | None
    """Standard deviation of the differences (n - 1), from two pairs on."""
    interval: tuple[float, float] | None
    """95 % confidence interval of the mean, from two pairs on."""
    effect: float | None
    """d_z: the mean difference in units of its standard deviation; None where that is zero."""
    p: float | None
    """Two-sided, uncorrected, from two pairs on."""
    exact: bool
    """Whether all signs were tried."""

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.differences)

    @property
    def wins(self) -> int:
        """Pairs in which the first method is above the second."""
        return sum(difference > EVEN for difference in self.differences)

    @property
    def losses(self) -> int:
        """Pairs in which the first method is below the second."""
        return sum(difference < -EVEN for difference in self.differences)


def compare_pairs(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compare two methods' values, pair by pair: first minus second.

    Raises `ValueError` where the lengths differ or there is no pair.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} values are no pairs")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Paired((mean,), mean, None, None, None, None, exact=True)
    deviation = float(differences.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / n**0.5
    return Paired(
        differences=tuple(map(float, differences)),
        mean=mean,
        deviation=deviation,
        interval=(mean - half, mean + half),
        effect=mean / deviation if deviation > EVEN else None,
        p=sign_flip_p(differences),
        exact=n <= MOST_EXACT,
    )


def sign_flip_p(differences: Sequence[float] | FloatArray) -> float:
    """Two-sided p of the mean difference when each sign is as likely as the other."""
    values = np.asarray(differences, dtype=np.float64)
    if np.abs(values).max() <= EVEN:
        return 1.0
    test = stats.permutation_test(
        (values,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if len(values) <= MOST_EXACT else DRAWS - 1,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def smallest_p(n: int) -> float:
    """The smallest two-sided p that n pairs can give, whatever they hold."""
    return float(min(1.0, 2.0 ** (1 - n)))


def least_pairs(alpha: float = ALPHA) -> int:
    """The fewest pairs for which p < alpha is possible."""
    return next(n for n in range(1, 64) if smallest_p(n) < alpha)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of a family of p values, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation and range of some values."""

    n: int
    mean: float
    deviation: float | None
    """Standard deviation (n - 1), from two values on."""
    least: float
    most: float


def summarize(values: Sequence[float]) -> Summary | None:
    """The summary of some values; None where there is none."""
    if not len(values):
        return None
    array = np.asarray(values, dtype=np.float64)
    deviation = float(array.std(ddof=1)) if len(array) > 1 else None
    return Summary(len(array), float(array.mean()), deviation, float(array.min()), float(array.max()))

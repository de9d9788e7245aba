"""What a matrix of test scores says about learning one center after another.

`R[i, j]` is the test Dice at center `j` after the stage at center `i`; both run in the order
of the visits. A missing cell is NaN (or None); a mean is taken over the pairs that are there,
and is NaN where there are none.

Sources: backward transfer, Karthik et al. 2022, appendix A.1.2; forgetting, Chaudhry et al.
2018, eq. 3; learning accuracy, Riemer et al. 2019; intransigence, Chaudhry et al. 2018.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

NOT_LEARNT = 0.1
"""A center whose own score is below this was not learnt."""

FloatArray = NDArray[np.float64]
Matrix = ArrayLike | Sequence[Sequence[float | None]]
Row = ArrayLike | Sequence[float | None]


def accuracy(r: Matrix) -> float:
    """ACC: the mean over all centers after the last stage."""
    return _mean(_square(r)[-1])


def backward_transfer(r: Matrix) -> float:
    """BWT: the mean over i < K of R[K, i] - R[i, i]; below zero, the model forgot.

    >>> round(backward_transfer([[0.6, 0.2], [0.5, 0.7]]), 3)
    -0.1
    """
    return _mean(backward_transfer_per_center(r))


def backward_transfer_per_center(r: Matrix) -> FloatArray:
    """R[K, i] - R[i, i] for every center but the last, for which it is zero by definition.

    Returns shape (K - 1,).
    """
    matrix = _square(r)
    change: FloatArray = matrix[-1] - np.diagonal(matrix)
    return change[:-1]


def backward_transfer_over_k(r: Matrix) -> float:
    """BWT with the last, zero, term counted: the sum divided by K, as the paper's code does."""
    change = backward_transfer_per_center(r)
    return _mean(np.append(change, 0.0)) if len(change) else float("nan")


def learning_accuracy(r: Matrix) -> float:
    """The mean diagonal: how well each center is learnt at its own stage."""
    return _mean(np.diagonal(_square(r)))


def intransigence(r: Matrix, pooled: Row) -> float:
    """How much worse centers are learnt at their own stage than by one training on all data: see the next."""
    return _mean(intransigence_per_center(r, pooled))


def intransigence_per_center(r: Matrix, pooled: Row) -> FloatArray:
    """pooled_i - R[i, i] for every center; above zero, the model could not learn what all data together teach.

    `pooled`, shape (K,), are the scores of one model that was trained on the data of all centers, in the order of R.
    Chaudhry et al. 2018 compare with a model of the centers up to the i-th, which would need K such trainings. Returns
    shape (K,).

    >>> intransigence([[0.6, 0.2], [0.5, 0.7]], [0.7, 0.7]).__round__(2)
    0.05
    """
    matrix, reference = _square(r), _floats(pooled)
    if reference.shape != (len(matrix),):
        raise ValueError(f"the scores of pooled training have shape {reference.shape}, but must be ({len(matrix)},)")
    apart: FloatArray = reference - np.diagonal(matrix)
    return apart


def own_scores(r: Matrix) -> FloatArray:
    """Each center's score right after its own visit; after the last stage where R has one row, for all train at once.

    Returns shape (K,).
    """
    matrix = _floats(r)
    scores: FloatArray = np.diagonal(matrix) if len(matrix) == matrix.shape[1] else matrix[-1]
    return scores


def backward_transfer_of_learnt(r: Matrix) -> float:
    """BWT over the centers that were learnt (`NOT_LEARNT`): what was never learnt cannot be forgotten."""
    change = backward_transfer_per_center(r)
    return _mean(change[~(own_scores(r)[:-1] < NOT_LEARNT)])


def collapsed_stages(r: Matrix) -> list[int]:
    """The rows with scores at two centers or more that are all below `NOT_LEARNT`: such a model finds nothing anywhere.

    One score alone does not tell a model that finds nothing from a center that is not learnt.
    """
    there = [row[~np.isnan(row)] for row in _floats(r)]
    return [index for index, scores in enumerate(there) if scores.size > 1 and (scores < NOT_LEARNT).all()]


def forgetting(r: Matrix) -> float:
    """The mean over j < K of the best earlier score at center j minus its last score.

    Zero or below where nothing was forgotten.
    """
    matrix = _square(r)
    if len(matrix) < 2:
        return float("nan")
    earlier = np.where(np.isnan(matrix[:-1, :-1]), -np.inf, matrix[:-1, :-1]).max(axis=0)
    return _mean(np.where(np.isinf(earlier), np.nan, earlier) - matrix[-1, :-1])


def mean_known(scores: Row) -> float:
    """The mean of the scores that there are; NaN where there is none."""
    return _mean(_floats(scores))


def _floats(values: Matrix | Row) -> FloatArray:
    return np.array(values, dtype=np.float64)


def _square(r: Matrix) -> FloatArray:
    matrix = _floats(r)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"R has shape {matrix.shape}, but must be K x K with K >= 1")
    return matrix


def _mean(values: FloatArray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")

"""A model as it travels: its arrays by the name of their parameter."""

from torch import Tensor

Weights = dict[str, Tensor]


def nbytes(weights: Weights) -> int:
    """Bytes of all arrays, as they travel."""
    return sum(value.nbytes for value in weights.values())

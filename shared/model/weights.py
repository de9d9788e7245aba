"""A model as it travels: its arrays by the name of their parameter."""

from collections.abc import Mapping

from torch import Tensor

Weights = dict[str, Tensor]

State = Mapping[str, Weights]
"""What a method hands on beside the model, by the name of the part (shared/methods.py): one array a parameter."""


def nbytes(weights: Weights) -> int:
    """Bytes of all arrays, as they travel."""
    return sum(value.nbytes for value in weights.values())


def state_bytes(state: State) -> int:
    """Bytes of all arrays of a state, as they travel."""
    return sum(nbytes(part) for part in state.values())

"""A model as it travels: its arrays by the name of their parameter."""

import hashlib
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


def digest_of(state: State) -> str:
    """SHA-256 over the arrays of a state, each by its part, name, type, shape and bytes."""
    digest = hashlib.sha256()
    for part, arrays in sorted(state.items()):
        for name, value in sorted(arrays.items()):
            digest.update(f"{part}\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def model_digest(weights: Weights) -> str:
    """SHA-256 over a model's parameters."""
    return digest_of({"model": weights})

"""Seeds that follow from what they are for, not from when or where they are drawn."""

import hashlib

import numpy as np


def derive_seed(seed: int, *words: str | int) -> int:
    """A 63-bit seed for one purpose, independent of every other purpose.

    >>> derive_seed(0, "split", "milan") == derive_seed(0, "split", "milan")
    True
    """
    text = "\x1f".join([str(seed), *map(str, words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *words: str | int) -> np.random.Generator:
    """NumPy's generator, seeded by `derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *words))

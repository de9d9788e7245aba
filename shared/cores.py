"""The cores that there are, and work on one image after the other that is spread over them."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of_hospital() -> int:
    """The cores that one hospital may keep busy: all of them where it has the GPU, which others then wait for.

    Without one those of PyTorch: Ray tells each simulated hospital its part of the machine by OMP_NUM_THREADS.
    """
    import torch

    return cores_here() if torch.cuda.is_available() else min(torch.get_num_threads(), cores_here())


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results in the order of the items, worked out by as many threads as a hospital has cores.

    For work that is done in NumPy, SciPy, PyTorch and zlib, which let go of Python's lock. Raises what `work` raised
    for the first item in order; what was not begun by then is left.
    """
    threads = min(cores_of_hospital(), len(items))
    if threads < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, items)

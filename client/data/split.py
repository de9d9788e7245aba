"""Dividing a center's cases into training and test, whole subjects at a time."""

from client.data.inventory import Case
from shared.errors import DataError
from shared.seeds import generator

LEAST_SUBJECTS = 2
"""One to train on, one to test on."""


def split(center: str, cases: list[Case], test_fraction: float, seed: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """The cases to train on and those to test on; which subject is where follows from the seed and the center's name.

    Raises `DataError` where there are too few subjects for one of each.
    """
    subjects = sorted({case.subject for case in cases})
    if len(subjects) < LEAST_SUBJECTS:
        raise DataError(f"center {center} has {len(subjects)} subject, but needs {LEAST_SUBJECTS}: one to test on")
    held_out = min(max(1, round(len(subjects) * test_fraction)), len(subjects) - 1)
    order = generator(seed, "split", center).permutation(len(subjects))
    tested = {subjects[i] for i in order[:held_out]}
    return (
        tuple(case for case in cases if case.subject not in tested),
        tuple(case for case in cases if case.subject in tested),
    )

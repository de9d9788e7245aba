"""Dividing a center's cases into training and test, whole subjects at a time."""

from collections.abc import Mapping, Sequence
from itertools import product

from client.data.inventory import Case
from shared.seeds import generator

LEAST_SUBJECTS = 2
"""One to train on, one to test on."""

Stratum = tuple[str, ...]
"""The contrasts in which a subject was imaged."""


def split(
    center: str, cases: Sequence[Case], test_fraction: float, seed: int
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """The cases to train on and those to test on; which subject is where follows from the seed and the center's name.

    Each contrast has its share of the test subjects. Where the share of one comes to nobody, it is given one as long
    as another subject is left to train on it: so that a center with FLAIR and T2w tests both where it can. A single
    subject trains.
    """
    contrasts: dict[str, set[str]] = {}
    for case in cases:
        contrasts.setdefault(case.subject, set()).add(case.contrast)
    if not contrasts:
        return (), ()
    subjects = sorted(contrasts)
    strata: dict[Stratum, list[str]] = {}
    for place in generator(seed, "split", center).permutation(len(subjects)):
        strata.setdefault(tuple(sorted(contrasts[subjects[place]])), []).append(subjects[place])
    counts = _held_out({stratum: len(strata[stratum]) for stratum in sorted(strata)}, test_fraction)
    tested = {subject for stratum, count in counts.items() for subject in strata[stratum][:count]}
    return (
        tuple(case for case in cases if case.subject not in tested),
        tuple(case for case in cases if case.subject in tested),
    )


def _held_out(sizes: Mapping[Stratum, int], test_fraction: float) -> dict[Stratum, int]:
    """How many subjects of each stratum test: of all ways near their shares, the best by `badness`."""
    subjects = sum(sizes.values())
    wanted = min(max(1, round(subjects * test_fraction)), subjects - 1)
    exact = [wanted * size / subjects for size in sizes.values()]
    near = [
        range(max(0, int(share) - 1), min(size, int(share) + 2) + 1)
        for share, size in zip(exact, sizes.values(), strict=True)
    ]

    def badness(counts: tuple[int, ...]) -> tuple[bool, int, int, float]:
        one_sided = sum(_one_sided(contrast, sizes, counts) for contrast in {c for stratum in sizes for c in stratum})
        away = sum((count - share) ** 2 for count, share in zip(counts, exact, strict=True))
        return not 0 < sum(counts) < subjects, one_sided, abs(sum(counts) - wanted), away

    best: tuple[int, ...] = min(product(*near), key=badness)
    return dict(zip(sizes, best, strict=True))


def _one_sided(contrast: str, sizes: Mapping[Stratum, int], counts: Sequence[int]) -> bool:
    """Whether a contrast that several subjects have is left without one to test on, or without one to train on."""
    having = [
        (size, count) for (stratum, size), count in zip(sizes.items(), counts, strict=True) if contrast in stratum
    ]
    all_of_it, tested = (sum(numbers) for numbers in zip(*having, strict=True))
    return all_of_it >= LEAST_SUBJECTS and tested in (0, all_of_it)

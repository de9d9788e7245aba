"""Dividing into training and test: no subject in both, the same for the same seed, whatever order files come in."""

import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from client.data.inventory import Case
from client.data.split import split

fractions = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**31 - 1)


def cases_of(subjects: int, contrasts: int = 1) -> list[Case]:
    """So many subjects with so many images each."""
    return [
        Case(f"sub-{i:03d}", contrast, Path(f"{i}{contrast}"), Path("label"))
        for i in range(subjects)
        for contrast in ("FLAIR", "T2w")[:contrasts]
    ]


@given(st.integers(2, 60), st.integers(1, 2), fractions, seeds)
def test_every_image_trains_or_tests_and_no_subject_does_both(n: int, contrasts: int, share: float, seed: int) -> None:
    cases = cases_of(n, contrasts)
    training, test = split("milan", cases, share, seed)
    assert sorted(training + test) == cases
    assert not {case.subject for case in training} & {case.subject for case in test}


@given(st.integers(2, 60), fractions, seeds)
def test_the_share_of_test_subjects_is_as_asked_and_neither_side_is_empty(n: int, share: float, seed: int) -> None:
    training, test = split("milan", cases_of(n), share, seed)
    assert min(len(training), len(test)) >= 1
    assert math.isclose(len(test), n * share, abs_tol=0.5) or min(len(training), len(test)) == 1


@given(st.integers(2, 60), st.integers(1, 2), fractions, seeds)
def test_the_same_seed_divides_alike_in_whatever_order_files_come(
    n: int, contrasts: int, share: float, seed: int
) -> None:
    cases = cases_of(n, contrasts)
    first, again = split("milan", cases, share, seed), split("milan", cases[::-1], share, seed)
    assert [sorted(side) for side in again] == [list(side) for side in first]


def test_the_division_hangs_on_seed_and_center_only() -> None:
    cases = cases_of(40)
    tested = {(center, seed): split(center, cases, 0.2, seed)[1] for center in ("milan", "rennes") for seed in range(5)}
    assert len(set(tested.values())) == 10
    with_t2w = split("milan", cases_of(40, 2), 0.2, 0)[1]
    assert {case.subject for case in with_t2w} == {case.subject for case in tested["milan", 0]}


def test_a_single_subject_trains_and_of_none_nothing_is_divided() -> None:
    alone = tuple(cases_of(1, 2))
    assert split("milan", alone, 0.5, 0) == (alone, ())
    assert split("milan", [], 0.5, 0) == ((), ())


def mixed(flair: int, t2w: int, both: int) -> list[Case]:
    """So many subjects who were imaged in FLAIR, in T2w, and in both."""
    kinds = [("FLAIR",)] * flair + [("T2w",)] * t2w + [("FLAIR", "T2w")] * both
    return [
        Case(f"sub-{i:03d}", contrast, Path(f"{i}{contrast}"), Path("label"))
        for i, kind in enumerate(kinds)
        for contrast in kind
    ]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 6), fractions, seeds)
def test_each_contrast_that_several_subjects_have_is_trained_on_and_tested(
    flair: int, t2w: int, both: int, share: float, seed: int
) -> None:
    cases = mixed(flair, t2w, both)
    training, test = split("karo", cases, share, seed)
    assert sorted(training + test) == cases
    assert not {case.subject for case in training} & {case.subject for case in test}
    for contrast, having in (("FLAIR", flair + both), ("T2w", t2w + both)):
        sides = [{case.subject for case in side if case.contrast == contrast} for side in (training, test)]
        if having >= 2:
            assert all(sides), f"{contrast} is on one side only"


@given(st.integers(2, 30), st.integers(2, 30), seeds)
def test_each_contrast_has_its_share_of_the_test_subjects(flair: int, t2w: int, seed: int) -> None:
    _, test = split("karo", mixed(flair, t2w, 0), 0.2, seed)
    for contrast, having in (("FLAIR", flair), ("T2w", t2w)):
        assert abs(sum(case.contrast == contrast for case in test) - 0.2 * having) <= 1.5

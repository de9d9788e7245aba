"""Paired statistics: values worked out by hand, another implementation's, and laws that must hold."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scenarios.report.statistics import compare_pairs, holm, least_pairs, sign_flip_p, smallest_p, summarize

values = st.lists(st.floats(-1, 1).map(lambda v: round(v, 3)), min_size=2, max_size=8)


def test_three_pairs_worked_out_by_hand() -> None:
    paired = compare_pairs([0.60, 0.62, 0.64], [0.50, 0.50, 0.50])
    assert paired.n == 3
    assert paired.differences == pytest.approx((0.10, 0.12, 0.14))
    assert paired.mean == pytest.approx(0.12)
    assert paired.deviation == pytest.approx(0.02)
    assert paired.effect == pytest.approx(6.0)
    # t of 2 degrees of freedom at 97.5 % is 4.30265; 0.02 / sqrt(3) = 0.011547.
    assert paired.interval == pytest.approx((0.12 - 0.049684, 0.12 + 0.049684), abs=1e-5)
    # Of the 8 ways to give signs, two (all plus, all minus) lie as far out.
    assert paired.p == 0.25
    assert (paired.wins, paired.losses) == (3, 0)


def test_one_pair_has_a_difference_and_nothing_else() -> None:
    paired = compare_pairs([0.6], [0.5])
    assert paired.mean == pytest.approx(0.1)
    assert (paired.deviation, paired.interval, paired.effect, paired.p) == (None, None, None, None)


def test_equal_runs_do_not_differ() -> None:
    paired = compare_pairs([0.5, 0.6], [0.5, 0.6])
    assert (paired.mean, paired.p, paired.effect, paired.wins, paired.losses) == (0.0, 1.0, None, 0, 0)


def test_pairs_need_partners() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        compare_pairs([0.5, 0.6], [0.5])
    with pytest.raises(ValueError, match="no pairs"):
        compare_pairs([], [])


@given(values)
def test_p_counts_the_signs_that_lie_as_far_out(differences: list[float]) -> None:
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    observed = abs(sum(differences))
    expected = sum(abs(one) >= observed - 1e-9 for one in sums) / len(sums)
    assert sign_flip_p(differences) == pytest.approx(expected)


@given(values)
def test_exchanging_the_methods_changes_signs_alone(differences: list[float]) -> None:
    there, back = (
        compare_pairs(differences, [0.0] * len(differences)),
        compare_pairs([0.0] * len(differences), differences),
    )
    assert there.mean == pytest.approx(-back.mean)
    assert there.p == pytest.approx(back.p)
    assert (there.wins, there.losses) == (back.losses, back.wins)


@given(values)
def test_the_interval_is_that_of_a_one_sample_t_test(differences: list[float]) -> None:
    paired = compare_pairs(differences, [0.0] * len(differences))
    assert paired.interval is not None
    if paired.deviation is not None and paired.deviation > 1e-6:
        other = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
        assert paired.interval == pytest.approx((other.low, other.high))


def test_many_pairs_are_tested_by_signs_drawn_at_random_and_always_the_same() -> None:
    differences = np.random.default_rng(3).normal(0.2, 1, size=30)
    p = sign_flip_p(differences)
    assert p == sign_flip_p(differences)
    # With thirty pairs the t test and the sign-flip test nearly agree.
    assert p == pytest.approx(stats.ttest_1samp(differences, 0.0).pvalue, abs=0.02)


@pytest.mark.parametrize(("n", "least"), [(1, 1.0), (2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_few_pairs_can_only_give_a_large_p(n: int, least: float) -> None:
    assert smallest_p(n) == least
    if n > 1:
        assert sign_flip_p([0.1 + 0.01 * i for i in range(n)]) == least


def test_six_pairs_are_the_least_that_can_fall_below_five_percent() -> None:
    assert least_pairs() == 6


def test_holm_worked_out_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, and 0.04 raised to 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_and_never_exceeds_bonferroni(ps: list[float]) -> None:
    for p, corrected in zip(ps, holm(ps), strict=True):
        assert p <= corrected <= min(1.0, max(len(ps) * q for q in ps if q <= p) + 1e-12)


def test_spread_of_values() -> None:
    found = summarize([0.2, 0.4, 0.6])
    assert found is not None
    assert (found.n, found.mean, found.deviation) == (3, pytest.approx(0.4), pytest.approx(0.2))
    assert (found.least, found.most) == (0.2, 0.6)
    alone = summarize([0.5])
    assert alone is not None and alone.deviation is None
    assert summarize([]) is None

"""Means with intervals over patients: whose images are drawn together, and where there is no interval."""

from itertools import product

import numpy as np
import pytest

from scenarios.inference.bootstrap import estimate


def test_the_mean_is_over_images_and_its_interval_over_patients() -> None:
    """Of three patients each alone is all that is drawn once in 27 times, more than 2.5 %: the interval is their range.

    Were images drawn one by one, 0.1 alone would come once in 256 times, and the interval would begin above it.
    """
    found = estimate([("a", 0.1), ("b", 0.3), ("b", 0.5), ("c", 0.8)])
    assert found.mean == pytest.approx(1.7 / 4)
    assert found.interval == (pytest.approx(0.1), pytest.approx(0.8))


def test_the_interval_is_that_of_all_that_could_be_drawn() -> None:
    """Four patients, of one to three images: 256 draws, all tried here."""
    of_patient = {"a": [0.1, 0.2, 0.3], "b": [0.9], "c": [0.5, 0.6], "d": [0.7]}
    means = [np.mean([value for name in drawn for value in of_patient[name]]) for drawn in product("abcd", repeat=4)]
    expected = np.percentile(means, (2.5, 97.5))
    found = estimate((name, value) for name, values in of_patient.items() for value in values).interval
    assert found == (pytest.approx(expected[0], abs=0.01), pytest.approx(expected[1], abs=0.01))


def test_of_many_patients_it_is_about_student_s() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 200)
    found = estimate(enumerate(map(float, values)))
    half = 1.96 * values.std() / 200**0.5
    assert found.interval is not None
    assert np.subtract(found.interval, values.mean()) == pytest.approx([-half, half], rel=0.1)


def test_the_same_scores_give_the_same_interval() -> None:
    values = [(str(i), i / 10) for i in range(10)]
    assert estimate(values) == estimate(values)


@pytest.mark.parametrize(
    "values",
    [
        [("a", 0.2)],
        [("a", 0.2), ("a", 0.4), ("a", 0.9)],
        [("a", 0.2), ("b", 0.4), ("b", 0.9)],
        [("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 0.0)],
    ],
    ids=["one patient", "one patient's images", "two patients", "all alike"],
)
def test_where_nothing_can_be_drawn_there_is_no_interval(values: list[tuple[str, float]]) -> None:
    found = estimate(values)
    assert found.interval is None
    assert found.mean == pytest.approx(np.mean([value for _, value in values]))


def test_a_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        estimate([])

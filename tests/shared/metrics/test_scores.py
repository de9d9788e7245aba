"""Mean scores: a mean over too few subjects would be somebody's own score."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.metrics.scores import mean_score, mean_scores
from tests.support.scored import SHARES, case_score


class Case(BaseModel):
    subject: str
    contrast: str = "FLAIR"
    dice: float = 0.5
    hd95: float | None = None
    lesions: int = 3


def test_every_score_is_averaged_over_images_and_nothing_else_is_reported() -> None:
    cases = [Case(subject="a", dice=0.2), Case(subject="b", dice=0.4), Case(subject="b", dice=0.9)]
    mean = mean_scores(cases)
    assert (mean.subjects, mean.images) == (2, 3)
    assert mean.means == {"dice": pytest.approx(0.5)}


def test_a_score_that_one_subject_alone_has_is_left_out() -> None:
    cases = [Case(subject="a", hd95=7.0), Case(subject="a", hd95=9.0), Case(subject="b")]
    assert set(mean_scores(cases).means) == {"dice"}
    assert mean_scores(cases, least=1).means["hd95"] == 8.0


def test_the_images_of_one_subject_are_one_subject() -> None:
    assert mean_scores([Case(subject="a"), Case(subject="a", dice=0.1)]).means == {}
    assert mean_scores([]).means == {}


def test_scores_are_told_to_a_thousandth_and_volumes_and_distances_to_a_tenth() -> None:
    """So that the voxels of a lesion cannot be counted from them."""
    exact = case_score(**dict.fromkeys(SHARES, 2 / 3), volume_difference_ml=12.3456, hd95_mm=7.0000001)
    told = exact.rounded().model_dump()
    assert {told.pop("volume_difference_ml"), told.pop("hd95_mm")} == {12.3, 7.0}
    assert told == dict.fromkeys(SHARES, 0.667)


def test_means_are_rounded_as_their_scores_are() -> None:
    cases = [case_score("a", dice=0.667, hd95_mm=7.0), case_score("b", dice=0.667), case_score("c", dice=0.666)]
    means = mean_scores(cases).means
    assert (means["dice"], means["hd95_mm"], means["volume_difference_ml"]) == (0.667, 4.3, 3.0)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=40), st.randoms())
def test_a_mean_is_the_same_number_in_whatever_order_and_by_whomever(thousandths: list[int], random: Random) -> None:
    dice = [n / 1000 for n in thousandths]
    mean = mean_score("dice", dice)
    assert mean == mean_scores([Case(subject=str(i), dice=d) for i, d in enumerate(dice)]).means["dice"]
    random.shuffle(dice)
    assert mean == mean_score("dice", dice) == round(mean, 3)

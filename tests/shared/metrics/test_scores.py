"""Mean scores: a mean over too few subjects would be somebody's own score."""

import pytest
from pydantic import BaseModel

from shared.metrics.scores import mean_scores


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

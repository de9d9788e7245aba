"""Visits that fail: what ends a course, and what only leaves a cell empty."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from flwr.app import Error, RecordDict

from shared.errors import CenterError
from shared.wire.messages import (
    EvaluateRequest,
    TrainRequest,
)
from shared.wire.records import pack_header, pack_refusal
from tests.support.journeys import CENTERS, NODES, Journey, Setup, hospitals, scored, trained
from tests.support.scored import case_score


def test_an_importance_that_nobody_can_have_ends_the_course(journey: Setup) -> None:
    def negative(request: TrainRequest) -> RecordDict:
        less = {name: value * 0 - 2 for name, value in request.weights.items()}
        return important(replace(request, state={"importance": less}))

    important = partial(trained, parts=("importance",))
    course = journey(hospitals(train=at(1, "amu", negative, important)), method="ewc")
    assert "center amu sent importance of the parameters with negative values" in failure(
        course, 1, ("train", NODES["amu"])
    )


def failure(course: Journey, finished: int, last: tuple[str, int]) -> str:
    """How a course ends that may not go on: nothing is sent after what failed."""
    with pytest.raises(CenterError) as caught:
        course.start()
    assert len(course.records) == finished
    assert course.visits[-1] == last
    assert len(course.visits) == 4 * finished + (1 if last[0] == "train" else 4)
    return str(caught.value)


@pytest.mark.parametrize("code", [0, 2, 5, 8])
def test_a_center_that_fails_in_training_ends_the_course(journey: Setup, code: int) -> None:
    course = journey(errors={(NODES["amu"], "train", 0): Error(code, "Traceback\nOSError: disk full")})
    assert "center amu failed at train: OSError: disk full" in failure(course, 1, ("train", NODES["amu"]))


def test_a_center_that_fails_in_testing_leaves_its_cell_empty(journey: Setup) -> None:
    course = journey(errors={(NODES["amu"], "evaluate", 1): Error(8, "killed")})
    course.start()
    assert [set(record.row) for record in course.records] == [set(CENTERS), set(CENTERS) - {"amu"}, set(CENTERS)]
    assert "killed" in course.records[1].missing["amu"]
    assert not course.records[2].missing


def test_a_sampled_test_that_fails_is_missing_and_the_rest_is_not_asked_for(journey: Setup) -> None:
    course = journey(tested_others=0, errors={(NODES["amu"], "evaluate", 0): Error(2, "the images have gone")})
    with pytest.raises(CenterError, match="no center could test the model"):
        course.start()
    course = journey(tested_others=1, errors={(NODES["amu"], "evaluate", 0): Error(2, "the images have gone")})
    course.start()
    failed = [record for record in course.records if record.missing]
    assert [set(record.missing) for record in failed] == [{"amu"}]
    assert [len(record.asked) for record in course.records] == [2, 2, 3]


def test_a_center_without_a_test_subject_is_not_asked_and_its_cells_are_missing_with_the_reason(
    journey: Setup,
) -> None:
    course = journey()
    course.untested["amu"] = "it has 1 usable subject"
    course.start()
    assert ("evaluate", NODES["amu"]) not in course.visits and ("train", NODES["amu"]) in course.visits
    for record in course.records:
        assert set(record.row) == set(CENTERS) - {"amu"}
        assert record.missing == {"amu": "has no subject to test on (it has 1 usable subject)"}


def test_a_model_that_nobody_could_test_ends_the_course(journey: Setup) -> None:
    course = journey(errors={(node, "evaluate", 1): Error(8, "killed") for node in NODES.values()})
    said = failure(course, 1, ("evaluate", NODES["milan"]))
    assert all(f"center {center}" in said for center in CENTERS)


def at(stage: int, center: str, instead: Callable[[Any], RecordDict], otherwise: Callable[[Any], RecordDict]) -> Any:
    """A handler that answers otherwise than its peers at one stage and center."""

    def answer(request: TrainRequest | EvaluateRequest) -> RecordDict:
        here = request.task.stage == stage and request.task.center == center
        return instead(request) if here else otherwise(request)

    return answer


def test_a_center_that_refuses_to_train_ends_the_course_with_its_reason(journey: Setup) -> None:
    refuses = at(1, "amu", lambda request: pack_refusal("no subject has consented"), trained)
    said = failure(journey(hospitals(train=refuses)), 1, ("train", NODES["amu"]))
    assert "center amu did not train: no subject has consented" in said


def test_a_center_that_refuses_to_test_is_missing_with_its_reason(journey: Setup) -> None:
    course = journey(hospitals(test=at(1, "ucsf", lambda request: pack_refusal("the images have gone"), scored)))
    course.start()
    assert "the images have gone" in course.records[1].missing["ucsf"]
    assert set(course.records[1].row) == set(CENTERS) - {"ucsf"}


def test_a_test_that_answers_for_another_center_is_missing(journey: Setup) -> None:
    def as_milan(request: EvaluateRequest) -> RecordDict:
        other = request.task.model_copy(update={"center": "milan"})
        return scored(EvaluateRequest(other, request.weights))

    course = journey(hospitals(test=at(0, "amu", as_milan, scored)))
    course.start()
    assert set(course.records[0].missing) == {"amu"}


ANOTHER_HEADER = pack_header(case_score())


@pytest.mark.parametrize("garbled", [RecordDict(), ANOTHER_HEADER], ids=["empty", "another header"])
def test_an_answer_that_cannot_be_read_is_named_by_its_center(journey: Setup, garbled: RecordDict) -> None:
    train = at(1, "amu", lambda request: garbled, trained)
    assert "center amu" in failure(journey(hospitals(train=train)), 1, ("train", NODES["amu"]))
    course = journey(hospitals(test=at(1, "amu", lambda request: garbled, scored)))
    course.start()
    assert set(course.records[1].missing) == {"amu"}


def test_a_model_that_diverged_is_refused_by_its_center_s_name(journey: Setup) -> None:
    def diverged(request: TrainRequest) -> RecordDict:
        broken = {name: value * float("nan") for name, value in request.weights.items()}
        return trained(TrainRequest(request.task, broken, request.memory))

    said = failure(journey(hospitals(train=at(2, "milan", diverged, trained))), 2, ("train", NODES["milan"]))
    assert "center milan" in said


def test_exemplars_of_another_center_are_refused(journey: Setup) -> None:
    def foreign(request: TrainRequest) -> RecordDict:
        other = request.task.model_copy(update={"center": "ucsf"})
        return trained(TrainRequest(other, request.weights, request.memory))

    said = failure(journey(hospitals(train=at(1, "amu", foreign, trained))), 1, ("train", NODES["amu"]))
    assert "center amu sent exemplars of ucsf: refused" in said


def test_more_exemplars_than_subjects_were_asked_for_are_refused(journey: Setup) -> None:
    said = failure(journey(memory_subjects=1), 0, ("train", NODES["ucsf"]))
    assert "center ucsf sent 2 exemplars" in said

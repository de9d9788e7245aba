"""A request is the same again, though exemplars were dropped from its memory; any other change makes it another."""

from dataclasses import replace
from uuid import uuid4

import pytest
import torch

from shared.replay.contribution import Contribution, PlainContribution
from shared.wire.headers import EvaluateTask, LogHead, TrainTask
from shared.wire.messages import EvaluateRequest, TrainRequest
from shared.wire.request_digest import Asked, request_digest
from tests.support.journals import crop
from tests.support.sealed import contribution

TASK = TrainTask(run=uuid4().hex, stage=2, center="milan", contribute=True)
WEIGHTS = {"w": torch.arange(3.0)}
PLAIN = (PlainContribution((crop("ucsf"),)), PlainContribution((crop("amu"),)))


def again(later: TrainRequest | EvaluateRequest, first: TrainRequest | EvaluateRequest) -> bool:
    known = Asked.of(first)
    return Asked.of(later).again(known.task, known.crops)


@pytest.mark.parametrize("memory", [PLAIN, PLAIN[:1], PLAIN[1:], ()], ids=["all", "one", "the other", "none"])
def test_a_request_is_the_same_with_fewer_exemplars(memory: tuple[Contribution, ...]) -> None:
    first = TrainRequest(TASK, WEIGHTS, PLAIN)
    assert again(replace(first, memory=memory), first)
    assert memory == PLAIN or not again(first, replace(first, memory=memory)), "none comes back"


def test_a_sealed_contribution_is_the_same_without_a_subject() -> None:
    whole = contribution()
    first = TrainRequest(TASK, WEIGHTS, (whole,))
    fewer = replace(first, memory=(whole.without(whole.subjects[1:2]),))
    assert again(fewer, first) and not again(first, fewer)
    assert request_digest(first) == Asked.of(first).request != Asked.of(fewer).request


@pytest.mark.parametrize(
    "other",
    [
        TrainRequest(TASK, {"w": torch.tensor([0.0, 1.0, 2.5])}, PLAIN),
        TrainRequest(TASK.model_copy(update={"budget": 5}), WEIGHTS, PLAIN),
        TrainRequest(TASK, WEIGHTS, PLAIN, {"importance": WEIGHTS}),
        TrainRequest(TASK, WEIGHTS, PLAIN[::-1]),
        TrainRequest(TASK, WEIGHTS, (*PLAIN, PlainContribution((crop("milan"),)))),
    ],
    ids=["model", "task", "state", "order", "more"],
)
def test_any_other_request_is_not_the_same(other: TrainRequest) -> None:
    assert not again(other, TrainRequest(TASK, WEIGHTS, PLAIN))


def test_a_test_is_the_same_for_the_same_model_alone() -> None:
    first = EvaluateRequest(EvaluateTask(run=TASK.run, stage=0, center="milan"), WEIGHTS)
    told = first.task.model_copy(update={"dropped": ("0123456789abcdef",), "head": LogHead(count=7, hash="a" * 64)})
    assert again(replace(first, task=told), first)
    assert not again(replace(first, weights={"w": torch.ones(3)}), first)

"""A train message's way through the hospital is straight enough to be followed by a reader."""

from typing import Any
from uuid import uuid4

import pytest

from shared.wire.headers import Question
from shared.wire.records import pack_question
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import ask, train_request
from tests.support.message_tracer import way_of

TASKS: dict[str, dict[str, Any]] = {"grid": {}, "deployed": {"center": "grace", "order": ("grace", "mercy")}}

LONGEST = {"grid": (37, 11), "deployed": (50, 19)}
"""Stays and returns that the way takes; a deployed hospital asks its record of tasks before and after the training.

Where the way gets longer, something was carved at the wrong joint."""


@pytest.mark.parametrize(("where", "task"), TASKS.items())
def test_the_way_of_a_train_message(where: str, task: dict[str, Any], request: pytest.FixtureRequest) -> None:
    hospital: FakeGrid = request.getfixturevalue(where)
    node = next(iter(hospital.nodes))
    ask(hospital, "train", train_request(hospital.run_config, **task), node)  # what is done once a process
    run = uuid4().hex
    ask(hospital, "query.roll_call", pack_question(Question(runs=(run,))), node)
    message = train_request(hospital.run_config, run=run, **task)
    way = way_of(lambda: ask(hospital, "train", message, node))
    print(way)
    stays, returns = LONGEST[where]
    assert len(way.stays) <= stays and way.returns <= returns, str(way)

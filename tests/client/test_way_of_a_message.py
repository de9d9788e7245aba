"""A train message's way through the hospital is straight enough to be followed by a reader."""

from uuid import uuid4

import pytest
from flwr.app import RecordDict

from shared.wire.headers import Question
from shared.wire.records import pack_question
from tests.support.approved import Deployed
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import ask, train_request
from tests.support.message_tracer import way_of

LONGEST = {"grid": (42, 12), "deployed": (59, 22)}
"""Stays and returns that the way takes; a deployed hospital derives the task from what it approved, checks the model's
signature and asks its record of tasks, and reads policy and withdrawals again before anything leaves. What a stage does
is planned in one module, and its steps are taken in another, by the device.

Where the way gets longer, something was carved at the wrong joint."""


@pytest.mark.parametrize("where", LONGEST)
def test_the_way_of_a_train_message(where: str, request: pytest.FixtureRequest) -> None:
    hospital: FakeGrid = request.getfixturevalue(where)
    node = next(iter(hospital.nodes))

    def messages(title: str) -> tuple[RecordDict, RecordDict]:
        """A roll call and a training of a run of its own."""
        if isinstance(hospital, Deployed):
            return hospital.question(title), hospital.training(title)
        run = uuid4().hex
        return pack_question(Question(runs=(run,))), train_request(hospital.run_config, run=run)

    ask(hospital, "train", messages("first")[1], node)  # what is done once a process
    question, message = messages("second")
    ask(hospital, "query.roll_call", question, node)
    way = way_of(lambda: ask(hospital, "train", message, node))
    print(way)
    stays, returns = LONGEST[where]
    assert len(way.stays) <= stays and way.returns <= returns, str(way)

"""What a hospital that joined makes of messages in which one thing is not as it should be."""

import pytest
from flwr.common.serde import recorddict_to_proto

from tests.redteam.course import At, HonestCourse, Moment, Sent, Verdict
from tests.redteam.hospitals import smoke_config
from tests.redteam.variants import COURSE, FIRST, SECOND, TEST, lies
from tests.support.joined import Study

REFUSED = {
    "train: another run's name": "was replayed or mixed up",
    "train: an earlier stage": "was not visited in this run or came before",
    "train: another center": "center grace was asked for at the node of mercy",
    "train: another order": "was not visited in this run or came before",
    "train: keys of the coordinator's": "the key of elsewhere was swapped",
    "train: importance beside the model": "which is not used here",
    "train: the memory twice": "was not visited in this run or came before",
    "train: a changed crop": "was changed on its way",
    "train: crops of another run": "was replayed or mixed up",
    "train: crops of another stage": "was replayed or mixed up",
    "train: again under another run's name": "was replayed or mixed up",
    "test: another center": "center elsewhere was asked for at the node of mercy",
}
"""Lies that a hospital refuses, each with words of the reason."""

STILL_OBEYED = frozenset(
    {
        "train: one step",
        "train: more steps",
        "train: epochs in place of steps",
        "train: another seed",
        "train: a finer spacing",
        "train: more features",
        "train: another norm",
        "train: single patches",
        "train: more patches of a volume",
        "train: a larger patch",
        "train: larger crops",
        "train: crops of fewer subjects",
        "train: crops chosen by the model",
        "train: another division",
        "train: another learning rate",
        "train: another rate of Muon",
        "train: more weight decay",
        "train: another optimiser",
        "train: another schedule",
        "train: another loss",
        "train: Dice over the batch",
        "train: lesions in every patch",
        "train: no seals",
        "train: another stage",
        "train: a part of its training",
        "train: a later round",
        "train: nobody after it",
        "train: no contribution",
        "train: a larger budget",
        "train: a smaller budget",
        "train: keys left out",
        "train: a crafted model",
        "train: the model of an earlier stage",
        "train: a model of another run",
        "train: an averaged model",
        "train: a model with one bit flipped",
        "train: no memory",
        "train: a crop left out",
        "train: no replay",
        "train: replay as the paper",
        "train: another method",
        "train: the memory in another order",
        "test: another division",
        "test: a larger test set",
        "test: a finer spacing",
        "test: a model that finds nothing",
        "test: a crafted model",
        "test: the model of an earlier stage",
        "test: a model of another run",
        "test: an averaged model",
        "test: a model with one bit flipped",
        "test: the model of a later stage",
        "later test: the model of an earlier stage",
        "train: again with a crafted model",
        "train: again with an earlier model",
        "train: again as another stage",
        "train: again without the memory",
        "test: again with a crafted model",
        "test: again with the model of an earlier stage",
        "test: again with a model of another run",
        "test: again with an averaged model",
        "test: again with a model with one bit flipped",
    }
)
"""Lies that a hospital does as it is told. None should be left."""


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> HonestCourse:
    return HonestCourse.run(Study.made(tmp_path_factory.mktemp("course"), smoke_config()), **COURSE)


def honestly(moment: Moment) -> Sent:
    return moment.honest


@pytest.mark.parametrize("after_honest", [False, True])
@pytest.mark.parametrize("at", [FIRST, SECOND, TEST], ids=str)
def test_the_honest_message_is_answered_as_in_the_course(course: HonestCourse, at: At, after_honest: bool) -> None:
    """So that a lie whose reply is the honest one, to the bit, changed nothing."""
    assert course.told(at, honestly, after_honest) == Verdict("ignored")


def test_every_lie_says_something_else_than_the_honest_message(course: HonestCourse) -> None:
    told = lies(course)
    assert len(told) > 80
    for lie in told.values():
        moment = course.moments[lie.at]
        sent = lie.tell(moment)
        same = recorddict_to_proto(sent.content) == recorddict_to_proto(moment.honest.content)
        assert not same or sent.run_config != moment.run_config, lie.name


@pytest.mark.parametrize("name", REFUSED)
def test_a_lie_is_refused_with_its_reason(course: HonestCourse, name: str) -> None:
    lie = lies(course)[name]
    verdict = course.told(lie.at, lie.tell, lie.after_honest)
    assert verdict.outcome == "refused" and REFUSED[name] in verdict.reason, verdict


@pytest.mark.slow
def test_no_lie_is_obeyed_but_those_that_are_known(course: HonestCourse) -> None:
    told = {lie.name: course.told(lie.at, lie.tell, lie.after_honest) for lie in lies(course).values()}
    assert {name for name, verdict in told.items() if verdict.outcome == "obeyed"} == STILL_OBEYED
    assert {name for name, verdict in told.items() if verdict.outcome == "refused"} == set(REFUSED)

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
        "train: one step                               o",
        "train: more steps                             o",
        "train: epochs in place of steps               o",
        "train: another seed                           o",
        "train: a finer spacing                        o",
        "train: more features                          o",
        "train: another norm                           o",
        "train: single patches                         o",
        "train: more patches of a volume               o",
        "train: a larger patch                         o",
        "train: larger crops                           o",
        "train: crops of fewer subjects                o",
        "train: crops chosen by the model              o",
        "train: another division                       o",
        "train: another learning rate                  o",
        "train: another rate of Muon                   o",
        "train: more weight decay                      o",
        "train: another optimiser                      o",
        "train: another schedule                       o",
        "train: another loss                           o",
        "train: Dice over the batch                    o",
        "train: lesions in every patch                 o",
        "train: no seals                               o",
        "train: another stage                          o",
        "train: a part of its training                 o",
        "train: a later round                          o",
        "train: nobody after it                        o",
        "train: no contribution                        o",
        "train: a larger budget                        o",
        "train: a smaller budget                       o",
        "train: keys left out                          o",
        "train: a crafted model                        o",
        "train: the model of an earlier stage          o",
        "train: a model of another run                 o",
        "train: an averaged model                      o",
        "train: a model with one bit flipped           o",
        "train: no memory                              o",
        "train: a crop left out                        o",
        "train: no replay                              o",
        "train: replay as the paper                    o",
        "train: another method                         o",
        "train: the memory in another order            o",
        "test: another division                        o",
        "test: a larger test set                       o",
        "test: a finer spacing                         o",
        "test: a model that finds nothing              o",
        "test: a crafted model                         o",
        "test: the model of an earlier stage           o",
        "test: a model of another run                  o",
        "test: an averaged model                       o",
        "test: a model with one bit flipped            o",
        "test: the model of a later stage              o",
        "later test: the model of an earlier stage     o",
        "train: again with a crafted model             o",
        "train: again with an earlier model            o",
        "train: again as another stage                 o",
        "train: again without the memory               o",
        "test: again with a crafted model              o",
        "test: again with the model of an earlier stage",
        "test: again with a model of another run       o",
        "test: again with an averaged model            o",
        "test: again with a model with one bit flipped o",
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

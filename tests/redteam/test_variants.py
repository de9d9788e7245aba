"""What a hospital that joined makes of messages in which one thing is not as it should be."""

import pytest
from flwr.common.serde import recorddict_to_proto

from tests.redteam.course import At, HonestCourse, Moment, Sent, Verdict
from tests.redteam.hospitals import smoke_config
from tests.redteam.variants import COURSE, FIRST, SECOND, TEST, lies
from tests.support.joined import Study

REFUSED: dict[str, tuple[str, ...]] = {
    "of shape (16, 1, 3, 3, 3) instead of": ("train: more features",),
    "is none of the 1 that protocol": (
        "train: another division",
        "train: another run's name",
        "test: another run's name",
        "test: another division",
        "test: a larger test set",
        "train: again under another run's name",
    ),
    "which the approved protocol": (
        "train: another stage",
        "train: an earlier stage",
        "train: a part of its training",
        "train: a later round",
        "train: several centers at once",
        "train: another order",
        "train: an order with a stranger",
        "train: nobody after it",
        "train: no contribution",
        "train: a larger budget",
        "train: a smaller budget",
        "train: keys of the coordinator's",
        "train: keys left out",
        "train: again as another stage",
    ),
    "center grace was asked for at the node of mercy": ("train: another center",),
    "was changed since it was signed": (
        "train: a crafted model",
        "train: the model of an earlier stage",
        "train: a model of another run",
        "train: an averaged model",
        "train: a model with one bit flipped",
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
        "test: again with a crafted model",
        "test: again with the model of an earlier stage",
        "test: again with a model of another run",
        "test: again with an averaged model",
        "test: again with a model with one bit flipped",
    ),
    "which is not used here": ("train: importance beside the model",),
    "was not visited in this run or came before": ("train: the memory twice",),
    "was changed on its way": ("train: a changed crop",),
    "was replayed or mixed up": (
        "train: crops of another run",
        "train: crops of another stage",
    ),
    "has no entry 1 as this run knows it": (
        "train: an end that its audit log does not have",
        "test: an end that its audit log does not have",
    ),
    "is signed as that of grace": ("test: another stage",),
    "center elsewhere was asked for at the node of mercy": ("test: another center",),
    "in another order than that of the visits": ("train: the memory in another order",),
}
"""Lies that a hospital refuses, by words of the reason."""

WITHHELD = frozenset({"train: no memory", "train: a crop left out"})
"""What a hospital cannot tell from a withdrawal, or from a date that has passed: less comes, and nothing else."""


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


REASONS = {name: words for words, names in REFUSED.items() for name in names}


@pytest.mark.parametrize("name", [names[0] for names in REFUSED.values()])
def test_a_lie_is_refused_with_its_reason(course: HonestCourse, name: str) -> None:
    lie = lies(course)[name]
    verdict = course.told(lie.at, lie.tell, lie.after_honest)
    assert verdict.outcome == "refused" and REASONS[name] in verdict.reason, verdict


@pytest.mark.slow
def test_every_lie_is_refused_or_ignored_but_what_only_withholds(course: HonestCourse) -> None:
    told = {lie.name: course.told(lie.at, lie.tell, lie.after_honest) for lie in lies(course).values()}
    assert {name for name, verdict in told.items() if verdict.outcome == "obeyed"} == WITHHELD
    assert {name for name, verdict in told.items() if verdict.outcome == "refused"} == REASONS.keys()
    assert all(words in told[name].reason for name, words in REASONS.items())

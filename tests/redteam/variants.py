"""What a lying coordinator could ask of a hospital that joined: each of these changes one thing in an honest message.

They are data, so that any hospital can be held against all of them (`HonestCourse.told`). None knows how a refusal is
worded. A lie in the run-config is well answered by ignoring it, one in a task or a model by refusing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch

from shared.clock import utc_now
from shared.config.settings import Settings
from shared.model.network import initial_weights
from shared.model.weights import Weights
from shared.replay.contribution import Contribution
from shared.replay.manifest import SealedContribution, Visit
from shared.replay.sealing import Terms, seal
from shared.trust.identity import Keys
from shared.wire.headers import Header, LogHead
from shared.wire.messages import EvaluateRequest, TrainRequest, pack_evaluate_request, pack_train_request
from tests.redteam.attacks import copying, portions, silent
from tests.redteam.course import At, HonestCourse, Lying, Moment, Sent

H = TypeVar("H", bound=Header)

FIRST = At("train", "grace", 0)
SECOND = At("train", "mercy", 1)
THIRD = At("train", "elsewhere", 2)
TEST = At("evaluate", "mercy", 0)
LATER_TEST = At("evaluate", "mercy", 1)

OTHER_RUN = "1" * 32
STRANGER = "0123456789abcdef"
"""A pseudonym that no subject has."""

COURSE: Mapping[str, Any] = {"features": 8, "memory_megabytes": 0.0066, "sealing": "on"}
"""Changes of the small study's run-config: a network that can be made to copy, and a budget of two crops of three."""


@dataclass(frozen=True)
class Lie:
    """One thing that is not as it should be."""

    name: str
    at: At
    tell: Lying
    after_honest: bool = False
    """Whether the honest message was answered before: a request is repeated with a change."""


# How a message is changed


def setting(**changes: Any) -> Lying:
    """The honest message, sent with another run-config; keywords have _ for -."""
    return lambda moment: Sent(moment.honest.content, moment.run_config | _kebab(changes))


def network(**changes: Any) -> Lying:
    """Another network in the run-config, and a model that fits it."""

    def tell(moment: Moment) -> Sent:
        config = moment.run_config | _kebab(changes)
        weights = initial_weights(Settings.from_run_config(config).network, 0)
        return Sent(pack_train_request(replace(moment.train, weights=weights)), config)

    return tell


def task(**changes: Any) -> Lying:
    """Another task, by its fields."""

    def tell(moment: Moment) -> Sent:
        if moment.at.kind == "train":
            return _train(moment, task=_changed(moment.train.task, changes))
        return _evaluate(moment, task=_changed(moment.evaluate.task, changes))

    return tell


def model(make: Callable[[Moment], Weights]) -> Lying:
    """Another model."""
    return lambda moment: (_train if moment.at.kind == "train" else _evaluate)(moment, weights=make(moment))


def memory(change: Callable[[Moment, tuple[Contribution, ...]], tuple[Contribution, ...]]) -> Lying:
    """Another memory."""
    return lambda moment: _train(moment, memory=change(moment, moment.train.memory))


def both(*tellings: Lying) -> Lying:
    """The content of the first, with the run-config of the second."""
    return lambda moment: Sent(tellings[0](moment).content, tellings[1](moment).run_config)


def _kebab(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in changes.items()}


def _changed(header: H, changes: Mapping[str, Any]) -> H:
    return type(header).model_validate(header.model_dump() | dict(changes))


def _train(moment: Moment, **changes: Any) -> Sent:
    request: TrainRequest = replace(moment.train, **changes)
    return Sent(pack_train_request(request), moment.run_config)


def _evaluate(moment: Moment, **changes: Any) -> Sent:
    request: EvaluateRequest = replace(moment.evaluate, **changes)
    return Sent(pack_evaluate_request(request), moment.run_config)


# Models


def crafted(moment: Moment) -> Weights:
    """One that copies voxels to the bottom of its U-Net."""
    return copying(moment.settings, next(portions(moment.settings.network.features)))


def finds_nothing(moment: Moment) -> Weights:
    return silent(moment.run_config)


def of_stage(stage: int) -> Callable[[Moment], Weights]:
    """The course's own, of a stage (-1: the first one of all)."""
    return lambda moment: moment.weights(stage)


def of_another_run(moment: Moment) -> Weights:
    return initial_weights(moment.settings.network, 12345)


def averaged(moment: Moment) -> Weights:
    """The mean of two models of the course."""
    one, other = moment.weights(-1), moment.weights(0)
    return {name: (value + other[name]) / 2 for name, value in one.items()}


def one_bit_flipped(moment: Moment) -> Weights:
    """Of one slope of a PReLU, in its mantissa: it is off by half at most."""
    sent = moment.train.weights if moment.at.kind == "train" else moment.evaluate.weights
    name = next(name for name in sent if name.endswith("adn.A.weight"))
    changed = sent[name].clone()
    changed.view(torch.int32)[0] ^= 1 << 22
    return sent | {name: changed}


# Memories


def of_another_visit(course: HonestCourse, run: str | None = None, stage: int = 0) -> Lying:
    """The giver's own crops, which it sealed and signed for another run or stage."""

    def change(moment: Moment, given: tuple[Contribution, ...]) -> tuple[Contribution, ...]:
        return (_sealed_anew(course, moment, given[0], run or moment.train.task.run, stage), *given[1:])

    return memory(change)


def _sealed_anew(course: HonestCourse, moment: Moment, given: Contribution, run: str, stage: int) -> SealedContribution:
    keys, receivers = course.study.keys, [c for c in moment.train.task.order if c != given.center]
    terms = Terms(
        Visit(run=run, stage=stage, center=given.center),
        tuple(keys[center].identity for center in receivers),
        utc_now() + timedelta(days=20),
    )
    return seal(course.opened(given), keys[given.center], lambda identity: None, terms)


def without_a_crop(moment: Moment, given: tuple[Contribution, ...]) -> tuple[Contribution, ...]:
    """Of a subject who has not withdrawn."""
    return (given[0].without({given[0].subjects[0]}), *given[1:])


def with_a_changed_crop(moment: Moment, given: tuple[Contribution, ...]) -> tuple[Contribution, ...]:
    (name, payload), *rest = given[0].payloads.items()
    changed = np.array(payload)
    changed[-1] ^= 1
    assert isinstance(given[0], SealedContribution)
    return (replace(given[0], payloads=dict([(name, changed), *rest])), *given[1:])


def somebody_s_keys(moment: Moment) -> tuple[str, ...]:
    """Keys that the coordinator made, in the name of the centers that come later."""
    return tuple(str(Keys.generate(center).identity) for center in moment.train.task.later)


SETTINGS: Mapping[str, Lying] = {
    "one step": setting(steps=1),
    "more steps": setting(steps=4),
    "epochs in place of steps": setting(steps=0, epochs=3),
    "another seed": setting(seed=7),
    "a finer spacing": setting(spacing=3.0),
    "more features": network(features=16),
    "another norm": setting(norm="instance"),
    "single patches": setting(batch_size=1),
    "more patches of a volume": setting(patches_per_volume=2),
    "a larger patch": setting(patch_size=24, exemplar_mm=96.0),
    "larger crops": setting(exemplar_mm=96.0),
    "crops of fewer subjects": setting(memory_subjects=1),
    "a larger memory": setting(memory_megabytes=100.0),
    "crops chosen by the model": setting(exemplar_choice="lesion-aware"),
    "another test fraction": setting(test_fraction=0.2),
    "another division": both(task(run=OTHER_RUN), setting(test_fraction=0.2)),
    "another learning rate": setting(learning_rate=0.1),
    "another rate of Muon": setting(muon_learning_rate=1.0),
    "more weight decay": setting(weight_decay=0.5),
    "another optimiser": setting(optimiser="adamw"),
    "another schedule": setting(schedule="constant"),
    "another loss": setting(loss="dice"),
    "Dice over the batch": setting(dice_over="batch"),
    "lesions in every patch": setting(lesion_share=1.0),
    "lesions that weigh more": setting(lesion_weight=100.0),
    "augmented patches": setting(augment="all"),
    "no seals": setting(sealing="off"),
}
"""Changes of the run-config that comes with the first train message."""

REPLAY: Mapping[str, Lying] = {
    "no replay": setting(replay_share=0.0),
    "replay as the paper": setting(replay_mode="paper"),
    "another method": setting(method="lwf"),
}
"""Changes of the run-config that comes with the second center's train message."""

TASKS: Mapping[str, Lying] = {
    "another run's name": task(run=OTHER_RUN),
    "another stage": task(stage=2),
    "an earlier stage": task(stage=0),
    "a part of its training": task(rounds=2),
    "a later round": task(rounds=2, round=1),
    "another center": task(center="grace"),
    "several centers at once": task(pool=("mercy", "grace")),
    "another order": task(order=("mercy", "grace", "elsewhere")),
    "an order with a stranger": task(order=("grace", "mercy", "elsewhere", "stranger")),
    "nobody after it": task(order=("grace", "mercy")),
    "no contribution": task(contribute=False),
    "a larger budget": task(budget=10**9),
    "a smaller budget": task(budget=1),
    "keys of the coordinator's": lambda moment: task(identities=somebody_s_keys(moment))(moment),
    "keys left out": task(identities=()),
    "a withdrawal that nobody made": task(dropped=(STRANGER,)),
    "no end of its audit log": task(head=None),
    "an end that its audit log does not have": task(head=LogHead(count=1, hash="0" * 64)),
}
"""Changes of the second center's train task."""

MODELS: Mapping[str, Lying] = {
    "a crafted model": model(crafted),
    "the model of an earlier stage": model(of_stage(-1)),
    "a model of another run": model(of_another_run),
    "an averaged model": model(averaged),
    "a model with one bit flipped": model(one_bit_flipped),
}
"""Other models in the second center's train message, or in a test."""

AGAIN: Mapping[str, Lying] = {
    "again with a crafted model": model(crafted),
    "again with an earlier model": model(of_stage(-1)),
    "again for one step": setting(steps=1),
    "again with another seed": setting(seed=7),
    "again under another run's name": task(run=OTHER_RUN),
    "again as another stage": task(stage=2),
    "again without the memory": memory(lambda moment, given: ()),
}
"""Changes of a train message that was answered before."""

TESTS: Mapping[str, Lying] = {
    "another run's name": task(run=OTHER_RUN),
    "another stage": task(stage=1),
    "another center": task(center="elsewhere"),
    "another division": both(task(run=OTHER_RUN), setting(seed=8)),
    "a larger test set": both(task(run=OTHER_RUN), setting(test_fraction=0.6)),
    "a finer spacing": setting(spacing=3.0),
    "a withdrawal that nobody made": task(dropped=(STRANGER,)),
    "no end of its audit log": task(head=None),
    "an end that its audit log does not have": task(head=LogHead(count=1, hash="0" * 64)),
    "a model that finds nothing": model(finds_nothing),
}
"""Changes of a test at the second center."""


def lies(course: HonestCourse) -> dict[str, Lie]:
    """All of them, by name."""
    memories = {
        "no memory": memory(lambda moment, given: ()),
        "the memory twice": memory(lambda moment, given: (*given, *given)),
        "a crop left out": memory(without_a_crop),
        "a changed crop": memory(with_a_changed_crop),
        "crops of another run": of_another_visit(course, run=OTHER_RUN),
        "crops of another stage": of_another_visit(course, stage=1),
        "crops sealed anew": of_another_visit(course),
    }
    groups = [
        (FIRST, "train: ", SETTINGS),
        (SECOND, "train: ", TASKS | MODELS | {"importance beside the model": _with_importance} | memories),
        (SECOND, "train: ", REPLAY),
        (THIRD, "train: ", {"the memory in another order": memory(lambda moment, given: given[::-1])}),
        (TEST, "test: ", TESTS | MODELS | {"the model of a later stage": model(of_stage(1))}),
        (LATER_TEST, "later test: ", {"the model of an earlier stage": model(of_stage(0))}),
    ]
    told = [Lie(prefix + name, at, tell) for at, prefix, group in groups for name, tell in group.items()]
    told += [Lie(f"train: {name}", SECOND, tell, after_honest=True) for name, tell in AGAIN.items()]
    told += [Lie(f"test: again with {name}", TEST, tell, after_honest=True) for name, tell in MODELS.items()]
    named = {lie.name: lie for lie in told}
    assert len(named) == len(told)
    return named


def _with_importance(moment: Moment) -> Sent:
    """A part of a method's state that this run has none of."""
    weights = moment.train.weights
    return _train(moment, state={"importance": {name: torch.ones_like(value) for name, value in weights.items()}})

"""A stage that collapsed is found by its own training patches, and begun again with another draw; off by default."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch

from client.sharing.kept_replies import keeping_visit
from client.training.attempts import (
    COLLAPSED,
    Attempted,
    attempt_until_learnt,
    dice_on_own,
    weights_of_attempt,
    weights_of_stage,
    what_is_drawn,
)
from client.training.methods.base import Method
from client.training.plan import plan_stage
from client.training.sampler import Source
from client.training.trainer import Checkpoints, Progress, train
from shared.config.settings import Settings
from shared.model.network import is_encoder, network_with
from shared.model.weights import Weights
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainReply, TrainRequest, pack_train_request, unpack_train_reply
from tests.conftest import Configured
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import ask, weights_of
from tests.support.training import CPU, RUN, STEPS, Killed, request_of, same, sources, weights

# The paper's, whatever the defaults are.
RECIPE: dict[str, Any] = {"norm": "instance", "optimiser": "adamw", "learning_rate": 4e-3, "loss": "dice"}
RELU: dict[str, Any] = {
    **RECIPE,
    "activation": "normalised-relu",
    "carry": "encoder",
    "schedule": "constant",
    "steps": STEPS,
}


def dead(came: Weights) -> Weights:
    """A model whose scores are nowhere positive: by the normalised ReLU it answers zero, and has no gradient."""
    return {**came, "head.bias": torch.tensor([-100.0])}


def task_of(stage: int = 1) -> TrainTask:
    return TrainTask(run=RUN, stage=stage, center="amu", contribute=False)


@dataclass
class Training:
    """Attempts at one stage over two easy volumes, in a process that may die after so many steps in all."""

    settings: Settings
    dies_after: int = 0
    began: list[Weights] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def attempt(self, came: Weights, kept: Checkpoints) -> Attempted:
        self.began.append(came)
        plan = plan_stage(sources(2), [], self.settings)
        trained = train(came, plan, self.settings, 3, CPU, self._report, kept)
        return Attempted(trained, Method(), plan.recipe)

    def _report(self, progress: Progress) -> None:
        self.steps.append(progress.step)
        if len(self.steps) == self.dies_after:
            raise Killed

    def run(self, folder: Path, came: Weights, every: float = 0.0) -> Attempted:
        with keeping_visit(folder, request_of(self.settings, stage=1), every) as visit:
            return attempt_until_learnt(self.attempt, came, sources(2), task_of(), self.settings, visit.checkpoints)


def test_a_collapsed_stage_begins_again_with_another_decoder(
    tmp_path: Path, configured: Configured, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = configured(**RELU, restarts=3)
    came = dead(weights(settings))
    training = Training(settings)
    found = training.run(tmp_path, came)
    assert found.restarts == 1 and training.steps == [*range(1, STEPS + 1)] * 2
    assert 0 < found.earlier_compute_seconds <= found.earlier_seconds
    first, second = training.began
    assert same(first, came)
    assert {name for name in came if torch.equal(second[name], came[name])} >= {n for n in came if is_encoder(n)}
    assert not torch.equal(second["head.weight"], came["head.weight"]) and second["head.bias"] > -100
    recipe = found.recipe
    assert dice_on_own(network_with(came, settings.network, CPU), sources(2), recipe, 1) == 0
    assert dice_on_own(found.trained.network, sources(2), recipe, 1) >= COLLAPSED
    said = capsys.readouterr().out
    assert (
        "amu: stage 2 collapsed (Dice 0.000 on its own training patches): beginning it again with another draw" in said
    )
    assert "of the decoder (1 of at most 3)" in said


def test_a_stage_that_did_not_collapse_ends_as_without_restarts(tmp_path: Path, configured: Configured) -> None:
    settings = configured(**RELU, restarts=3)
    plain = train(weights(settings), plan_stage(sources(2), [], settings), settings, 3, CPU)
    found = Training(settings).run(tmp_path, weights(settings))
    assert found.restarts == 0 and same(found.trained.weights, plain.weights)


@pytest.mark.parametrize("dies_after", [2, STEPS + 1, STEPS + 3])
def test_a_stage_that_is_interrupted_goes_on_in_the_attempt_that_it_was_in(
    tmp_path: Path, configured: Configured, dies_after: int
) -> None:
    settings = configured(**RELU, restarts=3)
    came = dead(weights(settings))
    whole = Training(settings).run(tmp_path / "whole", came)
    with pytest.raises(Killed):
        Training(settings, dies_after).run(tmp_path / "cut", came)
    rest = Training(settings)
    found = rest.run(tmp_path / "cut", came, every=1e9)
    taken = [*range(1, STEPS + 1)] * 2
    assert rest.steps == taken[dies_after:], "no step is taken twice"
    assert found.restarts == whole.restarts == 1
    assert same(found.trained.weights, whole.trained.weights)
    assert found.earlier_seconds > 0


def test_after_the_last_restart_the_stage_goes_on_collapsed(
    tmp_path: Path, configured: Configured, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configured(**RELU, restarts=2)
    monkeypatch.setattr("client.training.attempts.carry_over", lambda came, *_: came)
    found = Training(settings).run(tmp_path, dead(weights(settings)))
    assert found.restarts == 2
    assert "with each of 3 draws of the decoder and goes on: raise restarts (2)" in capsys.readouterr().out


def test_a_model_that_came_whole_is_not_drawn_again(
    tmp_path: Path, configured: Configured, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = configured(**RELU | {"carry": "model"}, restarts=2)
    training = Training(settings)
    assert training.run(tmp_path, dead(weights(settings))).restarts == 0 and len(training.began) == 1
    assert "the model came whole, so that there is nothing to draw again" in capsys.readouterr().out


def test_a_stage_that_carries_the_encoder_begins_with_a_decoder_of_its_own(configured: Configured) -> None:
    settings = configured(carry="encoder")
    came = {name: torch.full_like(value, 7) for name, value in weights(settings).items()}
    assert weights_of_stage(came, task_of(0), settings) is came
    assert weights_of_stage(came, task_of(2), configured(carry="model")) is came
    one, again, other = (weights_of_stage(came, task_of(stage), settings) for stage in (1, 1, 2))
    assert same(one, again) and not same(one, other)
    assert {name for name in came if torch.equal(one[name], came[name])} == set(filter(is_encoder, came))


@pytest.mark.parametrize(
    ("changes", "stage", "drawn"),
    [
        ({"carry": "encoder"}, 0, "network"),
        ({"carry": "encoder"}, 2, "decoder"),
        ({"carry": "model"}, 0, "network"),
        ({"carry": "model"}, 2, ""),
        ({"method": "single"}, 2, "network"),
        ({"method": "pooled"}, 0, "network"),
        ({"method": "fedavg"}, 0, ""),
        ({"method": "fedavg"}, 1, ""),
        ({"start_digest": "a" * 64, "carry": "encoder"}, 0, ""),
        ({"start_digest": "a" * 64, "carry": "encoder"}, 2, "decoder"),
        ({"start_digest": "a" * 64, "method": "single", "carry": "encoder"}, 2, ""),
    ],
)
def test_what_was_drawn_for_a_stage_is_drawn_again(
    configured: Configured, changes: dict[str, Any], stage: int, drawn: str
) -> None:
    settings = configured(**changes)
    came = {name: torch.full_like(value, 7) for name, value in weights(settings).items()}
    assert what_is_drawn(task_of(stage), settings) == drawn
    assert weights_of_attempt(came, task_of(stage), settings, 0) is came
    one, again, other = (weights_of_attempt(came, task_of(stage), settings, number) for number in (1, 1, 2))
    assert same(one, again) and same(one, other) == (drawn == "")
    kept = {name for name in came if torch.equal(one[name], came[name])}
    assert kept == {"network": set(), "decoder": set(filter(is_encoder, came)), "": set(came)}[drawn]


def test_without_lesions_there_is_nothing_to_tell_a_collapse_by(tmp_path: Path, configured: Configured) -> None:
    settings = configured(**RELU, restarts=2)
    empty = [Source(one.image, np.zeros_like(one.label), one.lesion[:0], one.air) for one in sources(2)]
    network = network_with(dead(weights(settings)), settings.network, CPU)
    assert math.isnan(dice_on_own(network, empty, plan_stage(empty, [], settings).recipe, 1))


# At a hospital


def visit(grid: FakeGrid, change: Callable[[Weights], Weights] = dict, **settings: Any) -> TrainReply:
    """The reply of milan, visited second, to a model that is changed before."""
    changes = {**RECIPE, "carry": "encoder", "activation": "normalised-relu", **settings}
    grid.run_config.update({key.replace("_", "-"): value for key, value in changes.items()})
    task = TrainTask(run=uuid4().hex, stage=1, center="milan", contribute=False, order=("ucsf", "milan"))
    request = TrainRequest(task, change(weights_of(grid.run_config)), ())
    return unpack_train_reply(ask(grid, "train", pack_train_request(request), 100))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder of a stage is the one that came, as if the draw had given it."""
    monkeypatch.setattr("client.training.stage.weights_of_stage", lambda came, *_: came)


def test_a_hospital_says_how_often_it_began_again(grid: FakeGrid, undrawn: None) -> None:
    reply = visit(grid, dead, restarts=3)
    assert reply.figures.restarts == 1 and reply.figures.steps == 8
    assert reply.weights["head.bias"] > -50


def test_by_default_a_collapsed_stage_is_handed_on(grid: FakeGrid, undrawn: None) -> None:
    assert grid.run_config["restarts"] == 0
    reply = visit(grid, dead)
    assert reply.figures.restarts == 0 and reply.weights["head.bias"] < -50


def test_what_did_not_collapse_is_the_same_with_and_without_restarts(grid: FakeGrid) -> None:
    assert same(visit(grid).weights, visit(grid, restarts=3).weights)

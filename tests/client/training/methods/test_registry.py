"""The list of methods and the classes that train by them agree, and a training calls each hook where it says."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from client.training.losses import loss_of
from client.training.methods.base import Method
from client.training.methods.registry import CLASSES, begin_method
from client.training.plan import plan_stage
from client.training.sampler import Batch, PatchSampler
from client.training.trainer import train
from server.app import STRATEGIES
from shared.config.settings import Settings
from shared.course import COURSES
from shared.methods import METHODS
from shared.model.network import LesionNet, initial_weights, network_with, scores_of
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainRequest
from tests.conftest import ROOT, Configured
from tests.support.training import CPU, ball, same


def test_every_method_has_its_class_and_every_class_its_method() -> None:
    assert list(CLASSES) == list(METHODS)


def test_every_course_of_a_method_is_known_to_the_coordinator() -> None:
    others = {spec.course for spec in METHODS.values()} - {"single", "sequential"}
    assert set(COURSES) == others and set(STRATEGIES) <= others


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_scenario(name: str) -> None:
    assert f'method = "{name}"' in (ROOT / "scenarios" / f"{name}.toml").read_text()


def request_of(settings: Settings, stage: int) -> TrainRequest:
    """What comes at a stage, with a state in which every parameter matters alike."""
    weights = initial_weights(settings.network, 0)
    ones = {name: torch.ones_like(value) for name, value in weights.items()}
    state = dict.fromkeys(settings.run.spec.state, ones) if stage else {}
    task = TrainTask(run="0" * 32, stage=stage, center="amu", contribute=settings.run.spec.replays)
    return TrainRequest(task, weights, (), state)


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_and_hands_on_the_state_that_its_line_in_the_list_names(
    configured: Configured, name: str, stage: int
) -> None:
    settings = configured(method=name, steps=2, rounds=1)
    request = request_of(settings, stage)
    method = begin_method(request, settings, CPU)
    own = [ball(0), ball(1)]
    plan = plan_stage(own, method.rehearse([], np.random.default_rng(0)), settings)
    trained = train(request.weights, plan, settings, 0, CPU, method=method)
    network = network_with(trained.weights, settings.network, CPU).train()
    state = method.after_training(network, own, plan.recipe)
    assert set(state) == set(METHODS[name].state)
    for part in state.values():
        assert part.keys() == trained.weights.keys()


class Noting(Method):
    """Notes each hook as it is called; pulls nothing and adds nothing, unless told to."""

    def __init__(self, pull: float = 0.0) -> None:
        self.heard: list[Any] = []
        self.pull = pull

    def penalty(self, network: LesionNet, batch: Batch, scores: Tensor) -> Tensor | None:
        self.heard.append("penalty")
        assert scores.shape == batch.images.shape
        return self.pull * scores.square().mean() if self.pull else None

    def adjust_gradients(self, network: LesionNet, batch: Batch) -> None:
        self.heard.append("gradients")
        assert all(value.grad is not None for value in network.parameters())

    def after_step(self, network: LesionNet, step: int) -> None:
        self.heard.append(step)

    def state_dict(self) -> dict[str, Any]:
        return {"heard": list(self.heard)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.heard = state["heard"]


def test_each_step_calls_the_hooks_in_their_order(configured: Configured) -> None:
    settings = configured(steps=3)
    method = Noting()
    plan = plan_stage([ball(0)], [], settings)
    weights = initial_weights(settings.network, 0)
    trained = train(weights, plan, settings, 0, CPU, method=method)
    assert method.heard == [what for step in (1, 2, 3) for what in ("penalty", "gradients", step)]
    assert same(trained.weights, train(weights, plan, settings, 0, CPU).weights), "it added nothing"
    assert not same(trained.weights, train(weights, plan, settings, 0, CPU, method=Noting(pull=1.0)).weights)


def test_gradients_that_a_method_changes_are_those_of_the_step(configured: Configured) -> None:
    """Without gradients, and without decay, AdamW moves nothing."""

    class Stopping(Method):
        def adjust_gradients(self, network: LesionNet, batch: Batch) -> None:
            for value in network.parameters():
                assert value.grad is not None
                value.grad.zero_()

    settings = configured(steps=2, weight_decay=0.0)
    weights = initial_weights(settings.network, 0)
    plan = plan_stage([ball(0)], [], settings)
    assert same(train(weights, plan, settings, 0, CPU, method=Stopping()).weights, weights)


def test_a_method_s_own_state_is_in_the_checkpoint(configured: Configured) -> None:
    class Kept:
        saved: dict[str, Any] | None = None

        def load(self) -> dict[str, Any] | None:
            return self.saved

        def due(self) -> bool:
            return self.saved is None

        def save(self, state: dict[str, Any]) -> None:
            self.saved = deepcopy(state)

    settings = configured(steps=3)
    plan = plan_stage([ball(0)], [], settings)
    kept = Kept()
    train(initial_weights(settings.network, 0), plan, settings, 0, CPU, checkpoints=kept, method=Noting())
    assert kept.saved is not None and kept.saved["method"] == {"heard": ["penalty", "gradients", 1]}
    second = Noting()
    train(initial_weights(settings.network, 0), plan, settings, 0, CPU, checkpoints=kept, method=second)
    assert second.heard == [what for step in (1, 2, 3) for what in ("penalty", "gradients", step)]


def test_a_penalty_is_added_to_the_loss_of_the_step(configured: Configured) -> None:
    settings = configured(steps=1)
    weights = initial_weights(settings.network, 0)
    plan = plan_stage([ball(0)], [], settings)
    trained = train(weights, plan, settings, 0, CPU, method=Noting(pull=0.25))
    batch = PatchSampler(plan.own, plan.past, plan.recipe, np.random.default_rng(0)).batch()
    network = network_with(weights, settings.network, CPU).train()
    scores = scores_of(network, batch.images)
    loss = loss_of(network, scores, batch.labels, settings.training.loss, settings.training.dice_over)
    expected = loss + 0.25 * scores.square().mean()
    assert trained.final_loss == pytest.approx(expected.item(), rel=1e-5)

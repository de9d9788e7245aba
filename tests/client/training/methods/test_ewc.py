"""Elastic weight consolidation: what moving a parameter costs, and how its importance is measured and kept."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from client.training.methods.ewc import EWC
from client.training.methods.importance import BATCHES, Anchor, running
from client.training.plan import plan_stage
from client.training.sampler import Recipe, Source
from client.training.trainer import train
from shared.config.settings import Settings
from shared.model.network import initial_weights, network_with
from shared.model.weights import Weights
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainRequest
from tests.support.paper import batch_of, on_paper, voxels
from tests.support.training import CPU, ball, same

ANCHOR = {"gain": torch.tensor(1.0), "bias": torch.tensor(0.0)}
IMPORTANCE = {"gain": torch.tensor(2.0), "bias": torch.tensor(0.5)}
NOTHING = torch.zeros(1)


def penalty(network: Any, weight: float = 4.0) -> torch.Tensor:
    return cost(held(Anchor(ANCHOR, IMPORTANCE), weight), network)


def held(anchor: Anchor | None, weight: float = 4.0) -> EWC:
    """EWC by its lambda."""
    return EWC(anchor, strength=weight / 2, decay=0.75, seed=0, loss="dice")


def cost(hold: EWC, network: Any) -> torch.Tensor:
    penalty = hold.penalty(network, batch_of(NOTHING), NOTHING)
    assert penalty is not None
    return penalty


# What moving costs


def test_by_hand() -> None:
    """4 / 2 x (2 x 0.5^2 + 0.5 x 2^2) = 5."""
    assert penalty(on_paper(1.5, -2.0)).item() == pytest.approx(5.0)


def test_the_pull_is_back_to_the_anchor_by_importance() -> None:
    """lambda F (theta - theta*): 4 x 2 x 0.5 and 4 x 0.5 x -2; a step down leads to the anchor."""
    network = on_paper(1.5, -2.0)
    penalty(network).backward()  # type: ignore[no-untyped-call]
    assert (network.gain.grad.item(), network.bias.grad.item()) == pytest.approx((4.0, -4.0))


def test_at_the_anchor_nothing_costs() -> None:
    network = on_paper(1.0, 0.0)
    cost = penalty(network)
    cost.backward()  # type: ignore[no-untyped-call]
    assert cost.item() == network.gain.grad.item() == network.bias.grad.item() == 0


def request(settings: Settings, importance: Weights | None) -> TrainRequest:
    task = TrainTask(run="0" * 32, stage=1, center="amu", contribute=False)
    state = {} if importance is None else {"importance": importance}
    return TrainRequest(task, initial_weights(settings.network, 0), (), state)


@pytest.fixture
def settings(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "batch-size": 3, "steps": 4, "ewc-weight": 10.0})


def test_the_anchor_is_the_model_that_came(settings: Settings) -> None:
    weights = initial_weights(settings.network, 0)
    hold = EWC.begin(request(settings, {name: torch.ones_like(v) for name, v in weights.items()}), settings, CPU)
    assert hold.strength == 10.0 / 2
    network = network_with(weights, settings.network, CPU)
    assert cost(hold, network).item() == 0
    with torch.no_grad():
        network.head.weight += 0.5
    # Four weights of the head, each moved by a half, at an importance of 1.
    assert cost(hold, network).item() == pytest.approx(10 / 2 * 4 * 0.25)


def test_at_the_first_center_there_is_nothing_to_hold_on_to(settings: Settings) -> None:
    hold = EWC.begin(request(settings, None), settings, CPU)
    assert hold.penalty(on_paper(0, 0), batch_of(NOTHING), NOTHING) is None


def test_the_more_it_weighs_the_less_an_important_model_moves(settings: Settings) -> None:
    weights = initial_weights(settings.network, 0)
    ones = {name: torch.ones_like(value) for name, value in weights.items()}
    plan = plan_stage([ball(0), ball(1)], [], settings)
    moved = []
    for weight in (0.0, 0.1, 10.0):
        after = train(weights, plan, settings, 0, CPU, method=held(Anchor(weights, ones), weight)).weights
        moved.append(sum(float((after[name] - weights[name]).square().sum()) for name in weights))
    assert moved[0] > moved[1] > moved[2] > 0


# How importance is measured

PATCHES = [batch_of(voxels(2.0), voxels(1.0)), batch_of(voxels(1.0), voxels(0.0))]
"""One lesion voxel of intensity 2, one healthy voxel of intensity 1."""


def test_importance_by_hand() -> None:
    """At gain 0 and bias 0 each voxel is answered with p = 0.5.

    The loss of a lesion voxel is 1 - (2p + 1)/(p + 2), its derivative by p -3/(p + 2)^2 = -0.48; of a
    healthy one 1 - 1/(p + 1) and 1/(p + 1)^2 = 4/9. By the score both times p (1 - p) = 1/4: -0.12 and 1/9.
    """
    found = held(None).measured(on_paper(0, 0), PATCHES)
    assert found["gain"].item() == pytest.approx(((2 * 0.12) ** 2 + (1 / 9) ** 2) / 2)
    assert found["bias"].item() == pytest.approx((0.12**2 + (1 / 9) ** 2) / 2)


def test_patches_are_squared_one_by_one_however_they_come_in_batches() -> None:
    images, labels = (torch.cat([getattr(one, part) for one in PATCHES]) for part in ("images", "labels"))
    together, apart = (held(None).measured(on_paper(0, 0), b) for b in ([batch_of(images, labels)], PATCHES))
    assert same(together, apart)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(patches=3, patches_per_volume=1, patch_size=16, lesion_share=0.5, replayed=1)


def measured(settings: Settings, recipe: Recipe, own: list[Source], seed: int = 0) -> Weights:
    hold = replace(held(None), seed=seed)
    network = network_with(initial_weights(settings.network, 0), settings.network, CPU).train()
    return hold.after_training(network, own, recipe)["importance"]


def test_importance_has_the_model_s_names_and_shapes_and_is_never_negative(settings: Settings, recipe: Recipe) -> None:
    weights = initial_weights(settings.network, 0)
    found = measured(settings, recipe, [ball(0), ball(1)])
    assert found.keys() == weights.keys()
    for name, value in found.items():
        assert (value.shape, value.dtype) == (weights[name].shape, weights[name].dtype)
        assert value.isfinite().all() and (value >= 0).all()
    assert found["head.weight"].max() > 0


def test_the_seed_and_nothing_else_draws_the_patches(settings: Settings, recipe: Recipe) -> None:
    own = [ball(0), ball(1)]
    one = measured(settings, recipe, own)
    torch.manual_seed(99)
    assert same(one, measured(settings, recipe, own))
    assert not same(one, measured(settings, recipe, own, seed=1))


def test_importance_is_of_the_center_s_own_patches_alone(
    settings: Settings, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole batch is fresh, also where half of each batch of the training came from the memory."""
    drawn: list[int] = []
    whole = Source.cut

    def noted(source: Source, *how: Any) -> Any:
        drawn.append(id(source))
        return whole(source, *how)

    monkeypatch.setattr(Source, "cut", noted)
    own = [ball(0), ball(1)]
    measured(settings, recipe, own)
    assert len(drawn) == BATCHES * recipe.patches
    assert set(drawn) == {id(source) for source in own}


# How importance is kept


def test_the_running_importance_is_what_is_left_of_the_old_and_the_new() -> None:
    here = {"gain": torch.tensor(1.0), "bias": torch.tensor(8.0)}
    kept = running(IMPORTANCE, here, 0.75)
    assert (kept["gain"].item(), kept["bias"].item()) == (0.75 * 2 + 1, 0.75 * 0.5 + 8)
    assert same(running(None, here, 0.75), here)
    assert same(running(IMPORTANCE, here, 0.0), here)

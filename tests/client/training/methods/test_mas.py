"""Memory aware synapses: what moving a parameter costs, and how much the answers depend on it."""

from typing import Any

import pytest
import torch

from client.training.methods.importance import Anchor
from client.training.methods.mas import MAS
from client.training.plan import plan_stage
from shared.config.settings import Settings
from shared.model.network import initial_weights, network_with
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainRequest
from tests.conftest import Configured
from tests.support.paper import batch_of, on_paper, voxels
from tests.support.training import CPU, ball, same

ANCHOR = Anchor(
    weights={"gain": torch.tensor(1.0), "bias": torch.tensor(0.0)},
    importance={"gain": torch.tensor(2.0), "bias": torch.tensor(0.5)},
)
NOTHING = torch.zeros(1)


def held(anchor: Anchor | None, weight: float = 4.0) -> MAS:
    return MAS(anchor, strength=weight, decay=1.0, seed=0)


def cost(hold: MAS, network: Any) -> torch.Tensor:
    penalty = hold.penalty(network, batch_of(NOTHING), NOTHING)
    assert penalty is not None
    return penalty


def test_the_penalty_by_hand() -> None:
    """4 x (2 x 0.5^2 + 0.5 x 2^2) = 10: there is no half before lambda, as in the paper's equation 4."""
    assert cost(held(ANCHOR), on_paper(1.5, -2.0)).item() == pytest.approx(10.0)


def test_the_importance_by_hand() -> None:
    """At gain 0 and bias 0 a voxel is answered with p = 0.5, and d(p^2)/ds = 2p p(1 - p) = 0.25 by its score s.

    By the gain that is 0.25 times the voxel's intensity: 0.5 and 0.25 for 2 and 1; by the bias 0.25 for both.
    """
    patches = [batch_of(voxels(2.0), voxels(1.0)), batch_of(voxels(1.0), voxels(0.0))]
    found = held(None).measured(on_paper(0, 0), patches)
    assert found["gain"].item() == pytest.approx((0.5 + 0.25) / 2)
    assert found["bias"].item() == pytest.approx(0.25)


def test_signs_do_not_cancel_out() -> None:
    """Two patches of opposite intensity pull the gain to opposite sides, and both count."""
    patches = [batch_of(voxels(2.0)), batch_of(voxels(-2.0))]
    assert held(None).measured(on_paper(0, 0), patches)["gain"].item() == pytest.approx(0.5)


def test_labels_do_not_matter() -> None:
    image = voxels(1.0, 2.0, 3.0)
    one, other = (held(None).measured(on_paper(1, 0), [batch_of(image, label)]) for label in (image * 0, image * 0 + 1))
    assert same(one, other)


def test_it_does_not_hang_on_the_size_of_a_patch() -> None:
    small, large = (held(None).measured(on_paper(1, 0), [batch_of(voxels(*[2.0] * n))]) for n in (1, 10))
    assert small["bias"].item() == pytest.approx(large["bias"].item())


@pytest.fixture
def settings(configured: Configured) -> Settings:
    return configured(method="mas", mas_weight=3.0, mas_decay=0.5)


def test_importance_is_added_to_what_is_left_of_the_earlier_ones(settings: Settings) -> None:
    weights = initial_weights(settings.network, 0)
    task = TrainTask(run="0" * 32, stage=1, center="amu", contribute=False)
    ones = {name: torch.ones_like(value) for name, value in weights.items()}
    states: list[dict[str, Any]] = [{}, {"importance": ones}]
    recipe = plan_stage([ball(0)], [], settings).recipe
    network = network_with(weights, settings.network, CPU).train()
    found = []
    for state in states:
        hold = MAS.begin(TrainRequest(task, weights, (), state), settings, CPU)
        assert hold.strength == 3.0
        found.append(hold.after_training(network, [ball(0)], recipe)["importance"])
    alone, after = found
    assert same(after, {name: 0.5 * ones[name] + value for name, value in alone.items()})
    assert all(bool((value >= 0).all()) for value in alone.values()) and bool(alone["head.weight"].max() > 0)

"""What a step computes: the loss of scores against soft labels."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from client.training.losses import cost, loss_of
from client.training.methods.base import Method
from client.training.sampler import Cut, batch_of
from shared.config.groups import Loss, NetworkSettings
from shared.config.settings import RunConfig, Settings
from shared.errors import SettingsError
from shared.model.network import LesionNet, network_with
from tests.conftest import Configured
from tests.support.training import CPU, sources, weights


@pytest.fixture
def network() -> LesionNet:
    return LesionNet(NetworkSettings(features=2, activation="sigmoid", norm="instance"))


def test_dice_ce_is_dice_and_the_mean_cross_entropy(network: LesionNet) -> None:
    scores, labels = torch.randn(2, 1, 4, 4, 4), torch.rand(2, 1, 4, 4, 4)
    both, dice = loss_of(network, scores, labels, "dice-ce"), loss_of(network, scores, labels)
    assert both == pytest.approx(float(dice + binary_cross_entropy_with_logits(scores, labels)), abs=1e-6)


def test_dice_ce_still_pulls_where_dice_has_given_up(network: LesionNet) -> None:
    """A network that is sure of no lesion anywhere: Dice's gradient vanishes with the probabilities."""
    labels = torch.zeros(1, 1, 4, 4, 4)
    labels[..., 1, 1] = 1
    pulls = {}
    kinds: tuple[Loss, ...] = ("dice", "dice-ce")
    for kind in kinds:
        scores = torch.full_like(labels, -30.0, requires_grad=True)
        loss_of(network, scores, labels, kind).backward()  # type: ignore[no-untyped-call]
        assert scores.grad is not None
        pulls[kind] = float(scores.grad.abs().max())
    assert pulls["dice"] < 1e-9 and pulls["dice-ce"] > 1e-3


def test_a_lesion_weighs_more_in_the_cross_entropy_by_its_weight(network: LesionNet) -> None:
    """By hand: at score 0 each voxel costs log 2, and a lesion's 1 + 3 times that; a half, soft one 2.5 times."""
    labels = torch.tensor([1.0, 0.0, 0.0, 0.5]).view(1, 1, 1, 1, 4)
    scores = torch.zeros_like(labels)
    dice, plain = (loss_of(network, scores, labels, kind) for kind in ("dice", "dice-ce"))
    weighed = loss_of(network, scores, labels, "dice-ce", lesion_weight=3.0)
    assert float(plain - dice) == pytest.approx(math.log(2))
    assert float(weighed - dice) == pytest.approx(math.log(2) * (4 + 1 + 1 + 2.5) / 4)
    assert torch.equal(loss_of(network, scores, labels, "dice-ce", lesion_weight=0.0), plain)


def test_each_step_weighs_lesions_as_the_settings_say(configured: Configured) -> None:
    batch = batch_of([Cut.at(source, (0, 0, 0), 16) for source in sources(2)])

    def first_cost(**changes: float) -> float:
        settings = configured(loss="dice-ce", **changes)
        return float(cost(network_with(weights(settings), settings.network, CPU), Method(), batch, settings.training))

    assert first_cost(lesion_weight=4.0) > first_cost() == first_cost(lesion_weight=0.0)


def test_a_lesion_weight_wants_a_cross_entropy(run_config: RunConfig) -> None:
    with pytest.raises(SettingsError, match="lesion-weight = 2 weighs the cross-entropy, which loss = 'dice' has none"):
        Settings.from_run_config(run_config | {"loss": "dice", "lesion-weight": 2.0})


def test_cross_entropy_wants_probabilities(run_config: RunConfig) -> None:
    with pytest.raises(SettingsError, match="loss = 'dice-ce' needs probabilities"):
        Settings.from_run_config(run_config | {"loss": "dice-ce", "activation": "normalised-relu"})

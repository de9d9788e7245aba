"""What a step computes: the loss of scores against soft labels."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from client.training.losses import loss_of
from shared.config.groups import Loss, NetworkSettings
from shared.config.settings import RunConfig, Settings
from shared.errors import SettingsError
from shared.model.network import LesionNet


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


def test_cross_entropy_wants_probabilities(run_config: RunConfig) -> None:
    with pytest.raises(SettingsError, match="loss = 'dice-ce' needs probabilities"):
        Settings.from_run_config(run_config | {"loss": "dice-ce", "activation": "normalised-relu"})

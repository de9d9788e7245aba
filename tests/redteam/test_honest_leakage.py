"""That the measurement of what honest models give away measures it: on small patches, which are there in seconds."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from client.data.preprocessing import Volume
from client.training.losses import loss_of
from client.training.optimisers import KernelMuon
from client.training.sampler import Source
from shared.config.settings import Settings
from shared.model.network import initial_weights, network_with
from tests.redteam.honest_leakage import (
    CPU,
    Decoder,
    blocks,
    first_gradient,
    honest_stage,
    patches_of,
    read_out,
    with_training,
)
from tests.redteam.hospitals import default_config
from tests.redteam.inversion import Search, directed, invert, orthogonalised, resemblance, turns, twice_differentiable

EDGE = 16


def settings_of(**changes: Any) -> Settings:
    """The default recipe with a small network on small patches."""
    small = {"features": 4, "patch-size": EDGE, "exemplar-mm": 2.0 * EDGE, "batch-size": 1, "device": "cpu"}
    return Settings.from_run_config(default_config() | small | {k.replace("_", "-"): v for k, v in changes.items()})


def patches(number: int, seed: int = 0) -> Tensor:
    return torch.randn((number, 1, EDGE, EDGE, EDGE), generator=torch.Generator().manual_seed(seed))


def test_the_network_that_is_inverted_is_the_one_that_is_trained() -> None:
    settings = settings_of()
    weights = initial_weights(settings.network, 0)
    images, labels = patches(2), (patches(2, 1) > 1).float()
    gradients = []
    for network in (network_with(weights, settings.network, CPU), twice_differentiable(weights, settings)):
        loss_of(network, network(images), labels, "dice-ce", "patch").backward()
        gradients.append({name: value.grad for name, value in network.named_parameters()})
    assert set(directed(weights)) < gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_kernel_is_orthogonalised_as_muon_does() -> None:
    kernel = torch.nn.Parameter(torch.zeros(8, 4, 3, 3, 3))
    gradient = torch.randn(8, 4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    kernel.grad = gradient
    KernelMuon([kernel], lr=1.0, weight_decay=0.0).step()
    # Muon computes in bfloat16.
    torch.testing.assert_close(-kernel.detach(), orthogonalised(gradient), rtol=0, atol=0.02)


def test_a_guess_is_compared_in_whatever_turn_fits_best() -> None:
    truth = patches(5)
    turned = torch.rot90(truth[[3, 1]], 3, (2, 3)).flip(2, 4)
    error, correlation = resemblance(turned, truth)
    assert error == pytest.approx(0, abs=1e-2) and correlation == pytest.approx(1, abs=1e-4)
    assert len({bytes(one.numpy()) for one in turns(truth)[0]}) == 16
    error, correlation = resemblance(truth[[0, 0]], truth)
    assert error > 0.5 and correlation < 0.6, "two guesses of one patch are not both right"


def test_blocks_lie_in_the_order_of_the_bottom_s_positions() -> None:
    images = patches(2)
    cut = blocks(images)
    assert cut.shape == (16, 1, 8, 8, 8)
    assert torch.equal(cut[8 + 0b101, 0], images[1, 0, 8:, :8, 8:])


def test_the_read_out_finds_what_one_position_s_features_say() -> None:
    """Where the change of a kernel is one outer product, as in the attacks."""
    features = torch.randn((40, 6), generator=torch.Generator().manual_seed(0)) + 1
    features /= features.norm(dim=1, keepdim=True)
    cut = (features @ torch.randn((6, 512), generator=torch.Generator().manual_seed(1))).reshape(-1, 1, 8, 8, 8)
    change = torch.zeros(12, 6, 3, 3, 3)
    change[:, :, 0, 2, 0] = torch.randn((12, 1), generator=torch.Generator().manual_seed(2)) * features[3]
    error, correlation = resemblance(read_out(change, Decoder.fitted(features, cut), 1), cut[[3]])
    assert error < 0.2 and correlation > 0.99


def smooth(seed: int) -> Source:
    """A volume that varies as slowly as anatomy does, with lesions where it is brightest."""
    image = gaussian_filter(np.random.default_rng(seed).normal(size=(EDGE,) * 3), 2.0)
    image /= image.std()
    label = np.where(image > 1.5, 255, 0).astype(np.uint8)
    volume = Volume(image.astype(np.float16), label, np.eye(4), label, np.eye(4), -9.0)
    return Source.of_volume(volume, EDGE)


@pytest.mark.slow
def test_the_gradient_of_one_patch_gives_it_away_and_an_honest_stage_does_not() -> None:
    own = [smooth(seed) for seed in range(3)]
    settings, stage_of_many = (settings_of(features=16, steps=steps) for steps in (1, 20))
    settings, stage_of_many = (with_training(one, patch_size=8) for one in (settings, stage_of_many))
    stage = honest_stage(own, settings)
    search = Search(1, 80, 1, "gradient", variation=0.03)
    told, _ = invert(stage.before, first_gradient(stage, settings), settings, search, stage.labels)
    # Where it lies, without any turn: what says nothing of the patch is as often like it as unlike.
    assert float(torch.corrcoef(torch.stack([told.flatten(), stage.images.flatten()]))[0, 1]) > 0.3
    many = honest_stage(own, stage_of_many)
    guess, _ = invert(many.before, many.change, settings, replace(search, match="update", iterations=30))
    others = patches_of([smooth(seed) for seed in range(3, 6)], settings, 20)
    by_chance = [resemblance(other[None], many.images)[1] for other in others]
    assert resemblance(guess, many.images)[1] < np.mean(by_chance), "other patients' patches are as near"

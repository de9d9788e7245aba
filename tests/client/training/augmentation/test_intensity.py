"""Changes of intensity: by hand on the tissue, and nothing on air."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from client.data.preprocessing import CLIP
from client.training.augmentation.draws import COLUMNS, Parameters, identities
from client.training.augmentation.intensity import (
    bias,
    brightness,
    contrast,
    gamma,
    inverted_gamma,
    noise,
    shading,
)

AIR = -3.0
CHANGES = {
    "bias": (bias, 0.7),
    "gamma": (gamma, 1.5),
    "inverted": (inverted_gamma, 0.7),
    "brightness": (brightness, 1.25),
    "contrast": (contrast, 0.75),
    "noise": (noise, 0.3),
}

Change = Callable[[Tensor, Parameters], Tensor]


def parameters(count: int = 1, **values: float) -> Parameters:
    """Those of so many patches that differ by their seeds, of images whose air is at -3."""
    table = torch.from_numpy(identities(count))
    table[:, COLUMNS.index("seed")] = torch.arange(count) + 7.0
    for name, value in {"floor": AIR, "edge": AIR + 0.01, **values}.items():
        table[:, COLUMNS.index(name)] = value
    return Parameters(table)


def head(count: int = 2, size: int = 16) -> Tensor:
    """Normal tissue in half of each patch, air in the other."""
    images = torch.randn(count, size, size, size, generator=torch.Generator().manual_seed(0)).clamp(-2.5, 4)
    images[:, : size // 2] = AIR
    return images


def row(*values: float) -> Tensor:
    """A patch of few voxels."""
    return torch.tensor(values).view(1, 1, 1, -1)


@pytest.mark.parametrize("name", CHANGES)
def test_air_stays_air_and_tissue_within_what_a_prepared_image_may_be(name: str) -> None:
    change, value = CHANGES[name]
    before = (head() * 1.4).clamp_min(-2.9)
    before[:, :8] = AIR
    after = change(before, parameters(2, **{name: value}))
    assert torch.equal(after[:, :8], before[:, :8])
    assert not torch.equal(after[:, 8:], before[:, 8:])
    assert after.min() >= AIR and after.max() <= CLIP


@pytest.mark.parametrize("name", CHANGES)
def test_parameters_of_the_identity_change_nothing(name: str) -> None:
    before = head()
    torch.testing.assert_close(CHANGES[name][0](before, parameters(2)), before, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_but_air_stays_so(name: str) -> None:
    change, value = CHANGES[name]
    air = torch.full((1, 8, 8, 8), AIR)
    assert torch.equal(change(air, parameters(**{name: value})), air)


def test_shading_is_a_smooth_factor_of_the_signal_whose_logarithm_has_mean_0() -> None:
    drawn = parameters(64, bias=0.7)
    field = shading(drawn, 16)
    assert field.mean((1, 2, 3)).abs().max() < 1e-5
    assert 0.1 < field.std() < 0.5
    steps = torch.stack([field.diff(dim=axis).abs().amax() for axis in (1, 2, 3)])
    assert steps.max() < 0.5 * field.abs().max(), "smooth"
    images = head(64)
    signal = (bias(images, drawn) - AIR).log() - (images - AIR).log()
    inside = (images > -2) & (images < 0)  # far from where it would be clipped
    torch.testing.assert_close(signal[inside], field[inside], atol=1e-4, rtol=0)


def test_gamma_is_a_power_of_the_signal_s_share_and_keeps_mean_and_deviation() -> None:
    """Shares 1/4 and 1 of a span of 4 become 1/16 and 1; two values with mean and deviation kept are themselves."""
    two = row(-2.0, 1.0, AIR)
    torch.testing.assert_close(gamma(two, parameters(gamma=2.0)), two, atol=1e-6, rtol=0)
    three = row(-2.0, -1.0, 1.0, AIR)  # shares 1/4, 1/2, 1: squared 1/16, 1/4, 1
    squared = torch.tensor([1 / 16, 1 / 4, 1.0])
    expected = (squared - squared.mean()) / squared.std(correction=0)
    tissue = three[0, 0, 0, :3]
    expected = expected * tissue.std(correction=0) + tissue.mean()
    torch.testing.assert_close(gamma(three, parameters(gamma=2.0))[0, 0, 0, :3], expected, atol=1e-5, rtol=0)


def test_inverted_gamma_is_a_power_of_what_lacks_to_the_brightest() -> None:
    three = row(-2.0, -1.0, 1.0, AIR)  # lacking 3/4, 1/2, 0: squared 9/16, 1/4, 0
    curved = 1 - torch.tensor([9 / 16, 1 / 4, 0.0])
    tissue = three[0, 0, 0, :3]
    expected = (curved - curved.mean()) / curved.std(correction=0) * tissue.std(correction=0) + tissue.mean()
    got = inverted_gamma(three, parameters(inverted=2.0))[0, 0, 0, :3]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_brightness_is_a_factor_and_contrast_one_about_the_mean_of_the_tissue() -> None:
    before = row(-2.0, 0.0, 1.0, 3.0, AIR)
    assert brightness(before, parameters(brightness=1.25)).flatten().tolist() == [-2.5, 0.0, 1.25, 3.75, AIR]
    # Of mean 0.5.
    assert contrast(before, parameters(contrast=0.5)).flatten().tolist() == [-0.75, 0.25, 0.75, 1.75, AIR]


def test_noise_has_its_deviation_and_differs_between_patches_and_voxels() -> None:
    before = torch.zeros(2, 32, 32, 32)
    added = noise(before, parameters(2, noise=0.3)) - before
    assert added.std() == pytest.approx(0.3, rel=0.01) and added.mean().abs() < 0.005
    assert torch.corrcoef(added.flatten(1))[0, 1].abs() < 0.02

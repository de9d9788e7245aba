"""Channel norm: its formula and gradient, and a volume in one piece that equals its windows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.evaluation.inference import segment
from shared.config.groups import NetworkSettings
from shared.model.channel_norm import EPSILON, ChannelNorm
from shared.model.network import LesionNet

SETTINGS = NetworkSettings(features=4, activation="sigmoid", norm="channel")


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 100), st.sampled_from([1, 3, 8]))
def test_each_voxel_is_divided_by_the_root_mean_square_over_its_channels(seed: int, channels: int) -> None:
    features = maps(2, channels, 3, 4, 2, seed=seed)
    expected = features / (features.square().mean(1, keepdim=True) + EPSILON).sqrt()
    torch.testing.assert_close(ChannelNorm()(features), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_its_gradient_is_that_of_the_formula(layout: torch.memory_format) -> None:
    features = maps(2, 5, 2, 3, 2).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(ChannelNorm(), (features,))


def test_a_voxel_of_zeros_stays_zero_and_half_precision_keeps_its_kind() -> None:
    assert torch.equal(ChannelNorm()(torch.zeros(1, 4, 2, 2, 2)), torch.zeros(1, 4, 2, 2, 2))
    half = maps(1, 4, 2, 2, 2).bfloat16() * 1e3
    assert ChannelNorm()(half).dtype == torch.bfloat16
    torch.testing.assert_close(ChannelNorm()(half).float(), ChannelNorm()(half.float()), atol=0.02, rtol=0.02)


def test_what_a_voxel_becomes_hangs_on_its_surroundings_alone() -> None:
    """A volume in one piece equals its windows where those see as far; with instance norm it does not."""
    torch.manual_seed(0)
    image = torch.randn(176, 16, 16)
    inner = slice(80, 96)
    apart = {}
    for norm in ("channel", "instance"):
        network = LesionNet(SETTINGS.model_copy(update={"norm": norm})).eval()
        with torch.inference_mode():
            whole = network(image[None, None])[0, 0]
            window = network(image[None, None, 8:168])[0, 0]
        apart[norm] = float((whole[inner] - window[72:88]).abs().max() / whole.abs().max())
    assert apart["channel"] < 1e-5 and apart["instance"] > 1e-3


def test_a_volume_of_any_shape_is_segmented_in_one_piece() -> None:
    network = LesionNet(SETTINGS).eval()
    image = torch.randn(19, 33, 26, generator=torch.Generator().manual_seed(1))
    soft = segment(network, image, 16, 0.25)
    assert soft.shape == image.shape
    padded = torch.full((24, 40, 32), float(image.min()))
    padded[:19, :33, :26] = image
    with torch.inference_mode():
        expected = network(padded[None, None]).sigmoid()[0, 0, :19, :33, :26]
    torch.testing.assert_close(soft, expected, atol=1e-5, rtol=1e-4)

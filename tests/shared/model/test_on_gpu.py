"""The network's ways on a GPU are the same function as its ways on a CPU.

The kernels are run by Triton's interpreter, which needs no GPU; what a GPU makes of them besides, `wardround bench
--device cuda` measures.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from client.training.losses import loss_of
from shared.config.groups import NetworkSettings
from shared.model import blocks, network
from shared.model.network import LesionNet, network_with
from tests.conftest import ROOT
from tests.support.training import CPU

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("a GPU compiles the kernels itself", allow_module_level=True)

from shared.model.fused_conv import FirstConvolutions, LastConvolution
from shared.model.fused_norm import ChannelNormActivation, InstanceNormActivation

LAST = torch.channels_last_3d


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.contiguous(memory_format=LAST) if len(shape) == 5 else values


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (blocks, network):
        monkeypatch.setattr(module, "on_gpu", lambda features: True)


def net(settings: NetworkSettings) -> LesionNet:
    """With biases that are not zero, or what becomes of them would not be seen."""
    torch.manual_seed(0)
    weights = LesionNet(settings).state_dict()
    weights = {name: value + 0.1 * torch.randn_like(value) for name, value in weights.items()}
    return network_with(weights, settings, CPU).train()


def answers(settings: NetworkSettings, image: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The scores, and the gradient of each parameter."""
    one = net(settings)
    scores = one(image)
    loss_of(one, scores, (image > 1).float(), "dice-ce", "patch").backward()  # type: ignore[no-untyped-call]
    gradients = {name: value.grad for name, value in one.named_parameters() if value.grad is not None}
    return scores.detach(), gradients


@pytest.mark.parametrize("norm", ["instance", "channel"])
@pytest.mark.parametrize(
    ("features", "shape"),
    [(3, (1, 1, 8, 16, 8)), pytest.param(4, (2, 1, 16, 16, 16), marks=pytest.mark.slow)],
)
def test_the_network_is_the_same_function(
    norm: str, features: int, shape: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    settings = NetworkSettings.model_validate({"features": features, "activation": "sigmoid", "norm": norm})
    image = drawn(*shape)
    scores, gradients = answers(settings, image)
    request.getfixturevalue("as_on_a_gpu")
    ours, its = answers(settings, image)
    torch.testing.assert_close(ours, scores, atol=1e-4, rtol=1e-4)
    assert its.keys() == gradients.keys() == dict(net(settings).named_parameters()).keys()
    largest = max(float(value.norm()) for value in gradients.values())
    for name, value in gradients.items():
        torch.testing.assert_close(its[name], value, atol=1e-5 * largest, rtol=1e-3, msg=name)


def test_without_gradients_it_answers_the_same(as_on_a_gpu: None) -> None:
    settings = NetworkSettings(features=4, activation="sigmoid", norm="channel")
    image, one = drawn(1, 1, 8, 8, 8), net(settings)
    with torch.inference_mode():
        torch.testing.assert_close(one(image), one(image))
        assert one(image).dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 5, 40])
@pytest.mark.parametrize("voxels", [(1, 1, 1), (9, 10, 11)])
def test_instance_norm_of_any_map(channels: int, voxels: tuple[int, int, int]) -> None:
    x, residual = drawn(2, channels, *voxels), drawn(2, channels, *voxels, seed=1)
    bias, shift, slope = drawn(channels, seed=2), drawn(channels, seed=3), torch.tensor([0.25])
    got = InstanceNormActivation.apply(x, bias, slope, residual, shift, 1e-5)  # type: ignore[no-untyped-call]
    mean, variance = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), unbiased=False, keepdim=True)
    normed = (x - mean) / (variance + 1e-5).sqrt()
    expected = torch.nn.functional.prelu(normed, slope) + residual + shift[:, None, None, None]
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert got.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize(("lying", "channels"), [(8, 4), (4, 4), (40, 33)])
def test_channel_norm_counts_the_channels_that_are_meant(lying: int, channels: int) -> None:
    x = drawn(2, lying, 3, 4, 5)
    x[:, channels:] = 0
    bias, slope = drawn(lying, seed=1), torch.tensor([0.25])
    bias[channels:] = 0
    got = ChannelNormActivation.apply(x, bias, slope, None, None, 1e-5, channels)  # type: ignore[no-untyped-call]
    shifted = x + bias[:, None, None, None]
    expected = shifted / (shifted.square().sum(1, keepdim=True) / channels + 1e-5).sqrt()
    torch.testing.assert_close(got, torch.nn.functional.prelu(expected, slope), atol=1e-5, rtol=1e-5)
    assert not got[:, channels:].any()


@pytest.mark.parametrize("edges", [(7, 9, 10), (1, 2, 3)])
@pytest.mark.parametrize("features", [3, 16])
def test_the_first_convolutions_are_pytorchs(edges: tuple[int, int, int], features: int) -> None:
    image = drawn(2, 1, *edges)
    kernels = [drawn(features, 1, 3, 3, 3, seed=k).requires_grad_() for k in (1, 2)]
    got = FirstConvolutions.apply(image, *kernels, torch.float32)  # type: ignore[no-untyped-call]
    expected = [torch.nn.functional.conv3d(image, kernel, None, 2, 1) for kernel in kernels]
    torch.testing.assert_close(list(got), expected, atol=1e-4, rtol=1e-4)
    came = [drawn(*one.shape, seed=k) for k, one in enumerate(expected)]
    torch.testing.assert_close(
        torch.autograd.grad(got, kernels, came), torch.autograd.grad(expected, kernels, came), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("edges", [(7, 9, 10), (1, 2, 3)])
@pytest.mark.parametrize("lying", [4, 8])
def test_the_last_convolution_is_pytorchs(edges: tuple[int, int, int], lying: int) -> None:
    features = drawn(2, lying, *edges).requires_grad_()
    kernel, bias = drawn(1, 4, 3, 3, 3, seed=1).requires_grad_(), drawn(1, seed=2).requires_grad_()
    got = LastConvolution.apply(features, kernel, bias)  # type: ignore[no-untyped-call]
    expected = torch.nn.functional.conv3d(features[:, :4], kernel, bias, padding=1)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    came = drawn(*expected.shape, seed=3)
    wanted = (features, kernel, bias)
    torch.testing.assert_close(
        torch.autograd.grad(got, wanted, came), torch.autograd.grad(expected, wanted, came), atol=1e-3, rtol=1e-3
    )


def test_a_network_names_its_parameters_as_monai_does(tmp_path: Path) -> None:
    from monai.networks.nets.unet import UNet

    own = LesionNet(NetworkSettings(features=4, activation="sigmoid", norm="instance"))
    unet = UNet(3, 1, network.TOP_CHANNELS, [4, 8, 16, 32], [2, 2, 2], num_res_units=2, norm="instance")
    assert list(own.unet.state_dict()) == list(unet.state_dict())


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "tests/support/compiled_kernels.py"],
        cwd=ROOT,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert set(names) == {"_sums", *(f"_instance_{part}" for part in ("forward", "back_sums", "backward"))} | {
        f"_{which}_{way}" for which in ("channel", "first", "last") for way in ("forward", "backward")
    } | {"_last_kernel"}
    assert all(int(line.split()[1]) > 1000 for line in done.stdout.splitlines())

"""Our instance normalisation: PyTorch's, by another way where maps are large."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import instance_norm

from shared.config.groups import NetworkSettings
from shared.model import instance_norm as module
from shared.model.instance_norm import LEAST, InstanceNorm
from shared.model.network import LesionNet


def images(*shape: int) -> Tensor:
    """Random numbers channels last, their mean and deviation different from 0 and 1."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 1
    return drawn.to(memory_format=torch.channels_last_3d)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the way of large maps for every map."""
    monkeypatch.setattr(module, "LEAST", 0)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("shape", [(1, 4, 6, 5, 7), (3, 8, 4, 4, 4), (2, 1, 3, 3, 3)])
def test_values_and_gradients_are_pytorchs(shape: tuple[int, ...]) -> None:
    ours = images(*shape).requires_grad_()
    weight = images(*shape).flip(2)
    one, other = InstanceNorm(shape[1])(ours), instance_norm(images(*shape))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    (one * weight).sum().backward()
    torch.testing.assert_close(ours.grad, by_definition(images(*shape), weight), atol=1e-5, rtol=1e-5)


def by_definition(given: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the weighted sum, from the definition of the norm in double precision."""
    exact = given.double().contiguous().requires_grad_()
    variance, mean = torch.var_mean(exact, dim=(2, 3, 4), keepdim=True, correction=0)
    ((exact - mean) * torch.rsqrt(variance + 1e-5) * weight.double()).sum().backward()
    assert exact.grad is not None
    return exact.grad.float()


@pytest.mark.parametrize("lies_last", [(False, False), (False, True), (True, False), (True, True)])
def test_a_single_sample_has_the_right_gradient_however_it_lies(lies_last: tuple[bool, bool]) -> None:
    """PyTorch 2.13 gets it wrong where the gradient that comes lies channels last."""
    shape = (1, 8, 6, 5, 7)
    given, weight = (
        images(*shape).flip(axis).contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)
        for axis, last in zip((3, 2), lies_last, strict=True)
    )
    ours = given.clone().requires_grad_()
    InstanceNorm(8)(ours).backward(weight)
    torch.testing.assert_close(ours.grad, by_definition(given, weight), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_whole_network_has_the_gradient_of_double_precision(batch: int) -> None:
    network = LesionNet(NetworkSettings(features=4, activation="sigmoid", norm="instance"))
    exact = copy.deepcopy(network).double()
    for name, part in list(exact.unet.named_modules()):
        if isinstance(part, InstanceNorm):
            exact.unet.set_submodule(name, nn.InstanceNorm3d(part.num_features))
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    given = images(batch, 1, 16, 16, 16).contiguous()
    gradients = [
        torch.autograd.grad((net(values).sigmoid() * values).sum(), list(net.parameters()))
        for net, values in ((network, given), (exact, given.double()))
    ]
    one, other = (torch.cat([part.double().flatten() for part in parts]) for parts in gradients)
    assert float((one - other).norm() / other.norm()) < 1e-3


@pytest.mark.usefixtures("always")
def test_each_channel_of_each_sample_is_normalised_by_itself_and_stays_channels_last() -> None:
    one = InstanceNorm(4)(images(3, 4, 6, 6, 6))
    assert one.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(one.mean(dim=(2, 3, 4)), torch.zeros(3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(one.var(dim=(2, 3, 4), correction=0), torch.ones(3, 4), atol=1e-3, rtol=0)


@pytest.mark.usefixtures("always")
def test_it_works_without_gradients_as_in_inference() -> None:
    with torch.inference_mode():
        given = images(2, 4, 4, 4, 4)
        torch.testing.assert_close(InstanceNorm(4)(given), instance_norm(given), atol=1e-5, rtol=1e-5)


def test_small_maps_are_pytorchs_to_the_last_bit() -> None:
    given = images(2, 8, 16, 16, 16)
    assert given.numel() < LEAST
    assert torch.equal(InstanceNorm(8)(given), instance_norm(given))


def test_large_maps_take_the_other_way() -> None:
    given = images(4, 8, 32, 32, 32).requires_grad_()
    assert given.numel() == LEAST
    assert "ChannelsLast" in InstanceNorm(8)(given).grad_fn.name()
    assert "ChannelsLast" not in InstanceNorm(8)(given.contiguous()).grad_fn.name(), "only where it lies so"


def test_the_network_has_it_and_no_parameter_more() -> None:
    network = LesionNet(NetworkSettings(features=2, activation="sigmoid", norm="instance"))
    norms = [part for part in network.modules() if isinstance(part, nn.InstanceNorm3d)]
    assert norms and all(isinstance(part, InstanceNorm) for part in norms)
    assert not any(list(part.parameters()) + list(part.buffers()) for part in norms)


@pytest.mark.usefixtures("always")
def test_the_network_computes_the_same_by_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    network = LesionNet(NetworkSettings(features=4, activation="sigmoid", norm="instance")).to(
        memory_format=torch.channels_last_3d
    )  # type: ignore[call-overload]
    given = images(2, 1, 16, 16, 16)
    one = network(given)
    monkeypatch.setattr(module, "LEAST", 2**40)
    torch.testing.assert_close(one, network(given), atol=1e-4, rtol=1e-4)

"""PReLU with one slope: what PyTorch's own computes, forwards and backwards."""

import pytest
import torch
from torch import nn

from shared.model.prelu import SlopePReLU, with_slope_prelu


@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("slope", [0.25, 0.0, -0.5, 1.5])
def test_it_is_pytorchs_prelu_forwards_and_backwards(layout: torch.memory_format, slope: float) -> None:
    random = torch.Generator().manual_seed(0)
    values, gradient = (torch.randn(2, 3, 5, 6, 7, generator=random).to(memory_format=layout) for _ in range(2))
    values[0, 0, 0, 0, :2] = 0  # where the slope changes
    found = []
    for part in (nn.PReLU(), SlopePReLU()):
        nn.init.constant_(part.weight, slope)
        features = values.clone().requires_grad_()
        activated = part(features)
        activated.backward(gradient)
        assert features.grad is not None and part.weight.grad is not None
        found.append((activated.detach(), features.grad, part.weight.grad))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_gradient_that_lies_otherwise_than_the_features_is_right_too() -> None:
    part, plain = SlopePReLU(), nn.PReLU()
    values, gradient = torch.randn(2, 4, 3, 3, 3), torch.randn(2, 4, 3, 3, 3).to(memory_format=torch.channels_last_3d)
    for one in (part, plain):
        one(values).backward(gradient)
    torch.testing.assert_close(part.weight.grad, plain.weight.grad)


def test_a_network_keeps_its_parameters_and_their_names() -> None:
    network = nn.Sequential(nn.Sequential(nn.Conv3d(1, 2, 1), nn.PReLU()), nn.PReLU(num_parameters=2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with_slope_prelu(network)
    assert isinstance(network[0][1], SlopePReLU) and type(network[1]) is nn.PReLU, "one of several slopes stays"
    after = network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)

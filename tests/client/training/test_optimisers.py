"""Muon over kernels is PyTorch's own over matrices, whichever way the kernels lie."""

import copy

import pytest
import torch
from torch.optim import Muon

from client.training.optimisers import KernelMuon, Optimisation
from shared.model.network import LesionNet
from tests.conftest import Configured

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def kernel(layout: torch.memory_format, seed: int = 0) -> torch.nn.Parameter:
    values = torch.randn(6, 4, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.nn.Parameter(values.contiguous(memory_format=layout))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gradients", LAYOUTS)
def test_a_kernel_moves_as_its_matrix_does(layout: torch.memory_format, gradients: torch.memory_format) -> None:
    ours, matrix = kernel(layout), torch.nn.Parameter(kernel(torch.contiguous_format).detach().flatten(1))
    muon, reference = KernelMuon([ours], lr=0.1, weight_decay=0.01), Muon([matrix], lr=0.1, weight_decay=0.01)
    for seed in range(3):
        gradient = kernel(torch.contiguous_format, seed + 1).detach()
        ours.grad, matrix.grad = gradient.contiguous(memory_format=gradients), gradient.flatten(1)
        muon.step()
        reference.step()
    # Orthogonalised in bfloat16, whose sums hang on the order of the columns.
    torch.testing.assert_close(ours.detach().flatten(1), matrix.detach(), atol=5e-3, rtol=0)
    assert ours.is_contiguous(memory_format=layout)
    assert not torch.equal(ours, kernel(layout))
    muon.zero_grad()
    assert ours.grad is None


def test_muon_takes_the_kernels_of_several_channels_and_adamw_all_else(configured: Configured) -> None:
    settings = configured(optimiser="muon", learning_rate=0.25, muon_learning_rate=0.5, schedule="constant")
    network = LesionNet(settings.network)
    optimisation = Optimisation(network, settings.training, steps=3, steps_per_epoch=1)
    assert optimisation.learning_rates == (0.5, 0.25)
    muon, adamw = optimisation.optimisers
    taken = sum(matrix.numel() for matrix in muon.param_groups[0]["params"])
    rest = [one for one in network.parameters() if one.ndim < 5 or min(one.shape[:2]) == 1]
    assert {id(one) for one in adamw.param_groups[0]["params"]} == {id(one) for one in rest}
    assert taken + sum(one.numel() for one in rest) == sum(one.numel() for one in network.parameters())
    before = copy.deepcopy(network.state_dict())
    for one in network.parameters():
        one.grad = torch.ones_like(one)
    optimisation.step()
    assert all(not torch.equal(value, before[name]) for name, value in network.state_dict().items())

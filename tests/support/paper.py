"""A network so small that its losses and gradients can be computed on paper."""

from typing import Any

import torch
from torch import Tensor, nn

from client.training.sampler import Batch
from shared.config.groups import NetworkSettings


class OnPaper(nn.Module):
    """Two parameters: the score of a voxel is gain x image + bias."""

    def __init__(self, gain: float, bias: float, activation: Any = "sigmoid") -> None:
        super().__init__()
        self.settings = NetworkSettings(features=2, activation=activation, norm="instance")
        self.gain = nn.Parameter(torch.tensor(float(gain)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * images + self.bias


def on_paper(gain: float, bias: float, activation: Any = "sigmoid") -> Any:
    """The network, taken for one that travels."""
    return OnPaper(gain, bias, activation)


def voxels(*values: float) -> Tensor:
    """One patch with these voxels in a row, (1, 1, 1, 1, n)."""
    return torch.tensor(values)[None, None, None, None]


def batch_of(images: Tensor, labels: Tensor | None = None, **more: Any) -> Batch:
    """A batch of these images, fresh ones of one contrast unless `more` says otherwise."""
    count = len(images)
    parts = {"replayed": torch.zeros(count, dtype=torch.bool), "contrast": torch.zeros(count, dtype=torch.int64)}
    return Batch(images, torch.zeros_like(images) if labels is None else labels, **parts | more)

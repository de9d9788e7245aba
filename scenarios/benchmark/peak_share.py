"""Figure (b): how near a training step comes to the fastest that this machine multiplies matrices."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from client.training.losses import loss_of
from scenarios.benchmark.harness import Conditions, by_turns, timed
from shared.model.device import choose_device
from shared.model.network import LesionNet, initial_weights, network_with, scores_of


class _StepSize(NamedTuple):
    features: int
    patch: int
    batch: int
    turns: int
    edges: tuple[int, ...]


FULL = _StepSize(features=32, patch=64, batch=4, turns=5, edges=(1024, 1536, 2048, 3072))
QUICK = _StepSize(features=2, patch=16, batch=1, turns=2, edges=(64, 96))


@dataclass(frozen=True)
class PeakShare:
    """A training step of the paper's network and patch, and the matrix product that is fastest here."""

    step_gflop: float
    """Of forward and backward, as PyTorch counts multiplications and additions of its convolutions."""
    step_seconds: tuple[float, ...]
    peak_gflops: float
    """GFLOP/s of the best product of all."""
    peak_edge: int
    """Rows and columns of its matrices."""

    @property
    def gflops(self) -> float:
        """GFLOP/s of the median step, the optimiser's part within its time."""
        return self.step_gflop / statistics.median(self.step_seconds)

    @property
    def value(self) -> float:
        """The step's GFLOP/s over the peak."""
        return self.gflops / self.peak_gflops

    @property
    def detail(self) -> str:
        """What it was made from."""
        return (
            f"{self.gflops:.0f} of {self.peak_gflops:.0f} GFLOP/s ({self.step_gflop:.0f} GFLOP a step, "
            f"matrices of {self.peak_edge})"
        )


def measure_peak_share(conditions: Conditions) -> PeakShare:
    """Time a step, and products of float32 matrices of several sizes, by turns.

    On CUDA both run as the training does: the step by way of bfloat16, the product in it.
    """
    size = conditions.size(FULL, QUICK)
    settings = conditions.settings(features=size.features)
    device = choose_device(settings.training.device)
    network = network_with(initial_weights(settings.network, 0), settings.network, device).train()
    step, multiply = _step(network, size, device), {edge: _product(edge, device) for edge in size.edges}
    with FlopCounterMode(display=False) as counter:
        step()
    peak, edge = 0.0, 0
    seconds: list[float] = []
    for candidate in size.edges:
        multiply[candidate]()
        turns = by_turns(timed(step), timed(multiply[candidate]), size.turns)
        seconds += turns.first
        reached = 2 * candidate**3 / min(turns.second) / 1e9
        peak, edge = max((peak, edge), (reached, candidate))
    return PeakShare(counter.get_total_flops() / 1e9, tuple(seconds), peak, edge)


def _step(network: LesionNet, size: _StepSize, device: torch.device) -> Callable[[], None]:
    images = torch.randn(size.batch, 1, *(size.patch,) * 3, device=device)
    labels = (images > 2).float()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, foreach=True)

    def step() -> None:
        loss = loss_of(network, scores_of(network, images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _wait(device)

    return step


def _product(edge: int, device: torch.device) -> Callable[[], None]:
    kind: Any = torch.bfloat16 if device.type == "cuda" else torch.float32
    one, other = (torch.randn(edge, edge, device=device, dtype=kind) for _ in range(2))
    result = torch.empty_like(one)

    def multiply() -> None:
        torch.mm(one, other, out=result)
        _wait(device)

    return multiply


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""Patches from an honest model: gradient inversion as in Geiping et al. 2020 (Inverting Gradients), for this network.

Candidates are moved by Adam until the gradient that they would give points along what is known of the training's:
cosine distance, with total variation as the prior (their equation 4). What is known is the change of the model over a
stage, or, to see what the method itself can do, the gradient of its first step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cosine_similarity, interpolate

from client.training.losses import loss_of
from shared.config.settings import Settings
from shared.model.channel_norm import EPSILON, ChannelNorm
from shared.model.network import LesionNet
from shared.model.prelu import SlopePReLU
from shared.model.swap import swap
from shared.model.weights import Weights

Match = Literal["gradient", "update"]
"""What is held against the change of a kernel: the candidates' gradient as it is, or orthogonalised, as Muon's first
step makes it."""

NEWTON_SCHULZ = (3.4445, -4.775, 2.0315)
"""Of Muon (Jordan et al. 2024); five rounds."""


RANGE = (-3.0, 4.0)
"""Of normalised intensities, as the coordinator knows them from any image."""


COARSER = (8, 4, 2, 1)
"""An image is the sum of maps that are so much coarser."""

START = 0.1
"""Standard deviation of the noise that a search begins with."""


@dataclass(frozen=True)
class Search:
    """How hard the coordinator tries."""

    patches: int
    """Candidates, in one batch."""
    iterations: int
    restarts: int
    match: Match
    variation: float = 0.1
    """What the total variation weighs beside the cosine distance."""
    rate: float = 0.1
    """Adam's, down to zero by a cosine."""


class _Norm(nn.Module):
    """ChannelNorm, of which a gradient's gradient can be taken."""

    def forward(self, features: Tensor) -> Tensor:
        return features * (features.square().mean(dim=1, keepdim=True) + EPSILON).rsqrt()


def _prelu(quick: SlopePReLU) -> nn.PReLU:
    plain = nn.PReLU()
    plain.weight = quick.weight
    return plain


def twice_differentiable(weights: Weights, settings: Settings) -> LesionNet:
    """The network of default recipes, whose own modules are quick and differentiable once."""
    network = LesionNet(settings.network)
    network.load_state_dict(weights)
    swap(network, ChannelNorm, lambda norm: _Norm())
    swap(network, SlopePReLU, _prelu)
    return network.to(memory_format=torch.channels_last_3d)


def _by_muon(value: Tensor) -> bool:
    """Whether a parameter is one that Muon moves, and not AdamW."""
    return value.ndim == 5 and min(value.shape[:2]) > 1


def directed(weights: Mapping[str, Tensor]) -> list[str]:
    """The parameters that have a direction: all but the single numbers."""
    return [name for name, value in weights.items() if value.numel() > 1]


def invert(
    before: Weights,
    change: Mapping[str, Tensor],
    settings: Settings,
    search: Search,
    labels: Tensor | None = None,
    seed: int = 0,
) -> tuple[Tensor, float]:
    """Patches (n, 1, D, H, W) whose training step on the model `before` resembles a change, and their distance.

    `change` is what was taken off each parameter. Without `labels` they are looked for, too. The nearest of all
    restarts.
    """
    network = twice_differentiable(before, settings)
    parameters = {name: value.detach().requires_grad_(name in change) for name, value in network.named_parameters()}
    edge = settings.training.patch_size
    shape = (search.patches, 1, edge, edge, edge)
    generator = torch.Generator().manual_seed(seed)
    found: tuple[Tensor, float] | None = None
    for _ in range(search.restarts):
        levels = [
            (START * torch.randn((search.patches, 1, *(edge // by,) * 3), generator=generator)).requires_grad_()
            for by in COARSER
        ]
        scores = torch.full(shape, -3.0).requires_grad_()
        adam = torch.optim.Adam(levels if labels is not None else [*levels, scores], lr=search.rate)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, search.iterations)
        for _ in range(search.iterations):
            adam.zero_grad()
            images = _sum(levels, edge).clamp(*RANGE)
            target = scores.sigmoid() if labels is None else labels
            distance = distance_of(network, parameters, images, target, change, settings, search.match)
            (distance + search.variation * variation_of(images)).backward()
            adam.step()
            decay.step()
        if found is None or distance.item() < found[1]:
            found = images.detach(), distance.item()
    assert found is not None
    return found


def _sum(levels: Sequence[Tensor], edge: int) -> Tensor:
    """One image of maps of several resolutions, so that what is coarse is found in few iterations."""
    whole = [interpolate(level, (edge,) * 3, mode="trilinear", align_corners=False) for level in levels]
    return torch.stack(whole).sum(0)


def distance_of(
    network: LesionNet,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    change: Mapping[str, Tensor],
    settings: Settings,
    match: Match,
) -> Tensor:
    """Mean cosine distance over the parameters, between what the candidates ask for and what was changed."""
    names = [name for name, value in parameters.items() if value.requires_grad]
    options = settings.training
    scores = functional_call(network, dict(parameters), (images,))
    loss = loss_of(network, scores, labels, options.loss, options.dice_over)
    gradients = torch.autograd.grad(loss, [parameters[name] for name in names], create_graph=True)
    asked = [orthogonalised(one) if _by_muon(one) and match == "update" else one for one in gradients]
    return 1 - _mean(
        [cosine_similarity(a.flatten(), change[n].flatten(), dim=0) for a, n in zip(asked, names, strict=True)]
    )


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def orthogonalised(kernel: Tensor) -> Tensor:
    """What Muon makes of a kernel's gradient in its first step, in full precision."""
    matrix = kernel.flatten(1)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return (wide if matrix.shape[0] <= matrix.shape[1] else wide.T).reshape(kernel.shape)


def variation_of(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring voxels."""
    return _mean([images.diff(dim=axis).abs().mean() for axis in (2, 3, 4)])


def turns(patches: Tensor) -> Tensor:
    """(n, 1, D, H, W) to (n, 16, voxels): all flips, with and without a quarter turn in the axial plane."""
    turned = []
    for quarter in (0, 1):
        for flips in range(8):
            axes = [2 + axis for axis in range(3) if flips >> axis & 1]
            turned.append(torch.rot90(patches, quarter, (2, 3)).flip(axes).flatten(1))
    return torch.stack(turned, dim=1)


def resemblance(guesses: Tensor, truth: Tensor) -> tuple[float, float]:
    """Root mean square error and correlation of guesses with the true patches that they fit best.

    Both are (n, 1, D, H, W). Each guess is given a patch of its own, in whatever turn; the two are means over guesses.
    """
    true, turned = truth.flatten(1), turns(guesses)
    voxels = true.shape[1]
    products = torch.einsum("ntv,mv->nmt", turned, true)
    squares, true_squares = turned.square().sum(2), true.square().sum(1)
    errors = ((squares[:, None] + true_squares[None, :, None] - 2 * products) / voxels).clamp_min(0).sqrt()
    turned, true = turned - turned.mean(2, keepdim=True), true - true.mean(1, keepdim=True)
    spreads = (turned.norm(dim=2)[:, None] * true.norm(dim=1)[None, :, None]).clamp_min(1e-3)
    correlations = torch.einsum("ntv,mv->nmt", turned, true) / spreads

    def best(values: Tensor, sign: float) -> float:
        each = (sign * values).amin(2)
        rows, columns = linear_sum_assignment(each.numpy())
        return sign * float(each[rows, columns].mean())

    return best(errors, 1.0), best(correlations, -1.0)

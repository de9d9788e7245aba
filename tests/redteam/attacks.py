"""What a coordinator that lies does to hospitals that do all that they are asked.

Each attack has nothing but an `Ask`, the coordinator's way to the hospitals, and the run-config that the coordinator
writes. It returns what it reconstructed beside the truth, which it sees for judging only. Where a hospital refuses,
it ends with `Refused` and the reason.

The model of the first two copies voxels. At the bottom of the U-Net the map of a 16^3 patch has 2^3 positions, and
the gradient of a 3x3x3 kernel is the sum of as many outer products: for each position one number an output, times the
features that the kernel's taps meet from there. These features are voxels that strided convolutions brought down one
by one, and beside them a known constant, so that two least-squares solutions give the voxels (the gradient of a linear
layer: Geiping et al. 2020; of one that was made for it: Boenisch et al. 2023, When the Curious Abandon Honesty). What
Muon makes of a gradient keeps the products, since it multiplies the kernel, as a matrix, from the left.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray

from client.training.sampler import Batch, PatchSampler
from shared.config.settings import Settings
from shared.model.network import initial_weights
from shared.model.weights import Weights
from shared.replay.contribution import Contribution
from shared.seeds import derive_seed, generator
from shared.wire.headers import CenterCard, EvaluateTask, Question, RollCall, TestFigures, TrainTask
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    pack_evaluate_request,
    pack_train_request,
    unpack_train_reply,
)
from shared.wire.records import pack_question, unpack_header
from tests.redteam.hospitals import Ask, RunConfig

EDGE = 16
"""Voxels along each edge of the patches that are read."""

ONE_PATCH: RunConfig = {
    "contrasts": "FLAIR",
    "steps": 1,
    "batch-size": 1,
    "patches-per-volume": 1,
    "patch-size": EDGE,
    "spacing": 2.0,
    "exemplar-mm": 2.0 * EDGE,
    "weight-decay": 0.0,
    "schedule": "constant",
    "device": "cpu",
}
"""What the attacks on images need: one step on one patch."""

ADAMW: RunConfig = {"norm": "instance", "optimiser": "adamw", "learning-rate": 1.0, "features": 32}
DEFAULT: RunConfig = {"norm": "channel", "optimiser": "muon", "features": 16}
"""Two networks and optimisers for it; the second is the default recipe's."""

DOWN = tuple(f"unet.model.{'1.submodule.' * level}0." for level in range(3))
BOTTOM = f"unet.model.{'1.submodule.' * 3}conv.unit0.conv.weight"
OCTANTS = tuple(product((0, 1), repeat=3))
ADAM_EPSILON = 1e-8

MEETS = np.array(
    [
        [[float(np.array_equal(np.add(output, tap) - 1, position)) for position in OCTANTS] for output in OCTANTS]
        for tap in np.ndindex(3, 3, 3)
    ]
)
"""(27, 8, 8): whether, for an output at one position, a tap of the kernel lies on the feature at another."""

Offset = tuple[int, int, int]
"""Of a voxel in its block of 8^3: which octant of octants, three times; the coarsest first."""


@dataclass(frozen=True)
class Reconstruction:
    """What an attack made out, beside the truth."""

    got: NDArray[np.float64]
    truth: NDArray[np.float64]
    messages: int
    """That had to be sent for it, without the roll call."""

    @property
    def error(self) -> float:
        """The largest of all."""
        return float(np.abs(self.got - self.truth).max())

    @property
    def correlation(self) -> float:
        return float(np.corrcoef(self.got.ravel(), self.truth.ravel())[0, 1])


def read_own_patch(ask: Ask, victim: str, run_config: RunConfig, recipe: RunConfig) -> Reconstruction:
    """A patch of the victim's own patients, by train messages of one step with a model that copies voxels."""
    config = {**run_config, **ONE_PATCH, **recipe, "method": "finetune"}
    run = uuid4().hex
    task = TrainTask(run=run, stage=0, center=victim, contribute=False, order=(victim,))
    with batches_trained_on() as seen:
        got, messages = _read(ask, task, (), config)
    return Reconstruction(got, _patch(seen), messages)


def open_sealed_crop(
    ask: Ask, order: Sequence[str], run_config: RunConfig, recipe: RunConfig
) -> tuple[Reconstruction, Contribution]:
    """A crop that one hospital sealed for the next, by letting the next train on nothing else; and what was sealed."""
    giver, victim = order
    config = {**run_config, **ONE_PATCH, **recipe, "method": "replay", "replay-mode": "paper", "sealing": "on"}
    run = uuid4().hex
    common: dict[str, Any] = {"run": run, "order": tuple(order)}
    weights = initial_weights(Settings.from_run_config(config).network, 0)
    keys = (_card(ask, victim, config).identity,)
    first = TrainTask(stage=0, center=giver, contribute=True, budget=10**6, identities=keys, **common)
    given = _train(ask, TrainRequest(first, weights, ()), config).contribution
    if given is None:
        raise ValueError(f"{giver} gave no crop, so that there is none to open")
    own, crops = _card(ask, victim, config).training_subjects, len(given.payloads)
    # By a seed of the coordinator's the one patch of the one step comes from the memory, and not from an own volume.
    config["seed"] = next(seed for seed in range(1000) if _first_drawn(seed, victim, own + crops) >= own)
    # `paper` makes the stage longer by the memory, and the rounds make it short again.
    rounds = -(-(own + crops) // own)
    task = TrainTask(stage=1, center=victim, contribute=False, rounds=rounds, **common)
    with batches_trained_on() as seen:
        got, messages = _read(ask, task, (given,), config)
    if not all(bool(batch.replayed.all()) for batch in seen):
        raise ValueError("the patch that was trained on comes from no crop of the memory")
    return Reconstruction(got, _patch(seen), messages + 1), given


def _first_drawn(seed: int, center: str, sources: int) -> int:
    random = np.random.default_rng(derive_seed(seed, "train", 1, center))
    return int(random.permutation(sources)[0])


def read_lesion_volumes(
    ask: Ask, victim: str, subjects: int, run_config: RunConfig, seeds: Sequence[int] = range(5)
) -> tuple[NDArray[np.float64], int]:
    """The lesion volume of each of the victim's subjects in ml, by name, from means alone; and how many were asked for.

    A model that finds nothing anywhere misses each lesion whole, so that its mean difference in volume is the mean
    volume of the test set; the coordinator chooses the sets, by seed and test fraction.
    """
    rows, sums = [], []
    for seed in seeds:
        turn = generator(seed, "split", victim).permutation(subjects)
        for tested in range(subjects - 3, subjects):
            config = {**run_config, "contrasts": "FLAIR", "seed": seed, "test-fraction": tested / subjects}
            weights = silent(config)
            task = EvaluateTask(run=uuid4().hex, stage=0, center=victim)
            content = pack_evaluate_request(EvaluateRequest(task, weights))
            figures = unpack_header(ask(victim, "evaluate", content, config), TestFigures)
            if figures.mean is None:
                raise ValueError(f"{victim} gives the scores of each image: there is nothing to compute")
            rows.append(np.isin(np.arange(subjects), turn[:tested]))
            sums.append(figures.mean.means["volume_difference_ml"] * tested)
    found: NDArray[np.float64] = np.linalg.lstsq(np.array(rows, dtype=float), np.array(sums))[0]
    return found, len(rows)


def silent(run_config: RunConfig) -> Weights:
    """A model that finds no lesion in any image."""
    weights = initial_weights(Settings.from_run_config(run_config).network, 0)
    weights["head.weight"].zero_()
    weights["head.bias"].fill_(-100.0)
    return weights


# How a patch is read


def _read(
    ask: Ask, task: TrainTask, memory: tuple[Contribution, ...], config: Mapping[str, Any]
) -> tuple[NDArray[np.float64], int]:
    """The patch that the task's one step trains on, and how many train messages that took."""
    settings = Settings.from_run_config(config)
    got = np.full((EDGE,) * 3, np.nan)
    parts = list(portions(settings.network.features))
    for part in parts:
        sent = copying(settings, part)
        back = _train(ask, TrainRequest(task, sent, memory), config).weights
        for block, voxels in zip(OCTANTS, features_at_bottom(sent, back, settings), strict=True):
            for offset, value in zip(part, voxels, strict=True):
                octants = (block, *(OCTANTS[octant] for octant in offset))
                place = np.add.reduce([8 // 2**k * np.array(octant) for k, octant in enumerate(octants)])
                got[tuple(place)] = value
    return got, len(parts)


def portions(features: int) -> Iterator[list[Offset]]:
    """All 8^3 offsets, as many at once as the network's channels bring down beside a constant."""
    pairs = list(product(range(8), range(8)))
    for start in range(0, 64, 2 * features):
        some = [(coarse, *pair) for pair in pairs[start : start + 2 * features] for coarse in range(8)]
        most = 4 * features - 1
        yield from (some[k : k + most] for k in range(0, len(some), most))


def copying(settings: Settings, part: Sequence[Offset]) -> Weights:
    """A network whose way down brings the voxels at some offsets of each block of 8^3 to the bottom, as they are."""
    weights = initial_weights(settings.network, 5)
    for name in weights:
        if name.startswith(DOWN):
            weights[name] = torch.full_like(weights[name], 0.25 if name.endswith("adn.A.weight") else 0.0)
    pairs = list(dict.fromkeys(offset[1:] for offset in part))
    for fine in range(8):
        _copy(weights, 0, fine, 0, fine)
    for channel, (middle, fine) in enumerate(pairs):
        _copy(weights, 1, channel, fine, middle)
    for channel, (coarse, *pair) in enumerate(part):
        _copy(weights, 2, channel, pairs.index((pair[0], pair[1])), coarse)
    weights[DOWN[2] + "residual.bias"][len(part)] = 1.0
    weights[BOTTOM].zero_()
    if settings.training.optimiser == "adamw":
        # AdamW's first step is g / (|g| + 1e-8): gradients as small as that can still be told apart in it.
        weights["head.weight"] *= 1e-6
    return weights


def _copy(weights: Weights, level: int, channel: int, source: int, octant: int) -> None:
    """Let a channel take, of a channel above, the voxel in one octant of each block of 2^3."""
    taps = tuple(1 + bit for bit in OCTANTS[octant])
    weights[DOWN[level] + "residual.weight"][(channel, source, *taps)] = 1.0


def features_at_bottom(sent: Weights, back: Weights, settings: Settings) -> NDArray[np.float64]:
    """The features that stand before the constant at each of the bottom's 2^3 positions, from one step's change."""
    change = (sent[BOTTOM].double() - back[BOTTOM].double()).numpy()
    if settings.training.optimiser == "adamw":
        ratio = change / settings.training.learning_rate
        change = ADAM_EPSILON * ratio / np.maximum(1 - np.abs(ratio), 1e-9)
    known = int(sent[DOWN[2] + "residual.bias"].argmax())
    outputs, channels = change.shape[:2]
    # Of 2^3 outer products; what is left beside them is rounding, which Muon makes large.
    directions = np.linalg.svd(change.reshape(outputs, -1), full_matrices=False)[0][:, :8]
    taps = (directions.T @ change.reshape(outputs, -1)).reshape(8, channels, 27)
    # What the constant's own taps say of each position's factor, and with these, what the voxels' say of the voxels.
    factors = np.linalg.lstsq(MEETS.sum(2), taps[:, known].T)[0]
    meets = np.einsum("pr,kpq->rkq", factors, MEETS).reshape(-1, 8)
    found: NDArray[np.float64] = np.linalg.lstsq(meets, taps[:, :known].transpose(0, 2, 1).reshape(-1, known))[0]
    return found


def _train(ask: Ask, request: TrainRequest, config: RunConfig) -> TrainReply:
    return unpack_train_reply(ask(request.task.center, "train", pack_train_request(request), config))


def _card(ask: Ask, center: str, config: RunConfig) -> CenterCard:
    """What a center says of itself at the roll call."""
    answer = unpack_header(ask(center, "query.roll_call", pack_question(Question()), config), RollCall)
    return next(card for card in answer.cards if card.center == center)


# For judging only


@contextmanager
def batches_trained_on() -> Iterator[list[Batch]]:
    """What all trainings in this process are given meanwhile."""
    seen: list[Batch] = []
    draw = PatchSampler.batch

    def noted(sampler: PatchSampler) -> Batch:
        batch = draw(sampler)
        seen.append(batch)
        return batch

    PatchSampler.batch = noted  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        PatchSampler.batch = draw  # type: ignore[method-assign]


def _patch(seen: Sequence[Batch]) -> NDArray[np.float64]:
    """The one patch of every batch. Raises `ValueError` where they are of several."""
    first = seen[0].images
    if any(not torch.equal(batch.images, first) for batch in seen) or len(first) > 1:
        raise ValueError("the trainings were on different patches")
    return first[0, 0].double().numpy()

"""What a coordinator that is honest but curious makes out of the honest models of a default run.

    python -m tests.redteam.honest_leakage [--iterations 100 30] [--restarts 1] [--steps 1 10 100 240]

A simulated hospital trains stages of so many steps by the default recipe, from the seeded start. Of each the
coordinator has the model before and after, and tries two ways: gradient inversion (inversion.py) and the linear
read-out of the attacks, with a decoder that it fits on patients of its own. Each guess is held against the patches
that were trained on, in whatever turn fits best; beside it stand the mean patch, and patches of another hospital,
which say how much any two patients' patches resemble each other. One thread; minutes for each row.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from client.hospital.center import open_hospital
from client.training.losses import loss_of
from client.training.plan import plan_stage
from client.training.sampler import PatchSampler, Source
from client.training.trainer import train
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from shared.model.network import LesionNet, initial_weights
from shared.model.weights import Weights
from shared.paths import cache_folder, writable_folder
from shared.seeds import derive_seed
from tests.redteam.attacks import BOTTOM, batches_trained_on
from tests.redteam.hospitals import default_config
from tests.redteam.inversion import Match, Search, directed, invert, resemblance, twice_differentiable

CPU = torch.device("cpu")
HOSPITAL, OTHER = "rennes", "amu"
LEAST_SPREAD = 0.2
"""Of a block's intensities: with less there is nothing in it to be found out."""

MOST = 4
"""Patches that are looked for at once in stages of several steps."""

BLOCK = 8
"""Edge of what one position of the network's bottom stands for, in voxels."""


@dataclass(frozen=True)
class Stage:
    """An honest stage of training, as the coordinator sees it, and what only the judge knows."""

    before: Weights
    after: Weights
    images: Tensor
    """(n, 1, D, H, W): all patches of the stage."""
    labels: Tensor

    @property
    def change(self) -> dict[str, Tensor]:
        """What was taken off each parameter."""
        return {name: self.before[name] - self.after[name] for name in directed(self.before)}


@dataclass(frozen=True)
class Row:
    """One line of the table: a guess, and how near it came."""

    what: str
    error: float
    """In standard deviations of a head's intensities."""
    correlation: float

    def __str__(self) -> str:
        return f"| {self.what} | {self.error:.2f} | {self.correlation:.2f} |"


def sources(center: str, settings: Settings) -> list[Source]:
    """The volumes that a simulated hospital trains on."""
    site = simulated_site(center, settings)
    prepared = writable_folder(cache_folder(settings.data.cache_dir), "cache folder")
    hospital = open_hospital(site, prepared, settings)
    volumes = [volume for _, volume in hospital.open(hospital.training)[0]]
    return [Source.of_volume(volume, settings.training.patch_size) for volume in volumes]


def honest_stage(own: Sequence[Source], settings: Settings) -> Stage:
    """The first stage of a run at a hospital with these volumes."""
    before = initial_weights(settings.network, derive_seed(settings.run.seed, "network"))
    seed = derive_seed(settings.run.seed, "train", 0, HOSPITAL)
    with batches_trained_on() as seen:
        after = train(before, plan_stage(own, [], settings), settings, seed, CPU).weights
    images, labels = (torch.cat([getattr(batch, part) for batch in seen]) for part in ("images", "labels"))
    return Stage(before, after, images, labels)


def first_gradient(stage: Stage, settings: Settings) -> dict[str, Tensor]:
    """The gradient of a stage's first step, which no honest hospital sends."""
    network = twice_differentiable(stage.before, settings)
    images, labels = (part[: settings.training.patches] for part in (stage.images, stage.labels))
    options = settings.training
    loss = loss_of(network, network(images), labels, options.loss, options.dice_over)
    named = dict(network.named_parameters())
    names = directed(stage.before)
    return dict(zip(names, torch.autograd.grad(loss, [named[name] for name in names]), strict=True))


def patches_of(own: Sequence[Source], settings: Settings, number: int) -> Tensor:
    """Patches as a training draws them, without training."""
    recipe = replace(plan_stage(own, [], settings).recipe, patches=number)
    return PatchSampler(own, (), recipe, np.random.default_rng(1)).batch().images


def blocks(images: Tensor) -> Tensor:
    """(n, 1, D, H, W) cut into (m, 1, 8, 8, 8), in the order of the bottom's positions."""
    cut = images
    for axis in (2, 3, 4):
        cut = cut.unfold(axis, BLOCK, BLOCK)
    return cut.reshape(-1, 1, BLOCK, BLOCK, BLOCK)


def bottom_features(network: LesionNet, images: Tensor) -> Tensor:
    """What the bottom's kernel meets at each position of each image: (n x positions, channels)."""
    met: list[Tensor] = []
    kernel = network.get_submodule(BOTTOM.removesuffix(".weight"))
    hook = kernel.register_forward_pre_hook(lambda _, inputs: met.append(inputs[0].detach()))
    with torch.no_grad():
        network(images)
    hook.remove()
    return met[0].permute(0, 2, 3, 4, 1).reshape(-1, met[0].shape[1])


@dataclass(frozen=True)
class Decoder:
    """From features of the bottom to the voxels that they stand for, as they go together in patches that one has."""

    mean: Tensor
    length: Tensor
    """Of a vector of features, on average."""
    block: Tensor
    factors: Tensor

    @classmethod
    def fitted(cls, features: Tensor, cut: Tensor) -> Self:
        """By ridge regression of blocks (n, 1, 8, 8, 8) on features (n, channels)."""
        mean, block = features.mean(0), cut.flatten(1).mean(0)
        apart = features - mean
        ridge = 1e-2 * apart.square().mean() * len(apart) * torch.eye(apart.shape[1])
        factors = torch.linalg.solve(apart.T @ apart + ridge, apart.T @ (cut.flatten(1) - block))
        return cls(mean, features.norm(dim=1).mean(), block, factors)

    def blocks(self, features: Tensor) -> Tensor:
        return (self.block + (features - self.mean) @ self.factors).reshape(-1, 1, BLOCK, BLOCK, BLOCK)


def read_out(change: Tensor, decoder: Decoder, number: int = 8) -> Tensor:
    """Blocks (number, 1, 8, 8, 8), linearly from the change of the bottom's kernel.

    Its leading directions are read as features of the bottom, as the attacks do, each at the tap where it is strongest.
    """
    taps = change.flatten(2)
    directions = torch.linalg.svd(taps.flatten(1), full_matrices=False).Vh[:number].reshape(-1, *taps.shape[1:])
    strongest = directions.square().sum(1).argmax(1)
    found = directions[torch.arange(len(directions)), :, strongest]
    upright = (found @ decoder.mean).sign()[:, None]
    return decoder.blocks(found * upright * decoder.length / found.norm(dim=1, keepdim=True))


def compared(what: str, guesses: Tensor, truth: Tensor) -> Row:
    return Row(what, *resemblance(guesses, truth))


def controls(where: str, truth: Tensor, known: Tensor, foreign: Tensor, number: int) -> Iterator[Row]:
    """What is reached without any model: by the mean of the hospital's own patches, and by other patients."""
    yield compared(f"{where}: the mean patch", known.mean(0, keepdim=True).expand(number, -1, -1, -1, -1), truth)
    yield compared(f"{where}: patches of another hospital", foreign[:number], truth)


def cropped(images: Tensor) -> Tensor:
    """The middle of each patch, of 16^3 voxels."""
    low = images.shape[-1] // 2 - 8
    return images[:, :, low : low + 16, low : low + 16, low : low + 16]


def textured(cut: Tensor) -> Tensor:
    """Without the blocks that show nothing, such as air."""
    return cut[cut.flatten(1).std(1) > LEAST_SPREAD]


@dataclass(frozen=True)
class Experiment:
    """Two hospitals' volumes, and how hard the coordinator tries."""

    settings: Settings
    own: Sequence[Source]
    other: Sequence[Source]
    iterations: tuple[int, int]
    """Of searches for one patch, and for several."""
    restarts: int

    @cached_property
    def known(self) -> Tensor:
        """Patches of the hospital that trains, drawn once more."""
        return patches_of(self.own, self.settings, 64)

    @cached_property
    def foreign(self) -> Tensor:
        return patches_of(self.other, self.settings, 64)

    def search(self, match: Match, patches: int = 1) -> Search:
        return Search(patches, self.iterations[patches > 1], self.restarts, match)

    def small_patch(self) -> Iterator[Row]:
        """What inversion can do at all: the gradient of one patch of 16^3, three times as many iterations."""
        settings, where = with_training(self.settings, steps=1, batch_size=1, patch_size=16), "1 step, 1 patch of 16^3"
        stage = honest_stage(self.own, settings)
        yield from controls(where, stage.images, cropped(self.known), cropped(self.foreign), 1)
        search = replace(self.search("gradient"), iterations=3 * self.iterations[0])
        guesses, distance = invert(stage.before, first_gradient(stage, settings), settings, search, stage.labels)
        what = f"{where}: the gradient itself, labels known (distance {distance:.2f})"
        yield compared(what, guesses, stage.images)

    def one_patch(self) -> Iterator[Row]:
        settings, where = with_training(self.settings, steps=1, batch_size=1), "1 step, 1 patch"
        stage = honest_stage(self.own, settings)
        yield from controls(where, stage.images, self.known, self.foreign, 1)
        tries: list[tuple[str, dict[str, Tensor], Match, Tensor | None]] = [
            ("the gradient itself, labels known", first_gradient(stage, settings), "gradient", stage.labels),
            ("orthogonalised gradient against the update, labels known", stage.change, "update", stage.labels),
            ("orthogonalised gradient against the update", stage.change, "update", None),
            ("gradient against the update", stage.change, "gradient", None),
        ]
        for what, change, match, labels in tries:
            guesses, distance = invert(stage.before, change, settings, self.search(match), labels)
            yield compared(f"{where}: {what} (distance {distance:.2f})", guesses, stage.images)

    def stage(self, steps: int) -> Iterator[Row]:
        """Of so many steps of the default recipe, by both ways."""
        settings = with_training(self.settings, steps=steps)
        stage = honest_stage(self.own, settings)
        where = f"{steps} step{'s' * (steps > 1)} of {settings.training.patches} patches"
        candidates = settings.training.patches if steps == 1 else MOST
        yield from self.read_out(stage, settings, where)
        yield from controls(where, stage.images, self.known, self.foreign, candidates)
        matches: tuple[Match, ...] = ("update", "gradient") if steps == 1 else ("update",)
        for match in matches:
            guesses, distance = invert(stage.before, stage.change, settings, self.search(match, candidates))
            by = "orthogonalised gradient" if match == "update" else "gradient"
            yield compared(f"{where}: {by} against the update (distance {distance:.2f})", guesses, stage.images)

    def read_out(self, stage: Stage, settings: Settings, where: str) -> Iterator[Row]:
        """The linear read-out, and what its decoder gives for the features of other patients."""
        truth, theirs = textured(blocks(stage.images)), blocks(self.foreign)
        shuffled = torch.randperm(len(theirs), generator=torch.Generator().manual_seed(0))
        drawn = shuffled[theirs[shuffled].flatten(1).std(1) > LEAST_SPREAD][:8]
        features = bottom_features(twice_differentiable(stage.before, settings), self.foreign)
        decoder = Decoder.fitted(features, theirs)
        where = f"{where}, blocks of 8^3"
        yield from controls(where, truth, textured(blocks(self.known)), theirs[drawn], 8)
        yield compared(f"{where}: another hospital's, through the decoder", decoder.blocks(features[drawn]), truth)
        yield compared(f"{where}: linear read-out", read_out(stage.change[BOTTOM], decoder), truth)


def with_training(settings: Settings, **training: Any) -> Settings:
    return settings.model_copy(update={"training": settings.training.model_copy(update=training)})


def main(words: Mapping[str, Any]) -> None:
    torch.set_num_threads(1)
    settings = Settings.from_run_config(default_config() | {"device": "cpu", "contrasts": "FLAIR"})
    own, other = sources(HOSPITAL, settings), sources(OTHER, settings)
    experiment = Experiment(settings, own, other, words["iterations"], words["restarts"])
    print("| what is guessed, and from what | error (sd) | correlation |\n|---|---|---|", flush=True)
    stages = (experiment.stage(steps) for steps in words["steps"])
    for row in chain(experiment.small_patch(), experiment.one_patch(), *stages):
        print(row, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, nargs=2, default=[100, 30])
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--steps", type=int, nargs="*", default=[1, 10, 100, 240])
    main(vars(parser.parse_args()))

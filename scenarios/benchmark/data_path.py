"""Figure (c): patches a second, against the paper's way from volumes to batches, where data are what matters.

Of the paper's way, transforms, their order and their parameters are those of `main_pl_replay_random.py` at
github.com/naga-karthik/continual-learning-ms (Karthik et al. 2022): a `CacheDataset` keeps each volume cropped to
what is above zero; crops, flips, quarter turns, the equalised histogram and the normalisation of every patch are
made anew each time, in the workers of a `DataLoader`.

It is met at its best: volumes are in memory already, there is a worker a core, and the workers outlast an epoch, which
the paper's four do not.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import CropForegroundd, RandCropByPosNegLabeld
from monai.transforms.intensity.dictionary import HistogramNormalized, NormalizeIntensityd
from monai.transforms.spatial.dictionary import RandFlipd, RandRotate90d
from monai.transforms.utility.dictionary import ToTensord
from torch import Tensor

from client.data.preprocessing import Volume
from client.training.losses import loss_of
from client.training.sampler import PatchSampler, Recipe, Source
from scenarios.benchmark.fixtures import Bedside
from scenarios.benchmark.harness import Conditions, Turns, by_turns, timed
from shared.config.settings import Settings
from shared.cores import cores_here
from shared.model.device import choose_device
from shared.model.network import initial_weights, network_with, scores_of

Batches = Iterable[tuple[Tensor, Tensor]]


class _FeedSize(NamedTuple):
    features: int
    patch: int
    volumes: int
    """In a batch."""
    samples: int
    """Patches of each volume, as in the paper."""
    steps: int
    """At least so many in a turn."""
    turns: int


FULL = _FeedSize(features=8, patch=32, volumes=4, samples=4, steps=24, turns=3)
QUICK = _FeedSize(features=2, patch=16, volumes=1, samples=2, steps=2, turns=1)


@dataclass(frozen=True)
class DataPath:
    """An epoch fed by the paper's data path (first), and as many steps fed by ours (second)."""

    turns: Turns
    patches: int
    """In one turn, of either."""
    workers: int
    """Processes of the paper's data path."""
    alone: Turns
    """The same batches, made and not trained on."""

    @property
    def value(self) -> float:
        """How many times as many patches a second ours trains on."""
        return self.turns.ratio

    @property
    def detail(self) -> str:
        """What it was made from."""
        theirs, ours, their_data, our_data = (
            self.patches / statistics.median(taken)
            for turns in (self.turns, self.alone)
            for taken in (turns.first, turns.second)
        )
        return (
            f"{ours:.0f} patches/s against {theirs:.0f} with {self.workers} workers; without the network "
            f"{our_data:.0f} against {their_data:.0f}, {self.alone.ratio:.0f} times as many"
        )


def measure_data_path(conditions: Conditions) -> DataPath:
    """Train one small network with one optimiser on the same volumes, fed in both ways by turns."""
    size = conditions.size(FULL, QUICK)
    settings = conditions.settings(features=size.features, centers="amu" if conditions.quick else "bwh")
    bedside = Bedside(settings.run.centers[0], settings, conditions.folder / "state")
    volumes = [volume for _, volume in bedside.training()]
    repeats = -(-size.steps * size.volumes // len(volumes))
    steps = -(-len(volumes) * repeats // size.volumes)
    patches = len(volumes) * repeats * size.samples
    device, workers = choose_device(settings.training.device), cores_here()
    loader = paper_loader(
        volumes,
        patch=size.patch,
        batch=size.volumes,
        samples=size.samples,
        repeats=repeats,
        workers=workers,
        pin=device.type == "cuda",
    )
    sampler = _sampler(volumes, size, device)
    feed = _trainer(settings, device)

    def theirs() -> None:
        feed((batch["image"].to(device), batch["label"].to(device)) for batch in loader)

    def ours() -> None:
        feed((batch.images, batch.labels) for batch in (sampler.batch(device) for _ in range(steps)))

    by_turns(timed(theirs), timed(ours), 1)  # starts the workers, and warms up
    turns = by_turns(timed(theirs), timed(ours), size.turns)

    def their_data() -> None:
        for _ in loader:
            pass

    def our_data() -> None:
        for _ in range(steps):
            sampler.batch(device)

    return DataPath(turns, patches, workers, by_turns(timed(their_data), timed(our_data), size.turns))


def _sampler(volumes: list[Volume], size: _FeedSize, device: torch.device) -> PatchSampler:
    recipe = Recipe(
        patches=size.volumes * size.samples,
        patches_per_volume=size.samples,
        patch_size=size.patch,
        lesion_share=0.5,
        replayed=0,
    )
    sources = [Source.of_volume(volume, size.patch) for volume in volumes]
    return PatchSampler(sources, (), recipe, np.random.default_rng(0))


def _trainer(settings: Settings, device: torch.device) -> Callable[[Batches], None]:
    """Takes a step on each batch, with a network and an optimiser of its own."""
    network = network_with(initial_weights(settings.network, 0), settings.network, device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, foreach=True)

    def feed(batches: Batches) -> None:
        for images, labels in batches:
            loss = loss_of(network, scores_of(network, images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()

    return feed


KEYS = ("image", "label")


def paper_loader(
    volumes: Sequence[Volume], *, patch: int, batch: int, samples: int, repeats: int, workers: int, pin: bool
) -> DataLoader:
    """Batches of `batch` volumes with `samples` patches each; an epoch passes over the volumes `repeats` times."""
    flips = [RandFlipd(KEYS, prob=0.5, spatial_axis=[axis]) for axis in range(3)]
    transforms = Compose(
        [
            CropForegroundd(KEYS, source_key="image"),
            RandCropByPosNegLabeld(
                KEYS,
                label_key="label",
                spatial_size=(patch,) * 3,
                pos=1,
                neg=1,
                num_samples=samples,
                image_key="image",
                image_threshold=0,
            ),
            *flips,
            RandRotate90d(KEYS, prob=0.1, max_k=3),
            HistogramNormalized(["image"]),
            NormalizeIntensityd(["image"], nonzero=False, channel_wise=True),
            ToTensord(KEYS, track_meta=False),
        ]
    )
    cached = CacheDataset(
        [_entry(volume) for volume in volumes] * repeats, transforms, num_workers=None, progress=False
    )
    return DataLoader(
        cached, batch_size=batch, shuffle=True, num_workers=workers, pin_memory=pin, persistent_workers=workers > 0
    )


def _entry(volume: Volume) -> dict[str, torch.Tensor]:
    """A volume as the paper's code has read it: float32 with a channel, air at zero and the head above."""
    image = np.asarray(volume.image, dtype=np.float32)
    label = np.asarray(volume.label, dtype=np.float32) / np.float32(255)
    return {"image": torch.from_numpy(image - image.min())[None], "label": torch.from_numpy(label)[None]}

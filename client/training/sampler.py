"""Random patches from volumes that lie as tensors on the training device."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.data.preprocessing import Volume, pad_to
from shared.replay.exemplar import Exemplar

TRIES = 8
"""Random voxels that are looked at for one that is not air."""

ROTATED = 0.1
"""Share of patches turned by a multiple of 90 degrees in the axial plane, as the paper does."""


class Patches(Protocol):
    """Whatever patches are taken from."""

    def patch(self, size: int, on_lesion: bool, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One patch of image and label, each (size, size, size)."""


@dataclass(frozen=True, eq=False)
class Source:
    """A volume, or an exemplar, that patches are taken from."""

    image: Tensor
    """(D, H, W), no edge shorter than a patch; float16, as it is kept and travels."""
    label: Tensor
    """(D, H, W), uint8 in steps of 1/255."""
    lesion: NDArray[np.int64]
    """Flat positions of lesion voxels, shape (n,); may be empty."""
    air: float

    @classmethod
    def of_volume(cls, volume: Volume, patch: int, device: torch.device) -> Self:
        """A prepared volume as a source."""
        return cls._padded(np.array(volume.image), np.array(volume.label), volume.air, patch, device)

    @classmethod
    def of_exemplar(cls, exemplar: Exemplar, patch: int, device: torch.device) -> Self:
        """An exemplar of the replay memory as a source."""
        image, label = exemplar.unpack()
        return cls._padded(image, label, _least(image), patch, device)

    @classmethod
    def _padded(
        cls, image: NDArray[np.float16], label: NDArray[np.uint8], air: float, patch: int, device: torch.device
    ) -> Self:
        image, label = pad_to(image, patch, _least(image)), pad_to(label, patch, 0.0)
        lesion = np.flatnonzero(label >= 128)
        return cls(torch.from_numpy(image).to(device), torch.from_numpy(label).to(device), lesion, air)

    def patch(self, size: int, on_lesion: bool, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One patch of image and label around a lesion voxel, or around any voxel of the head."""
        shape = self.image.shape
        if on_lesion and len(self.lesion):
            center = np.unravel_index(int(self.lesion[random.integers(len(self.lesion))]), shape)
        else:
            for _ in range(TRIES):
                center = tuple(random.integers(shape))
                if float(self.image[center]) > self.air:
                    break
        low = [min(max(int(c) - size // 2, 0), edge - size) for c, edge in zip(center, shape, strict=True)]
        box = tuple(slice(start, start + size) for start in low)
        return self.image[box], self.label[box]


class Recalled:
    """An exemplar as a source that is decoded when the first patch is taken from it, and then kept.

    Of the memory of many centers a stage draws a few exemplars: decoding all would make it longer
    with every center before it. Raises `MessageError` at the first patch where the exemplar cannot
    be decoded.
    """

    def __init__(self, exemplar: Exemplar, patch: int, device: torch.device) -> None:
        self._exemplar, self._patch, self._device = exemplar, patch, device
        self._source: Source | None = None

    def patch(self, size: int, on_lesion: bool, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """As `Source.patch`."""
        if self._source is None:
            self._source = Source.of_exemplar(self._exemplar, self._patch, self._device)
        return self._source.patch(size, on_lesion, random)


@dataclass(frozen=True)
class Recipe:
    """How batches are drawn."""

    patches: int
    """In a batch."""
    patches_per_volume: int
    patch_size: int
    lesion_share: float
    replayed: int
    """Patches of a batch that come from `past`."""


class PatchSampler:
    """Batches of patches: from the center's own volumes, and from those of past centers.

    Own volumes come in shuffled passes, so that each serves equally often. Past centers take
    turns, whatever the number of exemplars that each contributed.
    """

    def __init__(
        self, own: Sequence[Patches], past: Sequence[Sequence[Patches]], recipe: Recipe, random: np.random.Generator
    ) -> None:
        self._recipe = recipe
        self._random = random
        self._own = own
        self._past = past
        # What is left of the pass over the own volumes, and of the round of past centers.
        self._pass: list[int] = []
        self._round: list[int] = []

    def batch(self) -> tuple[Tensor, Tensor]:
        """Images (B, 1, D, H, W), normalised, and soft labels of that shape, both float32."""
        recipe, random = self._recipe, self._random
        fresh = recipe.patches - recipe.replayed
        volumes = -(-fresh // recipe.patches_per_volume)
        sources = [source for _ in range(volumes) for source in [self._next_own()] * recipe.patches_per_volume]
        sources = sources[:fresh] + [self._next_past() for _ in range(recipe.replayed)]
        pairs = []
        for source in sources:
            pair = source.patch(recipe.patch_size, random.random() < recipe.lesion_share, random)
            pairs.append(_turned(pair, random))
        images = torch.stack([image for image, _ in pairs])[:, None].float()
        labels = torch.stack([label for _, label in pairs])[:, None].float().div_(255)
        return images, labels

    def _next_own(self) -> Patches:
        if not self._pass:
            self._pass = self._random.permutation(len(self._own)).tolist()
        return self._own[self._pass.pop(0)]

    def _next_past(self) -> Patches:
        if not self._round:
            self._round = self._random.permutation(len(self._past)).tolist()
        center = self._past[self._round.pop(0)]
        return center[int(self._random.integers(len(center)))]

    def state(self) -> str:
        """All that the next batches depend on, as JSON; `restore` takes it."""
        generator = self._random.bit_generator.state
        return json.dumps({"pass": self._pass, "round": self._round, "generator": generator})

    def restore(self, state: str) -> None:
        """Go on where another sampler over the same sources was."""
        values = json.loads(state)
        self._pass, self._round = values["pass"], values["round"]
        self._random.bit_generator.state = values["generator"]


def _turned(pair: tuple[Tensor, Tensor], random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same random flips and quarter turn for an image and its label."""
    axes = [axis for axis in range(3) if random.random() < 0.5]
    turns = int(random.integers(1, 4)) if random.random() < ROTATED else 0
    image, label = pair
    if axes:
        image, label = image.flip(axes), label.flip(axes)
    if turns:
        image, label = (torch.rot90(part, turns, (0, 1)) for part in (image, label))
    return image, label


def _least(image: NDArray[np.float16]) -> float:
    """The least value; NumPy takes twenty times as long for it in half precision."""
    return float(torch.from_numpy(image).amin())

"""Random patches from volumes that lie as tensors on the training device."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.data.preprocessing import Volume
from shared.replay.exemplar import Exemplar

Scalar = TypeVar("Scalar", np.float16, np.float32, np.uint8)

TRIES = 8
"""Random voxels that are looked at for one that is not air."""

ROTATED = 0.1
"""Share of patches turned by a multiple of 90 degrees in the axial plane, as the paper does."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The patches of one step."""

    images: Tensor
    """(B, 1, D, H, W), normalised, float32."""
    labels: Tensor
    """(B, 1, D, H, W), soft, float32."""
    replayed: Tensor
    """(B,), bool: which patches come from exemplars of other centers."""
    contrast: Tensor
    """(B,), int64: each patch's contrast, by its place in `contrasts` of the settings."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """(B, 1, D, H, W) each, float32 in [0, 1]: what exemplars carry beside image and label; zero elsewhere."""


class Patch(NamedTuple):
    """What is cut out at one place, each part (size, size, size)."""

    image: Tensor
    label: Tensor
    extras: Mapping[str, Tensor] = MappingProxyType({})


class Patches(Protocol):
    """Whatever patches are taken from."""

    @property
    def contrast(self) -> int:
        """By its place in `contrasts` of the settings."""

    @property
    def replayed(self) -> bool:
        """Whether it is another center's."""

    def patch(self, size: int, on_lesion: bool, random: np.random.Generator) -> Patch:
        """One patch."""


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
    contrast: int = 0
    """By its place in `contrasts` of the settings."""
    replayed: bool = False
    """Whether it is another center's."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """What an exemplar carries beside image and label, each as `label`."""

    @classmethod
    def of_volume(cls, volume: Volume, patch: int, device: torch.device, contrast: int = 0) -> Self:
        """A prepared volume as a source."""
        return cls._padded(np.array(volume.image), np.array(volume.label), volume.air, patch, device, contrast)

    @classmethod
    def of_exemplar(cls, exemplar: Exemplar, patch: int, device: torch.device, contrast: int = 0) -> Self:
        """An exemplar of the replay memory as a source."""
        image, label, extras = exemplar.unpack()
        source = cls._padded(image, label, _least(image), patch, device, contrast)
        padded: dict[str, Tensor] = {
            name: torch.from_numpy(pad_to(extra, patch, 0.0)).to(device) for name, extra in extras.items()
        }
        return replace(source, replayed=True, extras=padded)

    @classmethod
    def _padded(
        cls,
        image: NDArray[np.float16],
        label: NDArray[np.uint8],
        air: float,
        patch: int,
        device: torch.device,
        contrast: int,
    ) -> Self:
        image, label = pad_to(image, patch, _least(image)), pad_to(label, patch, 0.0)
        lesion = np.flatnonzero(label >= 128)
        return cls(torch.from_numpy(image).to(device), torch.from_numpy(label).to(device), lesion, air, contrast)

    def patch(self, size: int, on_lesion: bool, random: np.random.Generator) -> Patch:
        """One patch around a lesion voxel, or around any voxel of the head."""
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
        return Patch(self.image[box], self.label[box], {name: extra[box] for name, extra in self.extras.items()})


class Recalled:
    """An exemplar as a source that is decoded when the first patch is taken from it, and then kept.

    Of the memory of many centers a stage draws a few exemplars: decoding all would make it longer
    with every center before it. Raises `MessageError` at the first patch where the exemplar cannot
    be decoded.
    """

    replayed = True

    def __init__(self, exemplar: Exemplar, patch: int, device: torch.device, contrast: int = 0) -> None:
        self._exemplar, self._patch, self._device = exemplar, patch, device
        self.contrast = contrast
        self._source: Source | None = None

    def patch(self, size: int, on_lesion: bool, random: np.random.Generator) -> Patch:
        """As `Source.patch`."""
        if self._source is None:
            self._source = Source.of_exemplar(self._exemplar, self._patch, self._device, self.contrast)
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


Stratum = tuple[tuple[Patches, ...], ...]
"""Exemplars that share a part of the memory's turns, by center."""


class PatchSampler:
    """Batches of patches: from the center's own volumes, and from those of past centers.

    Own volumes come in shuffled passes, so that each serves equally often. The strata of the memory take turns, and
    within each its centers, whatever the number of exemplars that each contributed.
    """

    def __init__(
        self, own: Sequence[Patches], past: Sequence[Stratum], recipe: Recipe, random: np.random.Generator
    ) -> None:
        self._recipe = recipe
        self._random = random
        self._own = own
        self._past = past
        # What is left of the pass over the own volumes, of the round of strata, and of each one's round of centers.
        self._pass: list[int] = []
        self._round: list[int] = []
        self._turns: list[list[int]] = [[] for _ in past]

    def batch(self) -> Batch:
        """The patches of one step: fresh ones first, then those of past centers."""
        recipe, random = self._recipe, self._random
        fresh = recipe.patches - recipe.replayed
        volumes = -(-fresh // recipe.patches_per_volume)
        sources = [source for _ in range(volumes) for source in [self._next_own()] * recipe.patches_per_volume]
        sources = sources[:fresh] + [self._next_past() for _ in range(recipe.replayed)]
        patches = []
        for source in sources:
            patch = source.patch(recipe.patch_size, random.random() < recipe.lesion_share, random)
            patches.append(_turned(patch, random))
        images = torch.stack([patch.image for patch in patches])[:, None].float()
        names = dict.fromkeys(name for patch in patches for name in patch.extras)
        return Batch(
            images=images,
            labels=_soft([patch.label for patch in patches]),
            replayed=torch.tensor([source.replayed for source in sources], device=images.device),
            contrast=torch.tensor([source.contrast for source in sources], device=images.device),
            extras={
                name: _soft([patch.extras.get(name, torch.zeros_like(patch.label)) for patch in patches])
                for name in names
            },
        )

    def _next_own(self) -> Patches:
        if not self._pass:
            self._pass = self._random.permutation(len(self._own)).tolist()
        return self._own[self._pass.pop(0)]

    def _next_past(self) -> Patches:
        if not self._round:
            self._round = self._random.permutation(len(self._past)).tolist()
        stratum = self._round.pop(0)
        center = self._past[stratum][self._next_turn(stratum)]
        return center[int(self._random.integers(len(center)))]

    def _next_turn(self, stratum: int) -> int:
        """Whose turn it is in a stratum."""
        if len(self._past[stratum]) == 1:
            return 0
        if not self._turns[stratum]:
            self._turns[stratum] = self._random.permutation(len(self._past[stratum])).tolist()
        return self._turns[stratum].pop(0)

    def state(self) -> str:
        """All that the next batches depend on, as JSON; `restore` takes it."""
        generator = self._random.bit_generator.state
        return json.dumps({"pass": self._pass, "round": self._round, "turns": self._turns, "generator": generator})

    def restore(self, state: str) -> None:
        """Go on where another sampler over the same sources was."""
        values = json.loads(state)
        self._pass, self._round, self._turns = values["pass"], values["round"], values["turns"]
        self._random.bit_generator.state = values["generator"]


def _soft(parts: Sequence[Tensor]) -> Tensor:
    """Parts in steps of 1/255, each (D, H, W), as one (B, 1, D, H, W) of float32."""
    return torch.stack(list(parts))[:, None].float().div_(255)


def _turned(patch: Patch, random: np.random.Generator) -> Patch:
    """The same random flips and quarter turn for all that was cut out at one place."""
    axes = [axis for axis in range(3) if random.random() < 0.5]
    turns = int(random.integers(1, 4)) if random.random() < ROTATED else 0

    def turned(part: Tensor) -> Tensor:
        part = part.flip(axes) if axes else part
        return torch.rot90(part, turns, (0, 1)) if turns else part

    return Patch(turned(patch.image), turned(patch.label), {name: turned(part) for name, part in patch.extras.items()})


def _least(image: NDArray[np.float16]) -> float:
    """The least value; NumPy takes twenty times as long for it in half precision."""
    return float(torch.from_numpy(image).amin())


def pad_to(array: NDArray[Scalar], size: int, value: float) -> NDArray[Scalar]:
    """A (D, H, W) array of which no edge is shorter than `size`, filled evenly on both sides."""
    lacking = [max(0, size - edge) for edge in array.shape]
    return np.pad(array, [(edge // 2, edge - edge // 2) for edge in lacking], constant_values=value)

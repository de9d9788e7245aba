"""Random patches of volumes and exemplars, drawn as places and strides, and cut out of their flat arrays."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.data.preprocessing import Volume
from shared.cores import spread
from shared.replay.exemplar import Exemplar

Scalar = TypeVar("Scalar", np.float16, np.float32, np.uint8)

CPU = torch.device("cpu")

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


Strides = tuple[int, int, int]
"""From a voxel to the next along each axis, in voxels of a flat array."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A patch of a source, turned and flipped: where it begins in the flat array, and how it lies there.

    Any flip and quarter turn of a box is the same voxels under other strides, so that no patch is turned in memory.
    """

    source: "Source"
    size: int
    """Voxels along each edge."""
    base: int
    """Position of the patch's first voxel in the source's flat array."""
    strides: Strides

    @classmethod
    def at(cls, source: "Source", low: Sequence[int], size: int) -> Self:
        """The box of `size` voxels along each edge whose least corner is `low`."""
        _, height, width = source.image.shape
        base = (low[0] * height + low[1]) * width + low[2]
        return cls(source, size, base, (height * width, width, 1))

    def flipped(self, axis: int) -> Self:
        """The other way round along an axis."""
        step = self.strides[axis]
        first, second, third = (-one if k == axis else one for k, one in enumerate(self.strides))
        return replace(self, base=self.base + (self.size - 1) * step, strides=(first, second, third))

    def turned(self, times: int) -> Self:
        """By so many quarters in the plane of the first two axes, as `numpy.rot90` turns."""
        first, second, third = self.strides
        match times % 4:
            case 1:
                turned = self.flipped(1)
                return replace(turned, strides=(turned.strides[1], first, third))
            case 2:
                return self.flipped(0).flipped(1)
            case 3:
                turned = replace(self, strides=(second, first, third))
                return turned.flipped(1)
        return self

    def middle(self) -> Self:
        """Without the margin that its source has around a patch."""
        margin = self.source.margin
        return replace(self, size=self.size - 2 * margin, base=self.base + margin * sum(self.strides))

    def of(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """The patch of one of the source's arrays, (size, size, size): a view, of which nothing is copied."""
        item = array.itemsize
        return np.ndarray(
            (self.size,) * 3, array.dtype, array, self.base * item, tuple(stride * item for stride in self.strides)
        )


class Patches(Protocol):
    """Whatever patches are taken from."""

    @property
    def contrast(self) -> int:
        """By its place in `contrasts` of the settings."""

    @property
    def replayed(self) -> bool:
        """Whether it is another center's."""

    @property
    def voxels(self) -> int:
        """Of the arrays that its patches lie in."""

    @property
    def carries(self) -> Collection[str]:
        """What lies there beside image and label."""

    def cut(self, size: int, on_lesion: bool, random: np.random.Generator) -> Cut:
        """One patch."""


@dataclass(frozen=True, eq=False)
class Source:
    """A volume, or an exemplar, that patches are taken from."""

    image: NDArray[np.float16]
    """(D, H, W), no edge shorter than a patch, in one piece of memory; as it is kept and travels."""
    label: NDArray[np.uint8]
    """(D, H, W), in steps of 1/255."""
    lesion: NDArray[np.int64]
    """Flat positions of lesion voxels, shape (n,); may be empty."""
    air: float
    contrast: int = 0
    """By its place in `contrasts` of the settings."""
    replayed: bool = False
    """Whether it is another center's."""
    extras: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """What an exemplar carries beside image and label, each as `label`."""
    margin: int = 0
    """Voxels of air around the volume, and of its patches around what is trained on: room to turn and scale them."""

    @classmethod
    def of_volume(cls, volume: Volume, patch: int, contrast: int = 0, margin: int = 0) -> Self:
        """A prepared volume as a source; where no edge is too short and no margin asked for, its arrays themselves."""
        return cls._padded(volume.image, volume.label, volume.air, patch, contrast, margin)

    @classmethod
    def of_exemplar(cls, exemplar: Exemplar, patch: int, contrast: int = 0, margin: int = 0) -> Self:
        """An exemplar of the replay memory as a source."""
        image, label, extras = exemplar.unpack()
        source = cls._padded(image, label, _least(image), patch, contrast, margin)
        padded: dict[str, NDArray[np.uint8]] = {
            name: pad_to(extra, patch, 0.0, margin) for name, extra in extras.items()
        }
        return replace(source, replayed=True, extras=padded)

    @classmethod
    def _padded(
        cls, image: NDArray[np.float16], label: NDArray[np.uint8], air: float, patch: int, contrast: int, margin: int
    ) -> Self:
        least = _least(np.array(image)) if margin or min(image.shape) < patch else 0.0
        image = np.ascontiguousarray(pad_to(image, patch, least, margin))
        label = np.ascontiguousarray(pad_to(label, patch, 0.0, margin))
        return cls(image, label, np.flatnonzero(label >= 128), air, contrast, margin=margin)

    @cached_property
    def floor(self) -> float:
        """The least intensity: that of air, where there is any."""
        return _least(np.array(self.image))

    @property
    def voxels(self) -> int:
        """Of each array."""
        return self.image.size

    @property
    def carries(self) -> Collection[str]:
        """Names of the extras."""
        return self.extras.keys()

    def cut(self, size: int, on_lesion: bool, random: np.random.Generator) -> Cut:
        """One patch around a lesion voxel, or around any voxel of the head; with its margin, where there is one."""
        shape, margin = self.image.shape, self.margin
        if on_lesion and len(self.lesion):
            center = np.unravel_index(int(self.lesion[random.integers(len(self.lesion))]), shape)
        else:
            for _ in range(TRIES):
                center = tuple(random.integers([edge - 2 * margin for edge in shape]) + margin)
                if float(self.image[center]) > self.air:
                    break
        size += 2 * margin
        low = [min(max(int(c) - size // 2, 0), edge - size) for c, edge in zip(center, shape, strict=True)]
        return Cut.at(self, low, size)


class Recalled:
    """An exemplar as a source that is decoded when the first patch is taken from it, and then kept.

    Of the memory of many centers a stage draws a few exemplars: decoding all would make it longer
    with every center before it. Raises `MessageError` at the first patch where the exemplar cannot
    be decoded.
    """

    replayed = True

    def __init__(self, exemplar: Exemplar, patch: int, contrast: int = 0, margin: int = 0) -> None:
        self._exemplar, self._patch, self._margin = exemplar, patch, margin
        self.contrast = contrast
        self._source: Source | None = None

    @property
    def voxels(self) -> int:
        """Of each array, once it is decoded."""
        return math.prod(max(edge, self._patch) + 2 * self._margin for edge in self._exemplar.provenance.shape)

    @property
    def carries(self) -> Collection[str]:
        """Names of the extras."""
        return self._exemplar.provenance.carries

    def cut(self, size: int, on_lesion: bool, random: np.random.Generator) -> Cut:
        """As `Source.cut`."""
        return self.decoded().cut(size, on_lesion, random)

    def decoded(self) -> Source:
        """The exemplar as a source, which is then kept."""
        if self._source is None:
            self._source = Source.of_exemplar(self._exemplar, self._patch, self.contrast, self._margin)
        return self._source


def decode_all(past: Sequence[Sequence[Recalled]]) -> None:
    """Decode exemplars by all cores, for a GPU that would wait for them in its first steps."""
    for _ in spread(Recalled.decoded, [one for center in past for one in center]):
        pass


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

    def draw(self) -> list[Cut]:
        """The patches of one step, not yet cut out: fresh ones first, then those of past centers."""
        recipe, random = self._recipe, self._random
        fresh = recipe.patches - recipe.replayed
        volumes = -(-fresh // recipe.patches_per_volume)
        sources = [source for _ in range(volumes) for source in [self._next_own()] * recipe.patches_per_volume]
        sources = sources[:fresh] + [self._next_past() for _ in range(recipe.replayed)]
        return [
            _turned(source.cut(recipe.patch_size, random.random() < recipe.lesion_share, random), random)
            for source in sources
        ]

    def batch(self, device: torch.device = CPU) -> Batch:
        """The patches of one step as they are, without a margin, cut out on the CPU."""
        return batch_of([cut.middle() for cut in self.draw()], device)

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


def batch_of(cuts: Sequence[Cut], device: torch.device = CPU) -> Batch:
    """Patches as the network takes them."""
    shape = (len(cuts), 1, *(cuts[0].size,) * 3)
    images = np.empty(shape, np.float16)
    for k, cut in enumerate(cuts):
        images[k, 0] = cut.of(cut.source.image)
    names = dict.fromkeys(name for cut in cuts for name in cut.source.extras)
    extras = {
        name: [cut.of(cut.source.extras[name]) if name in cut.source.extras else None for cut in cuts] for name in names
    }
    return Batch(
        images=torch.from_numpy(images).to(device).float(),
        labels=_soft([cut.of(cut.source.label) for cut in cuts], shape, device),
        replayed=torch.tensor([cut.source.replayed for cut in cuts], device=device),
        contrast=torch.tensor([cut.source.contrast for cut in cuts], device=device),
        extras={name: _soft(parts, shape, device) for name, parts in extras.items()},
    )


def _soft(parts: Sequence[NDArray[np.uint8] | None], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Parts in steps of 1/255, each (D, H, W), as one (B, 1, D, H, W) of float32; zero where there is none."""
    steps = np.empty(shape, np.uint8)
    for k, part in enumerate(parts):
        steps[k, 0] = 0 if part is None else part
    return torch.from_numpy(steps).to(device).float().div_(255)


def _turned(cut: Cut, random: np.random.Generator) -> Cut:
    """Random flips, and for some a quarter turn or more."""
    axes = [axis for axis in range(3) if random.random() < 0.5]
    turns = int(random.integers(1, 4)) if random.random() < ROTATED else 0
    for axis in axes:
        cut = cut.flipped(axis)
    return cut.turned(turns)


def _least(image: NDArray[np.float16]) -> float:
    """The least value; NumPy takes twenty times as long for it in half precision."""
    return float(torch.from_numpy(image).amin())


def pad_to(array: NDArray[Scalar], size: int, value: float, margin: int = 0) -> NDArray[Scalar]:
    """A (D, H, W) array of which no edge is shorter than `size`, filled evenly on both sides; itself where none is.

    With a margin of so many voxels more on every side.
    """
    lacking = [max(0, size - edge) + 2 * margin for edge in array.shape]
    if not any(lacking):
        return array
    return np.pad(array, [(edge // 2, edge - edge // 2) for edge in lacking], constant_values=value)

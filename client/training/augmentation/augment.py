"""The augmentation of a stage's patches: which are drawn, in which order they follow, and for which patches."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.training.augmentation.draws import Parameters, drawn
from client.training.augmentation.intensity import bias, brightness, contrast, gamma, inverted_gamma, noise
from client.training.augmentation.sharpness import sharpness
from client.training.augmentation.spatial import moved
from client.training.sampler import Batch, Cut
from shared.config.groups import TrainingSettings

Change = Callable[[Tensor, Parameters], Tensor]
"""From patches (B, D, H, W) and what was drawn for them to other patches."""

CHANGES: tuple[tuple[Collection[str], Change, Callable[[Parameters], Tensor]], ...] = (
    ({"gamma"}, gamma, lambda drawn: drawn.flat("gamma") != 1),
    ({"gamma"}, inverted_gamma, lambda drawn: drawn.flat("inverted") != 1),
    ({"bias"}, bias, lambda drawn: drawn.flat("bias") > 0),
    ({"blur", "thick"}, sharpness, lambda drawn: (drawn.flat("blur") > 0) | (drawn.flat("thick") > 1)),
    ({"noise"}, noise, lambda drawn: drawn.flat("noise") > 0),
    ({"brightness"}, brightness, lambda drawn: drawn.flat("brightness") != 1),
    ({"contrast"}, contrast, lambda drawn: drawn.flat("contrast") != 1),
)
"""Changes of intensity by name, in the order in which an image comes about (tissue, coil, slices, noise, display), and
for which patches each was drawn."""


class Augmentation:
    """What is drawn for each patch, and done with it.

    `whole` computes every change for every patch, and takes it where it was drawn: so that nothing is decided by a
    value, as a captured step needs it. Otherwise a change is computed for those alone that it was drawn for.
    """

    def __init__(self, names: Sequence[str], size: int, margin: int, key: int, whole: bool) -> None:
        self._names, self._size, self._margin, self._key, self._whole = frozenset(names), size, margin, key, whole

    @classmethod
    def of(cls, options: TrainingSettings, random: np.random.Generator, device: torch.device) -> Self:
        """That of a stage that has one. Of `random` nothing is drawn but a child."""
        key = int(random.spawn(1)[0].integers(2**32))
        return cls(options.augmentations, options.patch_size, options.margin, key, device.type == "cuda")

    def table(self, cuts: Sequence[Cut], step: int) -> NDArray[np.float32]:
        """What is drawn for the patches of a step, (B, columns)."""
        gathered = self._size + 2 * self._margin
        if any(cut.size != gathered for cut in cuts):
            raise ValueError(f"patches of {cuts[0].size} voxels came, but {gathered} are needed to move them")
        room = (gathered - 1) / (self._size - 1)
        return drawn(cuts, self._names, room, np.random.default_rng((self._key, step)))

    def apply(self, batch: Batch, table: Tensor) -> Batch:
        """The batch that is trained on; the arrays of the one that came are not to be used again."""
        parameters = Parameters(table)
        if self._margin:
            batch = self._moved(batch, parameters)
        images = batch.images[:, 0]
        for names, change, chosen in CHANGES:
            if self._names.intersection(names):
                images = self._where(chosen(parameters), change, images, images, parameters)
        return replace(batch, images=images[:, None])

    def _moved(self, batch: Batch, parameters: Parameters) -> Batch:
        """Images, labels and all beside them, moved alike; those that are not to be moved without their margin."""
        patches = torch.cat([batch.images, batch.labels, *batch.extras.values()], 1)
        inner = slice(self._margin, self._margin + self._size)
        middle = patches[..., inner, inner, inner].contiguous()

        def change(patches: Tensor, parameters: Parameters) -> Tensor:
            return moved(patches, parameters, self._size)

        patches = self._where(parameters.flat("moved") > 0, change, patches, middle, parameters)
        images, labels, *extras = (one.contiguous() for one in torch.split(patches, 1, 1))
        return replace(batch, images=images, labels=labels, extras=dict(zip(batch.extras, extras, strict=True)))

    def _where(self, chosen: Tensor, change: Change, patches: Tensor, others: Tensor, parameters: Parameters) -> Tensor:
        """Patches that are chosen (B,), changed, among `others`, into which they may be written."""
        if self._whole:
            return torch.where(chosen.view(-1, *(1,) * (others.ndim - 1)), change(patches, parameters), others)
        which = chosen.nonzero()[:, 0]
        if len(which):
            others.index_copy_(0, which, change(patches[which], parameters.some(which)))
        return others

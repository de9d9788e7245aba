"""All that a stage takes patches from, in the device's memory, and patches gathered from there by a table of places.

A patch is a place and three strides (`Cut`), so that one gather makes a whole batch of them, turned and flipped, with
nothing for the host to do but to send the table. It lies at fixed addresses, as a captured step needs it.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.training.sampler import Batch, Cut, Patches, Source

COLUMNS = 6
"""Of a table, one line a patch: base, three strides, whether it is replayed, contrast."""


class Arena:
    """The arrays of sources, one after another, in two flat tensors, and one for each thing that exemplars carry."""

    def __init__(self, device: torch.device, voxels: int, extras: Collection[str] = ()) -> None:
        self.images = torch.empty(voxels, dtype=torch.float16, device=device)
        self.labels = torch.empty(voxels, dtype=torch.uint8, device=device)
        self.extras = {name: torch.zeros(voxels, dtype=torch.uint8, device=device) for name in extras}
        self._used = 0
        self._base: dict[int, int] = {}
        self._placed: list[Source] = []

    @classmethod
    def for_all(cls, patches: Iterable[Patches], device: torch.device) -> "Arena":
        """With room for all of them, each once; an exemplar comes in when the first patch is taken from it."""
        different = {id(one): one for one in patches}.values()
        extras = sorted({name for one in different for name in one.carries})
        return cls(device, sum(one.voxels for one in different), extras)

    def table(self, cuts: Sequence[Cut]) -> NDArray[np.int64]:
        """Where the patches of a step lie, (B, COLUMNS); a source that is not there yet is brought there."""
        return np.array(
            [
                (self._base_of(cut.source) + cut.base, *cut.strides, cut.source.replayed, cut.source.contrast)
                for cut in cuts
            ],
            dtype=np.int64,
        )

    def _base_of(self, source: Source) -> int:
        if id(source) not in self._base:
            here = slice(self._used, self._used + source.image.size)
            if here.stop > len(self.images):
                raise ValueError(f"room for {len(self.images)} voxels, but {here.stop} came")
            self.images[here] = _flat(source.image)
            self.labels[here] = _flat(source.label)
            for name, extra in source.extras.items():
                self.extras[name][here] = _flat(extra)
            self._base[id(source)] = here.start
            self._placed.append(source)  # so that no other takes its id
            self._used = here.stop
        return self._base[id(source)]

    def gather(self, table: Tensor, size: int) -> Batch:
        """The patches of a table on the device, of `size` voxels along each edge."""
        voxel = torch.arange(size, device=table.device)
        base, first, second, third = (table[:, k, None, None, None, None] for k in range(4))
        at = base + first * voxel[:, None, None] + second * voxel[:, None] + third * voxel
        return Batch(
            images=self.images[at].float(),
            labels=self.labels[at].float().div_(255),
            replayed=table[:, 4] > 0,
            contrast=table[:, 5],
            extras={name: extra[at].float().div_(255) for name, extra in self.extras.items()},
        )


def _flat(array: NDArray[np.float16] | NDArray[np.uint8]) -> Tensor:
    # A copy of what may not be written to (a cached volume), which PyTorch would warn of.
    return torch.from_numpy(array if array.flags.writeable else array.copy()).reshape(-1)

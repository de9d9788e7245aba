"""An exemplar: one image-label crop of the replay memory, with where it came from.

An exemplar is kept as the bytes that travel: the image as float16, its bits less those of the
voxel before, and the soft label in steps of 1/255; the two byte planes of the image apart,
compressed. That loses nothing of what the hospital itself trains on. Neither a header, nor a path,
nor a date goes with it; the subject is a pseudonym that its hospital made.

Seven crops of real patients at 1 mm, in bytes a voxel, image and label together:

| image                                  | deflate 6 | zstd 3 | zstd 12   | zstd 17 | zstd 19 | lzma 6 |
|----------------------------------------|-----------|--------|-----------|---------|---------|--------|
| float16                                | 1.314     | 1.320  | 1.262     | 1.218   | 1.215   | 1.199  |
| float16, differences                   | 1.177     | 1.200  | **1.143** | 1.112   | 1.106   | 1.086  |
| steps of 1/64 (error 0.008), differences | 0.689   | 0.720  | 0.670     | 0.635   | 0.629   | 0.608  |
| 8 bits of the range (error 0.021)      | 0.590     | 0.584  | 0.553     | 0.533   | 0.532   | 0.494  |

Errors are the largest, in standard deviations of the brain. By `python -m tests.oracles.exemplar_encodings
FOLDER...`. What keeps fewer bits would halve the memory; it is not done as long as no study has shown
that it costs no Dice. Zstandard unpacks in a fifth of deflate's time, which counts most: a stage unpacks up to
192 exemplars and packs 20. Level 12 takes half of deflate's time to pack, level 17 twice as long.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
import zstandard
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import MessageError
from shared.trust.canonical_json import CenterName

COMPRESSION = 12
"""Zstandard's level. It takes time once, at the hospital that makes the exemplar."""

PACKED = b"\x03"
"""Begins every payload: version of how it is packed. The first one began with deflate's own 0x78."""


Edge = Annotated[int, Field(gt=0, le=1024)]
"""Voxels along one edge; bounded, as decoding makes room for as many as are claimed."""


Extra = Literal["answer"]
"""What an exemplar may carry beside image and label, one byte a voxel.

`answer`: the soft segmentation, in [0, 1], that the model which chose the exemplar gave for it.
"""


class Provenance(BaseModel):
    """Where an exemplar came from, and what its bytes must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    center: CenterName
    subject: str
    """Pseudonym: a keyed hash that only the hospital can undo."""
    contrast: str
    shape: tuple[Edge, Edge, Edge]
    spacing: float = Field(gt=0)
    """mm, isotropic."""
    checksum: str
    """SHA-256 of the payload, hexadecimal."""
    carries: tuple[Extra, ...] = ()
    """What the payload holds beside image and label, in this order."""


class Unpacked(NamedTuple):
    """An exemplar's arrays, each of shape (D, H, W)."""

    image: NDArray[np.float16]
    label: NDArray[np.uint8]
    """In steps of 1/255."""
    extras: Mapping[Extra, NDArray[np.uint8]]
    """In steps of 1/255."""


@dataclass(frozen=True, eq=False)
class Exemplar:
    """One image-label crop: its provenance and its payload, uint8 of shape (bytes,)."""

    provenance: Provenance
    payload: NDArray[np.uint8]

    @classmethod
    def encode(
        cls,
        image: NDArray[np.float32],
        label: NDArray[np.float32],
        *,
        center: str,
        subject: str,
        contrast: str,
        spacing: float,
    ) -> Self:
        """Pack a normalised image and its soft label in [0, 1], both of shape (D, H, W)."""
        if image.shape != label.shape or image.ndim != 3:
            raise ValueError(f"image {image.shape} and label {label.shape} must be one 3D shape")
        bits = image.astype("<f2").view("<u2")
        # Differences wrap around at 2^16, and their sums wrap back.
        less = np.diff(bits, axis=-1, prepend=np.zeros_like(bits[..., :1]))
        planes = less.ravel().view(np.uint8).reshape(-1, 2).T
        depth, height, width = image.shape
        provenance = Provenance(
            center=center,
            subject=subject,
            contrast=contrast,
            shape=(depth, height, width),
            spacing=spacing,
            checksum="",
        )
        return cls._packed(provenance, planes.tobytes() + _steps(label).tobytes())

    @classmethod
    def _packed(cls, provenance: Provenance, raw: bytes) -> Self:
        packed = PACKED + zstandard.ZstdCompressor(COMPRESSION).compress(raw)
        checksum = hashlib.sha256(packed).hexdigest()
        return cls(provenance.model_copy(update={"checksum": checksum}), np.frombuffer(packed, dtype=np.uint8))

    def carrying(self, extra: Extra, values: NDArray[np.float32]) -> Self:
        """The exemplar with something more about each voxel, in [0, 1] and of the image's shape."""
        if values.shape != self.provenance.shape:
            raise ValueError(f"{extra} {values.shape} must have the shape of the image, {self.provenance.shape}")
        carries = (*self.provenance.carries, extra)
        provenance = self.provenance.model_copy(update={"carries": carries})
        return self._packed(provenance, self._raw() + _steps(values).tobytes())

    def decode(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The image and the soft label in [0, 1], each float32 of shape (D, H, W). Raises as `unpack` does."""
        unpacked = self.unpack()
        return unpacked.image.astype(np.float32), unpacked.label.astype(np.float32) / np.float32(255)

    def unpack(self) -> Unpacked:
        """All that was packed. Raises `MessageError` where the payload is not what the provenance says."""
        raw, shape = self._raw(), self.provenance.shape
        voxels = math.prod(shape)
        low, high = np.frombuffer(raw, dtype=np.uint8, count=2 * voxels).reshape(2, -1)
        # Put together in 16-bit arithmetic: a tenth of the time of turning the planes byte by byte.
        less = (high.astype("<u2") << 8 | low).reshape(shape)
        image = np.cumsum(less, axis=-1, dtype="<u2").view("<f2")
        parts = np.frombuffer(raw, dtype=np.uint8, offset=2 * voxels).reshape(-1, *shape)
        extras = {name: part.copy() for name, part in zip(self.provenance.carries, parts[1:], strict=True)}
        return Unpacked(image, parts[0].copy(), extras)

    def _raw(self) -> bytes:
        """The payload without its compression: two bytes a voxel of image, one of label, one of each extra."""
        where = f"exemplar {self.provenance.checksum[:12]} of center {self.provenance.center}"
        packed = self.payload.tobytes()
        if hashlib.sha256(packed).hexdigest() != self.provenance.checksum:
            raise MessageError(f"{where} was changed on its way (its checksum differs): send it again")
        if packed[:1] != PACKED:
            raise MessageError(f"{where} was packed by another version of Wardround: run the same one at all centers")
        voxels = math.prod(self.provenance.shape)
        size = (3 + len(self.provenance.carries)) * voxels
        try:
            # A frame says how long its content is, and nothing longer comes out of it: asked before room is made.
            fits = zstandard.frame_content_size(packed[1:]) == size
            raw = zstandard.ZstdDecompressor().decompress(packed[1:], allow_extra_data=False) if fits else b""
        except zstandard.ZstdError:
            raw = b""
        if len(raw) != size:
            raise MessageError(f"{where} does not hold {voxels} voxels: its center must make it anew")
        return raw


def _steps(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    steps: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return steps

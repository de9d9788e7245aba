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
from dataclasses import dataclass
from typing import Annotated, Self

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
        steps = np.rint(np.clip(label, 0, 1) * 255).astype(np.uint8)
        packed = PACKED + zstandard.ZstdCompressor(COMPRESSION).compress(planes.tobytes() + steps.tobytes())
        payload = np.frombuffer(packed, dtype=np.uint8)
        depth, height, width = image.shape
        provenance = Provenance(
            center=center,
            subject=subject,
            contrast=contrast,
            shape=(depth, height, width),
            spacing=spacing,
            checksum=hashlib.sha256(packed).hexdigest(),
        )
        return cls(provenance, payload)

    def decode(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The image and the soft label in [0, 1], each float32 of shape (D, H, W). Raises as `unpack` does."""
        image, steps = self.unpack()
        return image.astype(np.float32), steps.astype(np.float32) / np.float32(255)

    def unpack(self) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        """The image and the label in steps of 1/255 as they were packed, each of shape (D, H, W).

        Raises `MessageError` where the payload is not what the provenance says.
        """
        where = f"exemplar {self.provenance.checksum[:12]} of center {self.provenance.center}"
        packed = self.payload.tobytes()
        if hashlib.sha256(packed).hexdigest() != self.provenance.checksum:
            raise MessageError(f"{where} was changed on its way (its checksum differs): send it again")
        if packed[:1] != PACKED:
            raise MessageError(f"{where} was packed by another version of Wardround: run the same one at all centers")
        voxels = math.prod(self.provenance.shape)
        try:
            # A frame says how long its content is, and nothing longer comes out of it: asked before room is made.
            fits = zstandard.frame_content_size(packed[1:]) == 3 * voxels
            raw = zstandard.ZstdDecompressor().decompress(packed[1:], allow_extra_data=False) if fits else b""
        except zstandard.ZstdError:
            raw = b""
        if len(raw) != 3 * voxels:
            raise MessageError(f"{where} does not hold {voxels} voxels: its center must make it anew")
        low, high = np.frombuffer(raw, dtype=np.uint8, count=2 * voxels).reshape(2, -1)
        # Put together in 16-bit arithmetic: a tenth of the time of turning the planes byte by byte.
        less = (high.astype("<u2") << 8 | low).reshape(self.provenance.shape)
        image = np.cumsum(less, axis=-1, dtype="<u2").view("<f2")
        steps = np.frombuffer(raw, dtype=np.uint8, offset=2 * voxels).reshape(self.provenance.shape)
        return image, steps.copy()

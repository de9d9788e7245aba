"""Bytes of an exemplar by how its image and label are packed: what shared/replay/exemplar.py does, and what it might.

    python -m tests.oracles.exemplar_encodings BIDS-FOLDER... [--spacing 1]

cuts one crop of 96 mm from every image of the data sets as a hospital does, and prints a table: bytes a
voxel, image and label together, and the largest error of the image in standard deviations of the brain.
`exemplar_encodings.json` keeps the values of seven real images at 1 mm. shared/replay/exemplar.py does what is
here called "float16, differences" with zstd 12.
"""

import argparse
import bz2
import json
import lzma
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from client.data.layouts import find_cases
from client.data.volume_cache import open_volume
from client.sharing.exemplar_selection import crop

Image = NDArray[np.float32]
Pack = Callable[[bytes], bytes]

PACKERS: dict[str, Pack] = {
    "deflate 1": lambda raw: zlib.compress(raw, 1),
    "deflate 6": lambda raw: zlib.compress(raw, 6),
    "deflate 9": lambda raw: zlib.compress(raw, 9),
    "bz2 9": lambda raw: bz2.compress(raw, 9),
    "lzma 6": lambda raw: lzma.compress(raw, preset=6),
}
for level in (3, 9, 12, 15, 17, 19):
    PACKERS[f"zstd {level}"] = zstandard.ZstdCompressor(level).compress


def planes(values: NDArray[Any]) -> bytes:
    """The low bytes of 16-bit values, then the high ones."""
    return values.ravel().view(np.uint8).reshape(-1, 2).T.tobytes()


def whole(image: Image) -> bytes:
    """Half precision, both bytes apart."""
    return planes(image.astype("<f2"))


def differences(image: Image) -> bytes:
    """The same 16 bits as whole numbers, each less the one before it along the last axis."""
    bits = image.astype("<f2").view("<i2")
    return planes(np.diff(bits, axis=-1, prepend=np.zeros_like(bits[..., :1])).astype("<i2"))


def in_steps(step: float) -> Callable[[Image], bytes]:
    """Whole numbers of a step, both bytes apart."""
    return lambda image: planes(np.rint(image / step).astype("<i2"))


def in_steps_differences(step: float) -> Callable[[Image], bytes]:
    """The same, each less the one before it along the last axis."""

    def lay(image: Image) -> bytes:
        steps = np.rint(image / step).astype("<i2")
        return planes(np.diff(steps, axis=-1, prepend=np.zeros_like(steps[..., :1])).astype("<i2"))

    return lay


def bytes_between(image: Image) -> bytes:
    """8 bits between the crop's least and greatest value."""
    low, high = float(image.min()), float(image.max())
    return np.rint((image - low) / (high - low) * 255).astype(np.uint8).tobytes()


LAYOUTS: dict[str, tuple[Callable[[Image], bytes], Callable[[Image], float]]] = {
    "float16": (whole, lambda image: float(np.abs(image.astype(np.float16) - image).max())),
    "float16, differences": (differences, lambda image: float(np.abs(image.astype(np.float16) - image).max())),
    "steps of 1/256": (in_steps(1 / 256), lambda image: 1 / 512),
    "steps of 1/64": (in_steps(1 / 64), lambda image: 1 / 128),
    "steps of 1/64, differences": (in_steps_differences(1 / 64), lambda image: 1 / 128),
    "steps of 1/32": (in_steps(1 / 32), lambda image: 1 / 64),
    "8 bits of the crop's range": (bytes_between, lambda image: float(np.ptp(image)) / 510),
}
"""How the image's values lie before they are packed, and the largest error of that."""


def crops(folders: list[Path], spacing: float, size: int) -> list[tuple[Image, Image]]:
    """One crop from every image of the data sets."""
    with tempfile.TemporaryDirectory() as cache:
        cases = [case for folder in folders for case in find_cases(folder, ("FLAIR", "T2w"), None)]
        return [crop(open_volume(case, spacing, Path(cache)), size) for case in cases]


def table(cut: list[tuple[Image, Image]]) -> list[dict[str, float | str]]:
    """A row for each layout and packer."""
    voxels = sum(image.size for image, _ in cut)
    rows: list[dict[str, float | str]] = []
    for layout, (lay, error) in LAYOUTS.items():
        for packer, pack in PACKERS.items():
            size = 0
            for image, label in cut:
                size += len(pack(lay(image) + np.rint(label * 255).astype(np.uint8).tobytes()))
            rows.append(
                {
                    "layout": layout,
                    "packer": packer,
                    "bytes a voxel": round(size / voxels, 4),
                    "largest error": round(max(error(image) for image, _ in cut), 5),
                }
            )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--spacing", type=float, default=1.0)
    given = parser.parse_args()
    cut = crops(given.folders, given.spacing, -(-round(96 / given.spacing) // 8) * 8)
    print(json.dumps({"crops": len(cut), "spacing": given.spacing, "rows": table(cut)}, indent=1))


if __name__ == "__main__":
    main()

"""What is drawn for a patch: a row of numbers, which says all that its augmentation depends on.

Ranges and shares are those of nnU-Net (Isensee et al. 2021, its default trainer for 3D patches) and of SynthSeg
(Billot et al. 2023, defaults of its training), as their published code has them. nnU-Net gives blur and low resolution
to half of the channels of the samples that it draws; here is one channel, and all of them get it.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.training.sampler import Cut

Range = tuple[float, float]

GAMMA_SHARE, INVERTED_SHARE, GAMMA = 0.3, 0.1, (0.7, 1.5)  # nnU-Net
BRIGHTNESS_SHARE, BRIGHTNESS = 0.15, (0.75, 1.25)  # nnU-Net
CONTRAST_SHARE, CONTRAST = 0.15, (0.75, 1.25)  # nnU-Net
NOISE_SHARE, NOISE_VARIANCE = 0.1, (0.0, 0.1)  # nnU-Net
BLUR_SHARE, BLUR = 0.2, (0.5, 1.0)  # nnU-Net: deviations of the Gaussian, in voxels
THICK_SHARE = 0.25  # nnU-Net, of its low resolution
THICK = (1.0, 4.0)  # SynthSeg: slices up to four times as thick as voxels; nnU-Net goes to 2
BIAS_SHARE = 0.3  # ours: SynthSeg shades all of its images, which have no shading of their own
BIAS = (0.0, 0.7)  # SynthSeg: deviation of the logarithm, on 4 x 4 x 4 places
SCALE_SHARE, SCALE = 0.2, (0.7, 1.4)  # nnU-Net: below 1 things look larger
ROTATE_SHARE, ROTATE = 0.2, (-math.pi / 6, math.pi / 6)  # nnU-Net: about each axis
ELASTIC_SHARE = 0.2  # nnU-Net's before version 2
ELASTIC = 0.4
"""Most that a coefficient of the elastic field may move, in distances of its knots: below 1 / 2.48 nothing folds over
(Choi & Lee 2000). With knots 21 mm apart this moves things by 1 to 2 mm on average; SynthSeg by up to 3 to 4."""

ELASTIC_SPANS = 3
"""Of the elastic field over a patch: knots lie 21 mm apart in one of 64 mm; 25 mm in SynthSeg."""

AIR = 0.01
"""Deviations of the head above the least intensity from which a voxel may be tissue, whatever rounds."""

MATRIX = tuple(f"matrix-{row}{column}" for row in range(3) for column in range(3))

IDENTITY = {
    "floor": 0.0,  # intensity of air
    "edge": 0.0,  # intensity above which is tissue
    "seed": 0.0,  # of noise and fields; whole, below 2^24
    "bias": 0.0,  # deviation of the shading's logarithm
    "gamma": 1.0,
    "inverted": 1.0,  # gamma of the inverted image
    "brightness": 1.0,
    "contrast": 1.0,
    "noise": 0.0,  # deviation
    "blur": 0.0,  # deviation, voxels
    "thick": 1.0,  # thickness of slices, voxels
    "phase": 0.0,  # where the first slice lies
    "axis": 0.0,  # across which the slices lie
    "moved": 0.0,  # whether the patch is moved at all
    "elastic": 0.0,  # share of the most that a coefficient may move
    **{name: float(name[-1] == name[-2]) for name in MATRIX},  # from a voxel's offset to where it is looked up
}
"""The columns of a table, and for each the value that changes nothing."""

COLUMNS = tuple(IDENTITY)

SEEDS = 2**24
"""Whole numbers that float32 holds."""


@dataclass(frozen=True, eq=False)
class Parameters:
    """A table on the training's device, (B, columns), float32."""

    table: Tensor

    def flat(self, name: str) -> Tensor:
        """A column, (B,)."""
        return self.table[:, COLUMNS.index(name)]

    def __getitem__(self, name: str) -> Tensor:
        """A column beside patches (B, D, H, W): (B, 1, 1, 1)."""
        return self.flat(name).view(-1, 1, 1, 1)

    def matrix(self) -> Tensor:
        """(B, 3, 3)."""
        first = COLUMNS.index(MATRIX[0])
        return self.table[:, first : first + 9].view(-1, 3, 3)

    def some(self, which: Tensor) -> "Parameters":
        """Those of some patches."""
        return Parameters(self.table[which])


def identities(count: int) -> NDArray[np.float32]:
    """A table that changes nothing."""
    return np.tile(np.array(list(IDENTITY.values()), np.float32), (count, 1))


def drawn(cuts: Sequence[Cut], names: Collection[str], room: float, random: np.random.Generator) -> NDArray[np.float32]:
    """A row for each patch, (B, columns), by the augmentations of these names.

    A moved patch looks at no place further from its middle than `room` half edges.
    """
    count = len(cuts)
    column = {name: np.full(count, value) for name, value in IDENTITY.items()}
    column["floor"] = np.array([cut.source.floor for cut in cuts])
    column["edge"] = np.maximum([cut.source.air for cut in cuts], column["floor"] + AIR)
    column["seed"] = random.integers(SEEDS, size=count).astype(float)

    def draw(name: str, share: float, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        chosen = random.random(count) < share
        column[name] = np.where(chosen, values, column[name])
        return chosen

    def even(bounds: Range) -> NDArray[np.float64]:
        return random.uniform(*bounds, count)

    def either_side(bounds: Range) -> NDArray[np.float64]:
        # As in nnU-Net: half below 1, half above.
        return np.where(random.random(count) < 0.5, even((bounds[0], 1)), even((1, bounds[1])))

    if "bias" in names:
        draw("bias", BIAS_SHARE, even(BIAS))
    if "gamma" in names:
        draw("gamma", GAMMA_SHARE, either_side(GAMMA))
        draw("inverted", INVERTED_SHARE, either_side(GAMMA))
    if "brightness" in names:
        draw("brightness", BRIGHTNESS_SHARE, even(BRIGHTNESS))
    if "contrast" in names:
        draw("contrast", CONTRAST_SHARE, either_side(CONTRAST))
    if "noise" in names:
        draw("noise", NOISE_SHARE, np.sqrt(even(NOISE_VARIANCE)))
    if "blur" in names:
        draw("blur", BLUR_SHARE, even(BLUR))
    if "thick" in names:
        thick = draw("thick", THICK_SHARE, even(THICK))
        column["phase"] = np.where(thick, even((0, 1)), 0)
        column["axis"] = random.integers(3, size=count).astype(float)
    scale, angles = np.ones(count), np.zeros((3, count))
    if "scale" in names:
        scale = np.where(random.random(count) < SCALE_SHARE, either_side(SCALE), 1)
    if "rotate" in names:
        angles = np.where(random.random(count) < ROTATE_SHARE, random.uniform(*ROTATE, (3, count)), 0)
    if "elastic" in names:
        draw("elastic", ELASTIC_SHARE, random.random(count))
    column["moved"] = ((scale != 1) | angles.any(0) | (column["elastic"] > 0)).astype(float)
    kept = room - 2 * ELASTIC / ELASTIC_SPANS * column["elastic"]
    matrices = within(scale[:, None, None] * rotations(angles), kept)
    column |= dict(zip(MATRIX, matrices.reshape(count, 9).T, strict=True))
    return np.stack([column[name] for name in COLUMNS], 1).astype(np.float32)


def rotations(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B, 3, 3), about the first, then the second, then the third axis, by angles (3, B)."""
    turned = np.tile(np.eye(3), (angles.shape[1], 1, 1))
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        about = np.tile(np.eye(3), (len(angle), 1, 1))
        about[:, one, one] = about[:, other, other] = np.cos(angle)
        about[:, other, one] = np.sin(angle)
        about[:, one, other] = -about[:, other, one]
        turned = about @ turned
    return turned


def within(matrices: NDArray[np.float64], room: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same (B, 3, 3), smaller where a corner of the patch would lie further out than `room` (B,) half edges."""
    reach = np.abs(matrices).sum(2).max(1)
    smaller: NDArray[np.float64] = matrices * np.minimum(1, room / reach)[:, None, None]
    return smaller

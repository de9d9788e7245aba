"""Telling a whole head from a skull-stripped brain.

Whatever the contrast, compact bone gives no signal, for its few protons lose theirs within a millisecond. On the way
in from the air a ray through a whole head therefore meets the scalp, bright with fat; then, within 2 cm, the
dark skull; then the brain. On the way into a stripped brain it meets the brain at once. A ray counts as having met a
skull where the signal falls below half of what lies before and below half of what lies behind (half, because a
bone thinner than a voxel is seen with its neighbours); sulci do so too, in a FLAIR, but on few rays. The head is
not stripped where most rays meet a skull. Signal is what lies above air, wherever the image has its zero.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.data.head import FoundHead

FOREGROUND = 0.1
"""Of the way from air to bright tissue: where the head begins, as in BET (Smith 2002)."""

DEEPEST = 20.0
"""mm; scalp and skull together are thinner nearly everywhere above the eyes."""

BEHIND = 10.0
"""mm; how far behind the skull the brain must show itself."""

SLICES, RAYS, STEP = 16, 72, 0.5
"""Slices looked at, rays a slice, and mm between samples along a ray."""

MOST = 0.5


def is_whole_head(head: FoundHead, affine: NDArray[np.float64]) -> bool:
    """Whether an image shows skull and scalp around the brain."""
    return skull_share(head, affine) > MOST


def skull_share(head: FoundHead, affine: NDArray[np.float64]) -> float:
    """The share of rays into the head, in the planes of its slices, that meet a dark layer between two bright ones."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    inside = head.image[head.mask]
    if not inside.size:
        return 0.0
    high, ceiling = (float(value) - head.floor for value in np.percentile(inside, (95, 99)))
    planes, (height, width) = _planes(head.image, spacing)
    masks = planes > head.floor + FOREGROUND * high
    areas = np.array([np.count_nonzero(mask) for mask in masks])
    # The neck, the face and the crown are bones and air of their own kind.
    wide = np.flatnonzero(areas >= 0.6 * areas.max())
    met = [
        _meets_skull((planes[k] - head.floor).clip(0, ceiling), masks[k], height, width)
        for k in wide[:: max(1, -(-len(wide) // SLICES))]
    ]
    rays = np.concatenate(met) if met else np.zeros(0, dtype=bool)
    return float(rays.mean()) if rays.size else 0.0


def _planes(
    image: NDArray[np.float32], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """The slices as (slice, H, W) in the planes that resolve most, and their spacing in mm."""
    # Of equal ones the last axis, which is the body's in most images.
    across = 2 - int(np.argmax(spacing[::-1].round(2)))
    height, width = (float(spacing[i]) for i in range(3) if i != across)
    return np.moveaxis(image, across, 0), (height, width)


def _meets_skull(plane: NDArray[np.float32], mask: NDArray[np.bool_], height: float, width: float) -> NDArray[np.bool_]:
    """For each ray from the outside to the middle of a slice's head, whether it meets a skull."""
    mask = np.asarray(ndimage.binary_opening(mask))  # noise in the air
    if not mask.any():
        return np.zeros(0, dtype=bool)
    spacing = np.array([height, width])
    where = np.argwhere(mask) * spacing
    middle = where.mean(axis=0)
    reach = np.linalg.norm(where - middle, axis=1).max()
    angles = np.arange(RAYS) * 2 * np.pi / RAYS
    outward = np.stack([np.cos(angles), np.sin(angles)])
    radii = np.arange(reach, 0, -STEP)
    hit = _sample(mask.astype(np.float32), middle, outward, np.broadcast_to(radii, (RAYS, len(radii))), spacing) > 0.5
    surface = radii[hit.argmax(axis=1)]
    depth = np.arange(0, DEEPEST + BEHIND, STEP)
    # A ray that would pass the middle is too short to tell.
    long = hit.any(axis=1) & (surface > depth[-1])
    signal = _sample(plane, middle, outward, surface[:, None] - depth, spacing)
    before = np.maximum.accumulate(signal, axis=1)
    behind = np.maximum.accumulate(signal[:, ::-1], axis=1)[:, ::-1]
    below: NDArray[np.float64] = np.minimum(before, behind) / 2 - signal
    dark: NDArray[np.float64] = below[:, depth <= DEEPEST].max(axis=1)
    met: NDArray[np.bool_] = dark[long] > 0
    return met


def _sample(
    plane: NDArray[np.float32],
    middle: NDArray[np.float64],
    outward: NDArray[np.float64],
    radii: NDArray[np.float64],
    spacing: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The plane's values at `radii` (rays, n) mm from `middle` along `outward` (2, rays)."""
    points = (middle[:, None, None] + outward[:, :, None] * radii) / spacing[:, None, None]
    values: NDArray[np.float32] = ndimage.map_coordinates(plane, points, order=1, mode="constant")
    return values

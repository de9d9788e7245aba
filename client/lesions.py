"""How much lesion a label holds: its volume, and how many lesions."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.findings import LESION

TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""26-connectivity: voxels that share a face, an edge or a corner belong to one lesion."""


def lesion_ml(label: NDArray[np.float32], affine: NDArray[np.float64]) -> float:
    """A soft label's volume in ml, counted by fractions of voxels."""
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    return float(label.clip(0, 1).sum(dtype=np.float64)) * voxel_ml


def lesion_count(label: NDArray[np.float32]) -> int:
    """The number of separate lesions: components of `label >= 0.5` in 26-connectivity, however small."""
    lesion = label >= LESION
    if not lesion.any():
        return 0
    # Nothing outside the lesions' box matters, and most of a volume is.
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(lesion))
    return int(ndimage.label(lesion[box], structure=TOUCHING)[1])

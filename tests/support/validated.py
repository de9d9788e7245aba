"""Images of an external validation, scored from masks that a test can count by hand."""

from collections.abc import Sequence

import numpy as np

from client.evaluation.metrics import score
from scenarios.inference.external_validation import ScoredCase
from scenarios.inference.lesion_counts import Mask, count_lesions
from scenarios.inference.worst_slices import ErrorView, worst_slices

VOXEL = np.diag([5.0, 10.0, 1.0, 1.0])
"""An affine whose voxels are of 0.05 ml."""


def mask(*runs: Sequence[int], shape: tuple[int, int, int] = (3, 40, 12)) -> Mask:
    """A mask of rows along the second axis, each `(x, first, end, z)`."""
    made = np.zeros(shape, dtype=bool)
    for x, first, end, z in runs:
        made[x, first:end, z] = True
    return made


def case(
    truth: Mask,
    found: Mask,
    hospital: str = "here",
    subject: str = "sub-1",
    contrast: str = "FLAIR",
    warnings: tuple[str, ...] = (),
    slices: bool = False,
) -> ScoredCase:
    """A scored image of these masks."""
    view: ErrorView | None = None
    if slices:
        image = np.linspace(100, 200, truth.size, dtype=np.float32).reshape(truth.shape)
        view = worst_slices(image, VOXEL, truth, found)
    scores = score(found.astype(np.float32), truth.astype(np.float32), VOXEL)
    counts = count_lesions(truth, found, VOXEL)
    return ScoredCase(hospital, subject, subject, contrast, scores, counts, warnings, not truth.any(), view)

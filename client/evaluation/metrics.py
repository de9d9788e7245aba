"""How well a segmentation meets the truth: by voxels, by lesions, by volume and by distance.

Lesions are components in 26-connectivity of what is 0.5 or more (client/data/lesions.py). Of the rules by which a
lesion counts as found, this is the one of the ISBI 2015 challenge (Carass et al., NeuroImage 148:77-102, 2017),
the most used in MS: one voxel in common with any lesion of the other side is a hit. `lesion_sensitivity` is
their LTPR, `lesion_precision` is 1 - LFPR. Stricter rules ask for a share of overlap (MSSEG 2016: Commowick et
al., Scientific Reports 8:13650, 2018) and give lower figures, so that numbers of other rules do not compare.
The rule forgives one component that covers many lesions; precision and Dice by voxels do not.

HD95 is MONAI's: the greater of the two directed 95th percentiles of the distances between surface voxels (Taha
& Hanbury, BMC Medical Imaging 15:29, 2015). Where one side is empty there is no distance, and leaving the case
out would reward a model for finding nothing: it gets the image's diagonal, as in the BraTS challenges, whose
373.13 mm is that of their 240 x 240 x 155 mm images.
"""

import warnings

import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from numpy.typing import NDArray

from client.data.lesions import LESION, box_around, number_lesions, voxel_ml
from shared.metrics.scores import Scores

PERCENTILE = 95.0

Mask = NDArray[np.bool_]


def score(prediction: NDArray[np.float32], truth: NDArray[np.float32], affine: NDArray[np.float64]) -> Scores:
    """Compare two soft segmentations (D, H, W) on one grid, whose `affine` leads from voxel to mm.

    `Scores` says what each is where nothing was to find, or nothing was found.
    """
    found, there = prediction >= LESION, truth >= LESION
    box = box_around(found | there)
    found, there = found[box], there[box]
    both, n_found, n_there = int((found & there).sum()), int(found.sum()), int(there.sum())
    sensitivity, precision = _hits(there, found), _hits(found, there)
    return Scores(
        dice=_share(2 * both, n_found + n_there, otherwise=1.0),
        soft_dice=_soft_dice(prediction, truth),
        precision=_share(both, n_found, otherwise=float(n_there == 0)),
        recall=_share(both, n_there, otherwise=float(n_found == 0)),
        lesion_sensitivity=sensitivity,
        lesion_precision=precision,
        lesion_f1=_share(2 * sensitivity * precision, sensitivity + precision, otherwise=0.0),
        volume_difference_ml=abs(n_found - n_there) * voxel_ml(affine),
        hd95_mm=_hd95(found, there, affine, prediction.shape),
    )


def _share(part: float, whole: float, otherwise: float) -> float:
    return min(1.0, part / whole) if whole else otherwise


def _soft_dice(prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    shared = float((prediction * truth).sum(dtype=np.float64))
    mass = float(prediction.sum(dtype=np.float64)) + float(truth.sum(dtype=np.float64))
    return _share(2 * shared, mass, otherwise=1.0)


def _hits(lesions: Mask, other: Mask) -> float:
    """The share of one side's lesions that have a voxel in common with the other side.

    Of no lesions, it is all where the other side has none either, and none where it has.
    """
    numbers, count = number_lesions(lesions)
    return _share(len(np.unique(numbers[lesions & other])), count, otherwise=float(not other.any()))


def _hd95(found: Mask, there: Mask, affine: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """In mm; `shape` is the whole image's, of which the masks are a part."""
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    if not found.any() or not there.any():
        return float(np.linalg.norm(voxel * shape)) if found.any() or there.any() else 0.0
    prediction, truth = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (found, there))
    with warnings.catch_warnings():
        # MONAI 1.6 warns of an argument that it passes to itself.
        warnings.simplefilter("ignore", FutureWarning)
        distance = compute_hausdorff_distance(
            prediction, truth, include_background=True, percentile=PERCENTILE, spacing=[float(edge) for edge in voxel]
        )
    return float(distance)

"""How well a segmentation meets the truth: by voxels, by lesions, by volume and by distance.

Lesions are components in 26-connectivity of what is 0.5 or more (client/data/lesions.py). Of the rules by which a
lesion counts as found, this is the one of the ISBI 2015 challenge (Carass et al., NeuroImage 148:77-102, 2017),
the most used in MS: one voxel in common with any lesion of the other side is a hit. `lesion_sensitivity` is
their LTPR, `lesion_precision` is 1 - LFPR. Stricter rules ask for a share of overlap (MSSEG 2016: Commowick et
al., Scientific Reports 8:13650, 2018) and give lower figures, so that numbers of other rules do not compare.
The rule forgives one component that covers many lesions; precision and Dice by voxels do not.

HD95 is that of MONAI, made quicker: the greater of the two directed 95th percentiles of the distances between surface
voxels (Taha & Hanbury, BMC Medical Imaging 15:29, 2015). Where one side is empty there is no distance, and leaving the
case out would reward a model for finding nothing: it gets the image's diagonal, as in the BraTS challenges, whose
373.13 mm is that of their 240 x 240 x 155 mm images.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree  # type: ignore[import-untyped,unused-ignore]
from torch import Tensor

from client.data.lesions import LESION, Box, number_lesions, voxel_ml
from shared.metrics.scores import Scores

PERCENTILE = 0.95

Mask = NDArray[np.bool_]


def score(
    prediction: Tensor | NDArray[np.float32], truth: Tensor | NDArray[np.float32], affine: NDArray[np.float64]
) -> Scores:
    """Compare two soft segmentations (D, H, W) on one grid, whose `affine` leads from voxel to mm.

    What is summed over the image is summed on its device; only the box around all lesions comes to the host. `Scores`
    says what each is where nothing was to find, or nothing was found.
    """
    prediction, truth = torch.as_tensor(prediction), torch.as_tensor(truth)
    masks = prediction >= LESION, truth >= LESION
    box, marked = _boxes(masks[0] | masks[1], truth != 0)
    soft_dice = _soft_dice(prediction, truth, marked)
    found, there = (mask[box].cpu().numpy() for mask in masks)
    both, n_found, n_there = (int(np.count_nonzero(mask)) for mask in (found & there, found, there))
    sensitivity, precision = _hits(there, found), _hits(found, there)
    return Scores(
        dice=dice_of(both, n_found, n_there),
        soft_dice=soft_dice,
        precision=_share(both, n_found, otherwise=float(n_there == 0)),
        recall=_share(both, n_there, otherwise=float(n_found == 0)),
        lesion_sensitivity=sensitivity,
        lesion_precision=precision,
        lesion_f1=_share(2 * sensitivity * precision, sensitivity + precision, otherwise=0.0),
        volume_difference_ml=abs(n_found - n_there) * voxel_ml(affine),
        hd95_mm=_hd95(found, there, affine, tuple(prediction.shape)),
    )


def dice_of(both: int, found: int, there: int) -> float:
    """Dice, by how many voxels two masks share and how many each has; 1 where both are empty."""
    return _share(2 * both, found + there, otherwise=1.0)


def _share(part: float, whole: float, otherwise: float) -> float:
    return min(1.0, part / whole) if whole else otherwise


def _boxes(*masks: Tensor) -> list[Box]:
    """The smallest box that holds every voxel of each mask, an empty one for none, all fetched at once."""
    lines = []
    for mask in masks:
        plane = mask.view(torch.uint8).amax(0)  # as numbers, which PyTorch reduces many times faster than truth values
        lines += [mask.view(torch.uint8).flatten(1).amax(1), plane.amax(1), plane.amax(0)]
    ends = torch.cat(lines).cpu().numpy().astype(bool)
    places = np.split(ends, np.cumsum([len(line) for line in lines])[:-1])
    found = map(np.flatnonzero, places)
    sides = [slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0) for where in found]
    return [(sides[i], sides[i + 1], sides[i + 2]) for i in range(0, len(sides), 3)]


def _soft_dice(prediction: Tensor, truth: Tensor, marked: Box) -> float:
    """Of all voxels; `marked` is the box outside which the truth is 0."""
    shared = prediction[marked] * truth[marked]
    # Rows in float32, which is many times faster, and those in float64: to 1e-9 the sum in float64.
    sums = torch.stack([part.sum(-1).double().sum() for part in (shared, prediction, truth[marked])])
    both, found, there = sums.tolist()
    return _share(2 * both, found + there, otherwise=1.0)


def _hits(lesions: Mask, other: Mask) -> float:
    """The share of one side's lesions that have a voxel in common with the other side.

    Of no lesions, it is all where the other side has none either, and none where it has.
    """
    numbers, count = number_lesions(lesions)
    hit = np.bincount(numbers[lesions & other], minlength=1)
    return _share(int(np.count_nonzero(hit)), count, otherwise=float(not other.any()))


def _hd95(found: Mask, there: Mask, affine: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """In mm; `shape` is the whole image's, of which the masks are a part."""
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    if not found.any() or not there.any():
        return float(np.linalg.norm(voxel * shape)) if found.any() or there.any() else 0.0
    surfaces = _surface(found), _surface(there)
    shared = np.isin(surfaces[0], surfaces[1], assume_unique=True), np.isin(*surfaces[::-1], assume_unique=True)
    around = [edge + 2 for edge in found.shape]
    points = [np.stack(np.unravel_index(surface, around), axis=1) * voxel for surface in surfaces]
    directed = []
    for side, other in ((0, 1), (1, 0)):
        distances = np.zeros(len(points[side]))
        # What lies on both surfaces is at 0; for one query a tree of larger leaves is sooner built.
        tree = cKDTree(points[other], leafsize=32, balanced_tree=False, compact_nodes=False)
        distances[~shared[side]] = tree.query(points[side][~shared[side]])[0]
        directed.append(torch.quantile(torch.from_numpy(distances.astype(np.float32)), PERCENTILE))
    return float(max(directed))


def _surface(mask: Mask) -> NDArray[np.intp]:
    """Where the voxels lie that have a neighbour, by a face, outside a mask: flat places in it with a voxel around."""
    around = np.pad(np.ascontiguousarray(mask), 1)
    flat = around.ravel()
    places = np.flatnonzero(flat)
    inner = np.ones(len(places), dtype=bool)
    for step in around.strides:
        inner &= flat[places - step] & flat[places + step]
    surface: NDArray[np.intp] = places[~inner]
    return surface

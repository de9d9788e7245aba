"""Testing a model on whole volumes, in each image's own grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from client.volumes import FloatArray, Volume
from shared.network import LesionNet, Weights, network_with, soft_segmentation
from shared.settings import Settings

THRESHOLD = 0.5
"""Of prediction and truth, for Dice, precision and recall."""

WINDOWS = 8
"""Windows that go through the network at once."""


@dataclass(frozen=True)
class Overlap:
    """How well a segmentation covers the truth; each from 0 to 1."""

    dice: float
    soft_dice: float
    precision: float
    recall: float


def overlap(prediction: FloatArray, truth: FloatArray) -> Overlap:
    """Compare two soft segmentations of one shape.

    Nothing to find and nothing found is perfect (all 1). Otherwise a ratio over nothing is 0:
    precision where nothing was found, recall where nothing was to find.
    """
    found, there = prediction >= THRESHOLD, truth >= THRESHOLD
    both, n_found, n_there = int((found & there).sum()), int(found.sum()), int(there.sum())
    shared, mass = float((prediction * truth).sum(dtype=np.float64)), float(prediction.sum(dtype=np.float64))
    mass += float(truth.sum(dtype=np.float64))
    empty = float(n_found == 0 and n_there == 0)
    return Overlap(
        dice=2 * both / (n_found + n_there) if n_found + n_there else 1.0,
        soft_dice=min(1.0, 2 * shared / mass) if mass else 1.0,
        precision=both / n_found if n_found else empty,
        recall=both / n_there if n_there else empty,
    )


def segment(network: LesionNet, image: Tensor, patch: int, window_overlap: float) -> Tensor:
    """The soft segmentation of a prepared image, (D, H, W) to (D, H, W), on the image's device.

    Windows are stitched as scores and made a segmentation once, over the whole volume: done
    window by window, normalised ReLU would stretch the noise of every empty window to 1.
    """
    with torch.inference_mode():
        scores = sliding_window_inference(
            image[None, None],
            (patch,) * 3,
            WINDOWS,
            network,
            overlap=window_overlap,
            mode="gaussian",
            cval=float(image.min()),
        )
        if not isinstance(scores, Tensor):
            raise TypeError(f"MONAI's sliding window gave {type(scores).__name__} instead of a tensor")
        return soft_segmentation(scores, network.settings.activation)[0, 0]


def evaluate(weights: Weights, volumes: Sequence[Volume], settings: Settings, device: torch.device) -> list[Overlap]:
    """Segment each volume and compare it with its truth, in the image's own grid."""
    network = network_with(weights, settings.network, device).eval()
    options = settings.training
    scores = []
    for volume in volumes:
        image = torch.from_numpy(np.asarray(volume.image, dtype=np.float32)).to(device)
        soft = segment(network, image, options.patch_size, options.window_overlap)
        scores.append(overlap(volume.to_own_grid(soft), np.asarray(volume.truth, dtype=np.float32) / np.float32(255)))
    return scores

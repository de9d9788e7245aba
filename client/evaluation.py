"""Testing a model on whole volumes, in each image's own grid."""

from collections.abc import Sequence

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from client.metrics import score
from client.volumes import Volume
from shared.network import LesionNet, Weights, network_with, soft_segmentation
from shared.scores import Scores
from shared.settings import Settings

WINDOWS = 8
"""Windows that go through the network at once."""


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


def evaluate(weights: Weights, volumes: Sequence[Volume], settings: Settings, device: torch.device) -> list[Scores]:
    """Segment each volume and compare it with its truth, in the image's own grid."""
    network = network_with(weights, settings.network, device).eval()
    options = settings.training
    scores = []
    for volume in volumes:
        image = torch.from_numpy(np.asarray(volume.image, dtype=np.float32)).to(device)
        soft = segment(network, image, options.patch_size, options.window_overlap)
        truth = np.asarray(volume.truth, dtype=np.float32) / np.float32(255)
        scores.append(score(volume.to_own_grid(soft), truth, volume.own_affine))
    return scores

"""Testing a model on whole volumes, in each image's own grid."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor
from torch.nn.functional import pad

from client.data.preprocessing import Volume
from client.evaluation.metrics import score
from shared.config.settings import Settings
from shared.metrics.scores import Scores
from shared.model.network import LEVELS, LesionNet, network_with, soft_segmentation
from shared.model.weights import Weights

WINDOWS = 8
"""Windows that go through the network at once."""

MULTIPLE = 2 ** (LEVELS - 1)
"""Of voxels along each edge, which the network takes."""

MOST_AT_ONCE = 2**26
"""Numbers in a map of a whole volume at full resolution (256 MiB); a larger volume goes in windows."""

SCORING = 2
"""Volumes that are compared at once."""

WAITING = 4
"""Volumes that were segmented and are not compared yet; more would only take memory."""


def segment(network: LesionNet, image: Tensor, patch: int, window_overlap: float) -> Tensor:
    """The soft segmentation of a prepared image, (D, H, W) to (D, H, W), on the image's device.

    A network without statistics over space takes the volume in one piece, where that is not too large. Else windows
    are stitched as scores and made a segmentation once, over the whole volume: done window by window, normalised ReLU
    would stretch the noise of every empty window to 1.
    """
    settings = network.settings
    with torch.inference_mode():
        if settings.norm == "channel" and settings.features * image.numel() <= MOST_AT_ONCE:
            return soft_segmentation(_in_one_piece(network, image), settings.activation)[0, 0]
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
        return soft_segmentation(scores, settings.activation)[0, 0]


def _in_one_piece(network: LesionNet, image: Tensor) -> Tensor:
    """The scores of a whole image, (D, H, W) to (1, 1, D, H, W)."""
    lacking = [-edge % MULTIPLE for edge in reversed(image.shape)]
    padding = [n for edge in lacking for n in (0, edge)]
    whole = pad(image[None, None], padding, value=float(image.min())).contiguous(memory_format=torch.channels_last_3d)
    depth, height, width = image.shape
    scores: Tensor = network(whole)[..., :depth, :height, :width]
    return scores


def segment_volume(
    network: LesionNet, volume: Volume, patch: int, window_overlap: float, device: torch.device
) -> Tensor:
    """The soft segmentation of a volume on its prepared grid, (D, H, W); the network is on `device` already."""
    image = torch.from_numpy(np.asarray(volume.image, dtype=np.float32)).to(device)
    return segment(network, image, patch, window_overlap).cpu()


def evaluate(weights: Weights, volumes: Sequence[Volume], settings: Settings, device: torch.device) -> list[Scores]:
    """Segment each volume and compare it with its truth, in the image's own grid.

    While one is compared, which takes a single core, the next is segmented already.
    """
    network = network_with(weights, settings.network, device).eval()
    options = settings.training
    with ThreadPoolExecutor(SCORING) as scoring:
        scores: list[Future[Scores]] = []
        for volume in volumes:
            soft = segment_volume(network, volume, options.patch_size, options.window_overlap, device)
            scores.append(scoring.submit(compare, volume, soft))
            if len(scores) > WAITING:
                scores[-WAITING].result()
        return [one.result() for one in scores]


def compare(volume: Volume, soft: Tensor) -> Scores:
    """A soft segmentation on the prepared grid against a volume's truth, in the image's own grid."""
    truth = np.asarray(volume.truth, dtype=np.float32) / np.float32(255)
    return score(volume.to_own_grid(soft), truth, volume.own_affine)

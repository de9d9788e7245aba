"""Testing a model on whole volumes, in each image's own grid."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from client.data.preprocessing import Volume
from client.evaluation.metrics import score
from shared.config.settings import Settings
from shared.cores import cores_here
from shared.metrics.scores import Scores
from shared.model.network import LEVELS, LesionNet, network_with, scores_of, soft_segmentation
from shared.model.weights import Weights

WINDOWS = 8
"""Windows that go through the network at once on the CPU."""

MOST_WINDOWS = 64
"""The same on CUDA, where memory allows; more make nothing faster."""

MAPS_A_WINDOW = 8
"""Maps of all features at full resolution that a window takes on its way: activations, sums and workspace."""

MULTIPLE = 2 ** (LEVELS - 1)
"""Of voxels along each edge, which the network takes."""

MOST_AT_ONCE = 2**26
"""Numbers in a map of a whole volume at full resolution (256 MiB); a larger volume goes in windows."""

COMPARING = 2
"""Threads at least that compare."""

WAITING = 2
"""For each thread that compares, volumes that were segmented and are not compared yet; more would only take memory."""


def segment(network: LesionNet, image: Tensor, patch: int, window_overlap: float) -> Tensor:
    """The soft segmentation of a prepared image, (D, H, W) to (D, H, W), on the image's device.

    A network without statistics over space takes the volume in one piece, where that is not too large. Else windows
    are stitched as scores and made a segmentation once, over the whole volume: done window by window, normalised ReLU
    would stretch the noise of every empty window to 1. On CUDA the network computes by way of bfloat16, as in training.
    """
    settings = network.settings
    with torch.inference_mode():
        if settings.norm == "channel" and settings.features * image.numel() <= MOST_AT_ONCE:
            return soft_segmentation(_in_one_piece(network, image), settings.activation)[0, 0]
        # Asked for only where a window is larger than the image, for the answer has to be waited for.
        air = float(image.min()) if min(image.shape) < patch else 0.0
        scores = sliding_window_inference(
            image[None, None],
            (patch,) * 3,
            windows_at_once(settings.features, patch, image.device),
            partial(scores_of, network),
            overlap=window_overlap,
            mode="gaussian",
            cval=air,
            roi_weight_map=_weights_of_window(patch, image.device),
        )
        if not isinstance(scores, Tensor):
            raise TypeError(f"MONAI's sliding window gave {type(scores).__name__} instead of a tensor")
        return soft_segmentation(scores, settings.activation)[0, 0]


def windows_at_once(features: int, patch: int, device: torch.device) -> int:
    """How many windows go through a network of so many features at once: on CUDA what half of the free memory holds."""
    if device.type != "cuda":
        return WINDOWS
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    one = MAPS_A_WINDOW * features * patch**3 * torch.bfloat16.itemsize
    return max(1, min(MOST_WINDOWS, free // 2 // one))


@lru_cache(maxsize=4)
def _weights_of_window(patch: int, device: torch.device) -> Tensor:
    """How much each voxel of a window counts where windows overlap; MONAI would make it anew for each volume."""
    return compute_importance_map((patch,) * 3, mode="gaussian", sigma_scale=0.125, device=device)[None, None]


def _in_one_piece(network: LesionNet, image: Tensor) -> Tensor:
    """The scores of a whole image, (D, H, W) to (1, 1, D, H, W)."""
    depth, height, width = image.shape
    edges = [edge + -edge % MULTIPLE for edge in image.shape]
    whole = image.min().repeat(1, 1, *edges).contiguous(memory_format=torch.channels_last_3d)
    whole[0, 0, :depth, :height, :width] = image
    return scores_of(network, whole)[..., :depth, :height, :width]


def segment_volume(
    network: LesionNet, volume: Volume, patch: int, window_overlap: float, device: torch.device
) -> Tensor:
    """The soft segmentation of a volume on its prepared grid, (D, H, W), on `device`, where the network is already."""
    return segment(network, image_on(device, volume), patch, window_overlap)


def image_on(device: torch.device, volume: Volume) -> Tensor:
    """A volume's prepared image as a network takes it, (D, H, W)."""
    return torch.from_numpy(np.array(volume.image)).to(device).float()


def truth_on(device: torch.device, volume: Volume) -> Tensor:
    """A volume's label in the image's own grid, soft, (D, H, W)."""
    return torch.from_numpy(np.array(volume.truth, order="C")).to(device).float() / 255


def evaluate(weights: Weights, volumes: Sequence[Volume], settings: Settings, device: torch.device) -> list[Scores]:
    """Segment each volume and compare it with its truth, in the image's own grid.

    While some are compared, each in a thread, the next are segmented already.
    """
    network = network_with(weights, settings.network, device).eval()
    options = settings.training
    threads = comparing(device)
    with ThreadPoolExecutor(threads) as pool:
        scores: list[Future[Scores]] = []
        for volume in volumes:
            soft = segment_volume(network, volume, options.patch_size, options.window_overlap, device)
            scores.append(pool.submit(compare, volume, soft))
            if len(scores) > WAITING * threads:
                scores[-WAITING * threads].result()
        return [one.result() for one in scores]


def comparing(device: torch.device) -> int:
    """Threads that compare: on CUDA one for each core, as no other hospital has the GPU at that time.

    On the CPU the network needs the cores itself. Threads and not processes, for nearly all of it is done with Python's
    lock released.
    """
    return max(COMPARING, cores_here() if device.type == "cuda" else 0)


def compare(volume: Volume, soft: Tensor) -> Scores:
    """A soft segmentation on the prepared grid, on any device, against a volume's truth, in the image's own grid."""
    return score(volume.to_own_grid(soft), truth_on(soft.device, volume), volume.own_affine)

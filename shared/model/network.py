"""The network that travels: a residual 3D U-Net, how it starts, and what is carried over."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from monai.networks.nets.unet import UNet
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.config.groups import NetworkSettings
from shared.errors import MessageError, ResultsError
from shared.model.blocks import first_on_gpu, last_on_gpu, on_gpu, with_own_parts
from shared.model.channel_norm import with_channel_norm
from shared.model.instance_norm import InstanceNorm
from shared.model.prelu import with_slope_prelu
from shared.model.swap import swap
from shared.model.weights import Weights

LEVELS = 4
"""Resolutions of the U-Net: three down-samplings."""

TOP_CHANNELS = 4
"""Channels that the U-Net ends in, at full resolution. With the usual one, its last instance
norm wipes out how much lesion a patch holds, and a start can be unlucky for good."""

PRIOR = -3.0
"""Score with which a sigmoid network starts everywhere, a probability of about 0.05: lesions
are rare, and from 0.5 the Dice loss takes long to find them (the prior of Lin et al. 2017, 4.1)."""


class LesionNet(nn.Module):
    """A residual 3D U-Net, from an image to a score a voxel.

    (B, 1, D, H, W) normalised intensities -> (B, 1, D, H, W) unbounded scores, each of D, H
    and W a multiple of 8. `soft_segmentation` turns scores into a segmentation: not done here,
    because a volume in windows is normalised only once it is stitched.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.unet = UNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=TOP_CHANNELS,
            channels=[settings.features * 2**level for level in range(LEVELS)],
            strides=[2] * (LEVELS - 1),
            num_res_units=2,
            norm="instance",
        )
        if settings.norm == "channel":
            with_channel_norm(self.unet)
        else:
            swap(self.unet, nn.InstanceNorm3d, lambda norm: InstanceNorm(norm.num_features))
        with_slope_prelu(self.unet)
        with_own_parts(self.unet)
        self.head = nn.Conv3d(TOP_CHANNELS, 1, kernel_size=1)
        if settings.activation == "sigmoid" and self.head.bias is not None:
            nn.init.constant_(self.head.bias, PRIOR)

    def forward(self, image: Tensor) -> Tensor:
        if on_gpu(image):
            return self._on_gpu(image)
        scores: Tensor = self.head(self.unet(image))
        return scores

    def _on_gpu(self, image: Tensor) -> Tensor:
        down, skip, (up, last) = self.unet.model  # type: ignore[misc]
        return last_on_gpu(up, last, self.head, skip(first_on_gpu(down, image)))  # type: ignore[has-type]


def scores_of(network: LesionNet, images: Tensor) -> Tensor:
    """A score a voxel, float32; on CUDA by way of bfloat16."""
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=images.device.type == "cuda"):
        scores: Tensor = network(images)
    return scores.float()


def soft_segmentation(scores: Tensor, activation: Literal["sigmoid", "normalised-relu"]) -> Tensor:
    """Scores (B, 1, D, H, W) to a soft segmentation in [0, 1].

    `normalised-relu` is SoftSeg's (Gros et al. 2021): relu(x) / max relu(x), for each sample
    over all of its voxels; a sample without a positive score is all zero.
    """
    if activation == "sigmoid":
        return scores.sigmoid()
    positive = scores.relu()
    peak = positive.amax(dim=(1, 2, 3, 4), keepdim=True)
    return positive / peak.clamp_min(torch.finfo(peak.dtype).tiny)


def initial_weights(settings: NetworkSettings, seed: int) -> Weights:
    """The weights of a fresh network; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LesionNet(settings).state_dict()


def network_with(weights: Weights, settings: NetworkSettings, device: torch.device) -> LesionNet:
    """A network with the given weights, on its device and in the layout that convolves fastest.

    Raises `MessageError` where the weights are those of another network.
    """
    network = LesionNet(settings)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise MessageError(
            f"the model that came does not fit this run's network (features = {settings.features}): {first}"
        ) from None
    return network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def carry_over(weights: Weights, what: Literal["model", "encoder"], settings: NetworkSettings, seed: int) -> Weights:
    """The weights that the next center starts from: all of them, or with a fresh decoder."""
    if what == "model":
        return weights
    fresh = initial_weights(settings, seed)
    return {name: value if is_encoder(name) else fresh[name] for name, value in weights.items()}


def is_encoder(name: str) -> bool:
    """Whether a parameter lies on the way down (or at the bottom) of MONAI's nested U-Net.

    Each level is a sequence of (0) the way down, (1) a skip connection around the levels
    below, and (2) the way up.
    """
    if not name.startswith("unet.model."):
        return False
    inner = name.removeprefix("unet.model.")
    while inner.startswith("1.submodule."):
        inner = inner.removeprefix("1.submodule.")
    return not inner.startswith("2.")


METADATA = "wardround.model"
"""Key of a model file's metadata. There is one alone: safetensors writes several in any order."""


class Inference(BaseModel):
    """How images are prepared for a model, and how it is led over them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing: float
    """mm, isotropic."""
    patch_size: int
    """Voxels along each edge of a window."""
    window_overlap: float
    contrasts: tuple[str, ...]
    """Of the images that it may have been trained on."""
    dice_by_contrast: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Mean Dice over the test images of each contrast in the run that trained it, as far as the centers gave scores by
    contrast; empty where none did, and in files that are older than this."""


class Described(BaseModel):
    """What a model file says of its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: NetworkSettings
    inference: Inference | None = None
    """None in the journal, where nobody segments with it."""


def save_model(path: Path, weights: Mapping[str, Tensor], settings: NetworkSettings) -> None:
    """Write weights, with what is needed to rebuild their network, as safetensors."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(tensors, path, metadata={METADATA: Described(network=settings).model_dump_json()})


def load_model(path: str | Path) -> LesionNet:
    """The network of a `model.safetensors`, ready for inference.

    Raises `ResultsError` where the file is missing, damaged or not written by Wardround.
    """
    return load_described(path)[0]


def load_described(path: str | Path) -> tuple[LesionNet, Described]:
    """As `load_model`, with all that the file says."""
    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get(METADATA)
        if said is None:
            raise ResultsError(
                f"{path} was not written by this version of Wardround: give the model.safetensors of one of its runs"
            )
        described = Described.model_validate_json(said)
        network = LesionNet(described.network)
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, ValidationError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ResultsError(f"{path} cannot be read as a model ({reason}): give a run's model.safetensors") from None
    return network.eval(), described

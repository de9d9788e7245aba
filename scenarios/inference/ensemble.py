"""Models that segment together: one alone, several, and each over the mirrored images of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Self

import torch
from torch import Tensor

from client.evaluation.inference import segment
from scenarios.shipped.card import shipped_model
from shared.errors import SettingsError
from shared.model.model_file import Model, open_model
from shared.model.network import Inference

MIRRORED = tuple(axes for number in range(4) for axes in combinations(range(3), number))
"""The axes along which an image is mirrored: none, each, each two, all three. Eight ways, eight times the work."""


@dataclass(frozen=True)
class Ensemble:
    """One or several models, of one spacing and for the same contrasts; soft segmentations are their mean.

    The mean over a network's answers to mirrored images, mirrored back, is test-time augmentation as nnU-Net has it
    (Isensee et al., Nature Methods 18:203-211, 2021); that over models which were trained alike from other seeds is
    their ensemble. What is lesion is said once, of the mean.
    """

    models: tuple[Model, ...]
    flips: bool = False

    @classmethod
    def opened(cls, paths: Sequence[Path], flips: bool = False) -> Self:
        """The models of these run folders or files; of none, the one that is shipped.

        Raises `ResultsError` where one cannot be used, `SettingsError` where they do not go together.
        """
        paths = paths or [shipped_model()]
        models = tuple(open_model(path) for path in paths)
        first = models[0].inference
        for path, model in zip(paths, models, strict=True):
            for key, theirs, ours in (
                ("spacing", model.inference.spacing, first.spacing),
                ("contrasts", sorted(model.inference.contrasts), sorted(first.contrasts)),
            ):
                if theirs != ours:
                    raise SettingsError(
                        f"{path} has {key} {theirs}, and {paths[0]} has {ours}: only models of the same {key} can be "
                        "averaged"
                    )
        return cls(models, flips)

    @property
    def inference(self) -> Inference:
        """How images are prepared for them, and what all of them scored."""
        first = self.models[0].inference
        return first.model_copy(update={"dice_by_contrast": self._scores()})

    def _scores(self) -> Mapping[str, float]:
        """The mean over models, of contrasts of which each knows its score."""
        known = [model.inference.dice_by_contrast for model in self.models]
        shared = [contrast for contrast in known[0] if all(contrast in one for one in known)]
        return {contrast: fmean(one[contrast] for one in known) for contrast in shared}

    def to(self, device: torch.device) -> Self:
        """The same, with its networks on `device`."""
        for model in self.models:
            model.network.to(device)
        return self

    def soft(self, image: Tensor) -> Tensor:
        """The soft segmentation of a prepared image, (D, H, W) to (D, H, W), on the device of image and networks."""
        ways = MIRRORED if self.flips else MIRRORED[:1]
        total = torch.zeros_like(image)
        for model in self.models:
            inference = model.inference
            for axes in ways:
                made = segment(model.network, image.flip(axes), inference.patch_size, inference.window_overlap)
                total = total + made.flip(axes)
        return total / (len(self.models) * len(ways))

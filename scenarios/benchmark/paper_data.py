"""The data path of the paper's code, on volumes that are in memory already.

Transforms, their order and their parameters are those of `main_pl_replay_random.py` at
github.com/naga-karthik/continual-learning-ms (Karthik et al. 2022): a `CacheDataset` keeps each volume cropped to
what is above zero; crops, flips, quarter turns, the equalised histogram and the normalisation of every patch are
made anew each time, in the workers of a `DataLoader`.

It is met at its best: volumes need no reading, there is a worker a core, and the workers outlast an epoch, which
the paper's four do not.
"""

from collections.abc import Sequence

import numpy as np
import torch
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import CropForegroundd, RandCropByPosNegLabeld
from monai.transforms.intensity.dictionary import HistogramNormalized, NormalizeIntensityd
from monai.transforms.spatial.dictionary import RandFlipd, RandRotate90d
from monai.transforms.utility.dictionary import ToTensord

from client.data.preprocessing import Volume

KEYS = ("image", "label")


def paper_loader(
    volumes: Sequence[Volume], *, patch: int, batch: int, samples: int, repeats: int, workers: int, pin: bool
) -> DataLoader:
    """Batches of `batch` volumes with `samples` patches each; an epoch passes over the volumes `repeats` times."""
    flips = [RandFlipd(KEYS, prob=0.5, spatial_axis=[axis]) for axis in range(3)]
    transforms = Compose(
        [
            CropForegroundd(KEYS, source_key="image"),
            RandCropByPosNegLabeld(
                KEYS,
                label_key="label",
                spatial_size=(patch,) * 3,
                pos=1,
                neg=1,
                num_samples=samples,
                image_key="image",
                image_threshold=0,
            ),
            *flips,
            RandRotate90d(KEYS, prob=0.1, max_k=3),
            HistogramNormalized(["image"]),
            NormalizeIntensityd(["image"], nonzero=False, channel_wise=True),
            ToTensord(KEYS, track_meta=False),
        ]
    )
    cached = CacheDataset(
        [_entry(volume) for volume in volumes] * repeats, transforms, num_workers=None, progress=False
    )
    return DataLoader(
        cached, batch_size=batch, shuffle=True, num_workers=workers, pin_memory=pin, persistent_workers=workers > 0
    )


def _entry(volume: Volume) -> dict[str, torch.Tensor]:
    """A volume as the paper's code has read it: float32 with a channel, air at zero and the head above."""
    image = np.asarray(volume.image, dtype=np.float32)
    label = np.asarray(volume.label, dtype=np.float32) / np.float32(255)
    return {"image": torch.from_numpy(image - image.min())[None], "label": torch.from_numpy(label)[None]}

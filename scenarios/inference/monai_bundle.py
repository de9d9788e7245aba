"""Exporting a model, of a finished run or the shipped one, as a MONAI bundle: weights, configuration, card, licence.

The configuration segments as Wardround does, in MONAI's own words: preparation and inference are those of
client/data/preprocessing.py and client/evaluation/inference.py, spelled with MONAI's transforms and, where it has
none, short expressions. Where the head is in an image is told by `scripts/head.py`, a copy of client/data/head.py, so
that `monai.bundle run` needs nothing of Wardround installed; where features are normalised over channels,
`scripts/channel_norm.py` is a copy of shared/model/channel_norm.py. What differs is rounding alone, which a test
measures, and that MONAI's reader trusts no affine whose voxel size is not the header's `pixdim`.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from client.data import head
from client.data.lesions import LESION
from client.data.preprocessing import CLIP
from client.evaluation.inference import MOST_AT_ONCE, MULTIPLE, WINDOWS
from scenarios.inference.model_card import model_card
from scenarios.inference.segment import NOT_CLINICAL, STEP
from scenarios.inference.shipped_model_card import shipped_model_card
from scenarios.run_config import app_folder
from scenarios.shipped.card import CARD, ShippedCard
from shared.errors import ResultsError
from shared.files import folder_whole
from shared.model import channel_norm
from shared.model.model_file import Model, open_model
from shared.model.network import LEVELS, TOP_CHANNELS
from shared.paths import absolute
from shared.results import read_results

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""Names the schema of `metadata.json` to `monai.bundle verify_metadata`, which downloads it unless it is there."""

RUNNERS = {"fire": "0.7.1", "pytorch-ignite": "0.5.5"}
"""What `monai.bundle run` needs besides, and Wardround does not; the versions that the tests pass with."""

REFERENCES = [
    "Karthik et al. 2022, Segmentation of Multiple Sclerosis Lesions across Hospitals: Learn Continually or Train "
    "from Scratch?, arXiv:2210.15091",
]

SOFT = {
    "sigmoid": {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
    # SoftSeg's, over the whole volume.
    "normalised-relu": {
        "_target_": "Lambdad",
        "keys": "pred",
        "func": "$lambda x: x.relu() / x.relu().max().clamp_min(torch.finfo(x.dtype).tiny)",
    },
}


@dataclass(frozen=True)
class About:
    """What a bundle says of how its model was made."""

    method: str
    hospitals: int
    scores: Mapping[str, float]
    """Of the run, beside the Dice by contrast."""
    card: str


def _of_run(run: Path) -> tuple[Model, About]:
    results, model = read_results(run), open_model(run)
    scores = results.model_dump(include={"acc", "bwt"}, exclude_none=True)
    return model, About(results.method, len(results.order), scores, model_card(run, results, model))


def _of_shipped(folder: Path) -> tuple[Model, About]:
    card, model = ShippedCard.read(folder), open_model(folder)
    return model, About(card.method, len(card.hospitals), {}, shipped_model_card(card, model))


def export_bundle(source: Path, output: Path) -> Path:
    """Write the bundle of a run's final model into a new folder, whole or not at all; returns the folder.

    `source` is the run's folder, or that of a shipped model. Raises `ResultsError` where the run has not finished, or
    the folder holds something or cannot be written.
    """
    folder = absolute(output, "output folder")
    model, about = _of_shipped(source) if (source / CARD).is_file() else _of_run(source)
    licence = app_folder() / "LICENSE"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ResultsError(f"{folder} exists, and nothing is overwritten: choose a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder_whole(folder) as new:
            for name in ("configs", "models", "docs", "scripts"):
                (new / name).mkdir()
            _write_json(new / "configs" / "metadata.json", metadata(model, about))
            _write_json(new / "configs" / "inference.json", inference_config(model))
            torch.save(model.network.state_dict(), new / "models" / "model.pt")
            (new / "docs" / "README.md").write_text(about.card, encoding="utf-8")
            (new / "scripts" / "head.py").write_text(inspect.getsource(head), encoding="utf-8")
            if model.network.settings.norm == "channel":
                (new / "scripts" / "channel_norm.py").write_text(inspect.getsource(channel_norm), encoding="utf-8")
            (new / "LICENSE").write_bytes(licence.read_bytes())
    except OSError as error:
        raise ResultsError(f"{folder} cannot be written ({error.strerror or error}): choose another folder") from None
    return folder


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def inference_config(model: Model) -> dict[str, Any]:
    """`configs/inference.json`: segments every image in `dataset_dir`."""
    settings, inference = model.network.settings, model.inference
    channels = settings.norm == "channel"
    network = "torch.nn.Sequential(collections.OrderedDict(unet=@unet, head=@head))"
    return {
        "imports": [
            "$import collections",
            "$import glob",
            "$import monai",
            "$import numpy",
            "$from scipy import ndimage",
            "$from scripts.head import find_head",
            *(["$from scripts.channel_norm import with_channel_norm"] if channels else []),
            "$import torch",
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/segmentations'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz') + glob.glob(@dataset_dir + '/*.nii'))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "spacing": inference.spacing,
        "unet": {
            "_target_": "UNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": TOP_CHANNELS,
            "channels": [settings.features * 2**level for level in range(LEVELS)],
            "strides": [2] * (LEVELS - 1),
            "num_res_units": 2,
            "norm": "instance",
        },
        "head": {"_target_": "torch.nn.Conv3d", "in_channels": TOP_CHANNELS, "out_channels": 1, "kernel_size": 1},
        "network_def": f"$with_channel_norm({network})" if channels else f"${network}",
        "network": "$@network_def.to(@device)",
        **_preparation(),
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': image} for image in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": f"$lambda inputs, network, *args, **kwargs: {_scores(model)}",
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                SOFT[settings.activation],
                {
                    "_target_": "ResampleToMatchd",
                    "keys": "pred",
                    "key_dst": "original",
                    "mode": "bilinear",
                    "padding_mode": "zeros",
                    "align_corners": True,
                },
                {
                    "_target_": "Lambdad",
                    "keys": "pred",
                    "func": f"$lambda x: (x.clamp(0, 1) * {round(1 / STEP)}).floor() / {round(1 / STEP)}",
                },
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "lesion",
                    "output_dtype": "$numpy.float32",
                    "separate_folder": False,
                    "resample": False,
                },
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def _scores(model: Model) -> str:
    """The expression of an image's scores: in one piece as far as Wardround does that, or stitched of windows."""
    settings, inference = model.network.settings, model.inference
    # Not SlidingWindowInferer, which fills windows beyond the image with one value for all images.
    windows = (
        f"monai.inferers.sliding_window_inference(inputs, {[inference.patch_size] * 3}, {WINDOWS}, network, "
        f"overlap={inference.window_overlap}, mode='gaussian', cval=float(inputs.min()))"
    )
    whole = (
        "network(torch.nn.functional.pad(inputs, "
        f"[n for edge in reversed(inputs.shape[2:]) for n in (0, -edge % {MULTIPLE})], value=float(inputs.min())))"
        "[..., :inputs.shape[2], :inputs.shape[3], :inputs.shape[4]]"
    )
    at_once = f"inputs.numel() <= {MOST_AT_ONCE // settings.features}"
    return f"{whole} if {at_once} else {windows}" if settings.norm == "channel" else windows


def _preparation() -> dict[str, Any]:
    """From a file to what the network takes, with the image itself kept as `original` for the way back."""
    return {
        # In voxels, by which the coarser grid is wider (Cardoso et al. 2015); none where it is hardly coarser.
        "added_sigma": (
            "$lambda affine: (lambda sigma: sigma * (sigma.max() > 0.05))(numpy.sqrt(numpy.maximum("
            "(@spacing / numpy.linalg.norm(affine[:3, :3], axis=0)) ** 2 - 1, 0)) / numpy.sqrt(8 * numpy.log(2)))"
        ),
        "smooth": (
            "$lambda x: monai.data.MetaTensor(ndimage.gaussian_filter("
            "x.numpy(), [0, *@added_sigma(x.affine.numpy())], mode='nearest'), meta=x.meta)"
        ),
        # Without spikes, air at 0, and its end at 1.
        "scale_by_air": (
            "$lambda x: (lambda head: monai.data.MetaTensor("
            "((head.image - head.floor) / (head.air - head.floor))[None], meta=x.meta))(find_head(x.numpy()[0]))"
        ),
        "standardise": (
            "$lambda x: (lambda head: ((x - head.mean()) / head.std(unbiased=False).clamp_min(1e-6))"
            f".clamp({-CLIP}, {CLIP}).half().float())(x.as_tensor()[x.as_tensor() > 1])"
        ),
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True, "image_only": True},
                {"_target_": "CopyItemsd", "keys": "image", "names": "original"},
                {"_target_": "Lambdad", "keys": "image", "func": "@scale_by_air"},
                {"_target_": "Lambdad", "keys": "image", "func": "@smooth"},
                {
                    "_target_": "Orientationd",
                    "keys": "image",
                    "axcodes": "RAS",
                    "labels": [["L", "R"], ["P", "A"], ["I", "S"]],
                },
                {
                    "_target_": "Spacingd",
                    "keys": "image",
                    "pixdim": "$[@spacing] * 3",
                    "mode": "bilinear",
                    "padding_mode": "border",
                    "align_corners": True,
                },
                {
                    "_target_": "CropForegroundd",
                    "keys": "image",
                    "source_key": "image",
                    "select_fn": "$lambda x: x > 1",
                    "start_coord_key": None,
                    "end_coord_key": None,
                },
                {"_target_": "Lambdad", "keys": "image", "func": "@standardise"},
            ],
        },
    }


def metadata(model: Model, about: About) -> dict[str, Any]:
    """`configs/metadata.json`, as MONAI's bundle specification wants it."""
    tensor = {
        "type": "image",
        "num_channels": 1,
        # Three down-samplings, and more than one voxel at the bottom for the instance norm.
        "spatial_shape": ["8*(n+1)"] * 3,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
    }
    contrasts = " or ".join(model.inference.contrasts)
    pred = {**tensor, "format": "segmentation", "channel_def": {"0": "score of MS lesion"}}
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported from a Wardround run of method {about.method}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in ("nibabel", "scipy")} | RUNNERS,
        "name": "MS lesion segmentation",
        "task": "Soft segmentation of multiple-sclerosis lesions in brain MRI",
        "description": (
            f"A residual 3D U-Net, trained by Wardround across {about.hospitals} hospitals "
            f"(method {about.method}) on skull-stripped {contrasts} images. {NOT_CLINICAL.capitalize()}."
        ),
        "authors": "Made with Wardround; whose data it learnt from stands in docs/README.md",
        "copyright": "See LICENSE for the configuration; docs/README.md for the weights",
        "data_source": "See docs/README.md",
        "data_type": "nibabel",
        "image_classes": f"one channel, skull-stripped {contrasts}; mean 0 and standard deviation 1 over the head",
        "pred_classes": f"one channel, MS lesion: a score, and after post-processing 0 to 1, where {LESION} is lesion",
        "eval_metrics": {
            **about.scores,
            **({"dice_by_contrast": by_contrast} if (by_contrast := model.inference.dice_by_contrast) else {}),
        },
        "intended_use": f"Research; {NOT_CLINICAL}",
        "references": REFERENCES,
        "network_data_format": {
            "inputs": {
                "image": {**tensor, "format": "magnitude", "modality": "MR", "channel_def": {"0": contrasts}},
            },
            "outputs": {"pred": pred},
        },
    }

"""Test images for the report, segmented with the final models of a study's runs.

Simulated patients are shown; images of a `data-dir` may be patients', and are shown only where that was
asked for. An image belongs to a run only where its hospital's pseudonym stands in the run's test scores,
so that a deployment's hospitals are never mistaken for simulated ones of the same name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from client.data.inventory import Case
from client.data.preprocessing import Volume
from client.evaluation.inference import segment_volume
from client.hospital.center import Hospital, open_hospital
from scenarios.report.comparisons import runs_of, sequential_methods
from scenarios.report.overlays import Example, Examples
from scenarios.report.style import in_order
from scenarios.results.study import RunEntry, Study
from scenarios.run_config import default_run_config
from scenarios.simulation.hospitals import hospital_folder, phantom_settings
from scenarios.simulation.sites import simulated_site
from shared.config.settings import RunConfig, Settings
from shared.errors import DataError, WardroundError
from shared.methods import spec_of
from shared.model.device import choose_device
from shared.model.network import LesionNet, load_model
from shared.paths import MODEL, cache_folder
from shared.results import RunResults, read_results

MOST = 4
"""Images shown, beside those of the worst centers."""

SHOWN = ("finetune", "replay", "pooled")
"""Methods, where they were run; else the first two that have one final model."""

RULE = (
    "Centers are spread evenly over the order of visits, from the first to the last; at each the first test "
    "patient by name is shown, in the slice that holds most lesion, with the models of the lowest seed and first "
    "order. Results had no part in that choice. The center at which each of these models is worst in the end is always "
    "shown, too, titled so, by its test image of the least Dice."
)

NO_FOLDERS = "There are no images: no run of this study has its folder, so that there is no model to segment with."
PATIENTS = (
    "There are no images: those of data-dir may be patients'. 'wardround report --images' shows them on this page, "
    "which is then for those alone who may see them."
)


@dataclass(frozen=True)
class _Model:
    method: str
    network: LesionNet
    scores: dict[tuple[str, str, str], float]
    """Dice of the final model by center, pseudonym and contrast."""
    worst: str
    """The center at which it is worst."""


def examples_of(study: Study, folder: Path, images: bool) -> Examples:
    """Images and segmentations for a study that lies in `folder`; a sentence where there are none.

    `images`: show those of a `data-dir` too.
    """
    chosen = _chosen(study)
    if not chosen:
        return Examples((), RULE, NO_FOLDERS)
    try:
        results = [read_results(folder / run.folder) for run in chosen]
        settings = _settings(results[0].settings)
        if settings.data.data_dir and not images:
            return Examples((), RULE, PATIENTS)
        if lost := [run.name for run in chosen if not (folder / run.folder / MODEL).is_file()]:
            return Examples((), RULE, f"There are no images: the final models of {', '.join(lost)} are not there.")
        device = choose_device("auto")
        models = [
            _Model(run.method, load_model(folder / run.folder / MODEL).to(device), _final_dice(one), worst_center(one))
            for run, one in zip(chosen, results, strict=True)
        ]
        shown, reasons = [], []
        order = chosen[0].order
        wanted = {*spread_over(order, MOST), *(model.worst for model in models)}
        for center in sorted(wanted, key=order.index):
            try:
                shown.append(_example(center, settings, models, device))
            except DataError as error:
                reasons.append(f"{center}: {error}")
    except (WardroundError, KeyError) as error:
        return Examples((), RULE, f"There are no images: {error}.")
    lacking = f"No image is shown of {'; '.join(reasons)}." if reasons else ""
    return Examples(tuple(shown), RULE, lacking, confidential=bool(shown and settings.data.data_dir))


def spread_over(order: Sequence[str], most: int) -> tuple[str, ...]:
    """At most so many centers, evenly over the order, the first and the last among them."""
    if len(order) <= most:
        return tuple(order)
    return tuple(order[round(i * (len(order) - 1) / (most - 1))] for i in range(most))


def worst_center(results: RunResults) -> str:
    """Where a run's final model has the least mean test Dice; the first of several."""
    final = [(dice, center) for center, dice in zip(results.order, results.R[-1], strict=True) if dice is not None]
    return min(final, key=lambda one: one[0])[1]


def _chosen(study: Study) -> list[RunEntry]:
    """The runs whose final models are shown, of one seed and order."""
    sequential = sequential_methods(study)
    methods = [m for m in SHOWN if any(run.method == m for run in study.runs)] if set(SHOWN) & set(sequential) else []
    methods = methods or list(in_order(run.method for run in study.runs if not spec_of(run.method).fresh)[:2])
    runs = [run for method in methods for run in runs_of(study, method) if run.folder]
    if not runs:
        return []
    rank = {name: i for i, name in enumerate(study.orders)}
    leading = min(runs, key=lambda run: (run.method not in sequential, rank.get(run.order_name, len(rank)), run.seed))
    return [
        run
        for run in runs
        if run.seed == leading.seed and (run.order_name == leading.order_name or run.method not in sequential)
    ]


def _final_dice(results: RunResults) -> dict[tuple[str, str, str], float]:
    return {(image.center, image.subject, image.contrast): image.dice for image in results.final_images}


def _example(center: str, settings: Settings, models: Sequence[_Model], device: torch.device) -> Example:
    """The center's first test image, or its worst where a model is worst there.

    Raises `DataError` where it is not there, or not the runs'.
    """
    hospital = _hospital(center, settings)
    worst_of = [model for model in models if model.worst == center]

    def key_of(case: Case) -> tuple[str, str, str]:
        return center, hospital.pseudonym(case.subject), case.contrast

    found = hospital.test if worst_of else hospital.test[:1]
    tested = [case for case in found if all(key_of(case) in model.scores for model in models)]
    if not tested:
        raise DataError("its test images here are not those that the runs were tested on")
    wanted = min(tested, key=lambda case: worst_of[0].scores[key_of(case)]) if worst_of else tested[0]
    case, volume = hospital.open((wanted,))[0][0]
    key = key_of(case)
    level = int(np.asarray(volume.label, dtype=np.int64).sum(axis=(0, 1)).argmax())
    patch, overlap = settings.training.patch_size, settings.training.window_overlap
    soft = {m.method: segment_volume(m.network, volume, patch, overlap, device) for m in models}
    return Example(
        center=center,
        subject=key[1],
        contrast=case.contrast,
        image=_upright(_grey(volume)[:, :, level]),
        truth=_upright(np.asarray(volume.label[:, :, level], dtype=np.float32) / np.float32(255)),
        segmentations={method: _upright(values[:, :, level].cpu().numpy()) for method, values in soft.items()},
        dice={model.method: model.scores[key] for model in models},
        aspect=1.0,
        worst_of=tuple(model.method for model in worst_of),
    )


def _settings(written: RunConfig) -> Settings:
    """Settings of a run, also of one that was made before some keys were. Raises `SettingsError`."""
    return Settings.from_run_config(default_run_config() | dict(written))


def _hospital(center: str, settings: Settings) -> Hospital:
    """A simulated hospital that is there already. Raises `DataError` where it is not."""
    cache = cache_folder(settings.data.cache_dir)
    if settings.data.data_dir:
        there = Path(settings.data.data_dir) / center
    else:
        there = hospital_folder(center, phantom_settings(settings.data), cache / "hospitals")
    if not there.is_dir():
        raise DataError("its images are not on this machine")
    return open_hospital(simulated_site(center, settings), cache, settings)


def _grey(volume: Volume) -> np.ndarray[Any, np.dtype[np.float32]]:
    """From air (0) to the 99.8th percentile (1)."""
    values = np.asarray(volume.image, dtype=np.float32)
    bright = float(np.percentile(values[values > volume.air], 99.8))
    grey: np.ndarray[Any, np.dtype[np.float32]] = ((values - volume.air) / max(bright - volume.air, 1e-6)).clip(0, 1)
    return grey


def _upright(plane: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(x, y) of RAS to rows from the top: anterior up, the patient's right on the left."""
    return np.ascontiguousarray(plane[::-1, ::-1].T)

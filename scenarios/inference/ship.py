"""Making the model that is shipped out of a finished run on simulated patients.

Weights become float16, which must cost nothing; the threshold is set on the run's own simulated test patients, never on
real ones. It is put into the network: with scores s and a threshold t of the soft values, the bias of the last layer is
lowered by logit(t), so that a soft value p becomes sigmoid(logit(p) - logit(t)). The map is monotone and leads t to
0.5, from which on everything else (masks, volumes, bundles, scores, a run that starts from it) calls a voxel lesion.
"""

import math
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from client.data.lesions import LESION
from client.data.preprocessing import Volume
from client.evaluation.inference import compare, segment_volume, truth_on
from client.evaluation.metrics import dice_of
from client.hospital.center import open_hospital
from client.hospital.node import prepared_folder
from scenarios.run_config import app_folder, default_run_config
from scenarios.runner.launch_record import HowLaunched
from scenarios.shipped.card import CARD, ContrastFigures, ShippedCard
from scenarios.simulation.hospitals import prepare_hospitals
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from shared.errors import DataError, ResultsError
from shared.files import write_whole
from shared.metrics.scores import Scores
from shared.model.model_file import Model, model_bytes, open_model
from shared.model.network import LesionNet, network_with
from shared.model.weights import Weights, model_digest
from shared.paths import MODEL, writable_folder
from shared.phantoms.settings import VERSION
from shared.results import RunResults, read_results

THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Soft values that are tried."""

MOST_BYTES = 10_000_000

MOST_LOST = 0.001
"""Mean Dice of a contrast that float16 may move."""

SAME_PATIENTS = 0.01
"""Mean Dice of a contrast by which the run's own tests and the same tests here may differ (devices round otherwise);
more, and these are not the patients that it was tested on."""

BIAS = "head.bias"

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class SimulatedPatient:
    """A test image of the run."""

    center: str
    contrast: str
    volume: Volume


def ship(run: Path, output: Path, device: torch.device, say: Say, commit: str = "") -> ShippedCard:
    """Write the shipped model of a finished run, and its card, into a folder.

    `commit` is that of the checkout which trained it; empty: of this one. Raises `ResultsError` where the run is not of
    simulated patients alone, its model cannot be shipped, or the folder holds one already, and `DataError` where no
    test patient has a lesion.
    """
    results, model, launched = read_results(run), open_model(run), HowLaunched.load(run)
    check_simulated(run, results, model, launched)
    settings, trained = settings_here(results), dict(model.network.state_dict())
    check_size(model_bytes(rounded(trained), settings))
    output = writable_folder(output.absolute(), "output folder")
    if there := [name for name in (MODEL, CARD) if (output / name).exists()]:
        raise ResultsError(
            f"{output / there[0]} exists, and nothing is overwritten: delete it, or choose another folder"
        )
    patients = simulated_patients(settings, say)
    say(f"segmenting {len(patients)} simulated test images, twice")
    images = try_thresholds(trained, settings, patients, device)
    check_same_patients(results, patients, [one[LESION] for one in images])
    tried = {t: by_contrast(patients, [one[t] for one in images]) for t in THRESHOLDS}
    threshold = best_threshold(tried)
    weights = rounded(at_half(trained, threshold))
    figures = _figures(patients, score_all(weights, settings, patients, device), tried, threshold)
    check_float16(figures)
    dice = {contrast: one.dice for contrast, one in figures.items()}
    content = model_bytes(weights, settings, dice)
    card = ShippedCard(
        command=command_of(settings, launched),
        method=results.method,
        hospitals=results.order,
        training_subjects=sum(stage.training_subjects for stage in results.stages),
        seed=results.seed,
        commit=commit or commit_here(),
        phantoms=VERSION,
        versions=results.versions,
        settings=settings.science,
        training_seconds=results.training_seconds,
        parameters=sum(value.numel() for value in weights.values()),
        bytes=len(content),
        sha256=model_digest({name: value.float() for name, value in weights.items()}),
        threshold=threshold,
        tried={f"{t:g}": {name: round(value, 4) for name, value in tried[t].items()} for t in THRESHOLDS},
        figures=figures,
    )
    try:
        write_whole(output / MODEL, content)
        write_whole(output / CARD, card.document.encode())
    except OSError as error:
        raise ResultsError(f"{output} cannot be written ({error.strerror or error}): choose another folder") from None
    return card


def check_simulated(run: Path, results: RunResults, model: Model, launched: HowLaunched | None) -> None:
    """Raise `ResultsError` where a run may have learnt from anybody, or its network has no threshold to move."""
    mend = "only what learnt from simulated patients alone is shipped"
    settings = results.settings
    if settings["data-dir"]:
        raise ResultsError(f"the run in {run} was trained on the data sets of {settings['data-dir']}: {mend}")
    if settings["protocol"] or (launched is not None and launched.superlink is not None):
        raise ResultsError(f"the run in {run} was trained at hospitals that joined: {mend}")
    if settings.get("start-digest"):
        raise ResultsError(f"the run in {run} began with another model (start = {settings['start']!r}): {mend}")
    if model.network.settings.activation != "sigmoid":
        raise ResultsError(
            f"the network of the run in {run} ends in {model.network.settings.activation}: the threshold is set by the "
            "bias of a sigmoid; train with activation = 'sigmoid'"
        )


def settings_here(results: RunResults) -> Settings:
    """The run's settings, on this machine."""
    config = default_run_config() | dict(results.settings) | {"output-dir": "", "resume": False}
    if not Path(str(config["cache-dir"])).is_dir():
        config["cache-dir"] = ""  # it was trained elsewhere
    return Settings.from_run_config(config)


def rounded(weights: Weights) -> Weights:
    """Weights in float16. Raises `ResultsError` where one is too large for it."""
    half = {name: value.detach().cpu().half() for name, value in weights.items()}
    if large := [name for name, value in half.items() if not value.isfinite().all()]:
        raise ResultsError(f"{large[0]} holds numbers that float16 does not: the model cannot be shipped")
    return half


def check_size(content: bytes) -> None:
    """Raise `ResultsError` where a file is too large to be shipped."""
    if len(content) > MOST_BYTES:
        raise ResultsError(
            f"the model takes {len(content) / 1e6:.1f} MB in float16, and at most {MOST_BYTES / 1e6:.0f} MB are "
            "shipped: train one with fewer features"
        )


def simulated_patients(settings: Settings, say: Say) -> list[SimulatedPatient]:
    """The test images of a run over simulated hospitals, which are made where they are missing."""
    prepare_hospitals(settings, say)
    found = []
    for center in settings.run.centers:
        site = simulated_site(center, settings)
        hospital = open_hospital(site, prepared_folder(site, True, settings), settings)
        opened, _ = hospital.open(hospital.test)
        found += [SimulatedPatient(center, case.contrast, volume) for case, volume in opened]
    if all(one.volume.empty for one in found):
        raise DataError("no simulated test patient of the run has a lesion: no threshold can be set")
    return found


def try_thresholds(
    weights: Weights, settings: Settings, patients: Sequence[SimulatedPatient], device: torch.device
) -> list[dict[float, float]]:
    """Dice of each image with the model put to each threshold."""
    network, found = network_with(weights, settings.network, device).eval(), []
    for one in patients:
        scores = _soft(network, one, settings, device).logit(eps=1e-6)
        there = truth_on(scores.device, one.volume) >= LESION
        found.append({t: _dice(one.volume, (scores - _logit(t)).sigmoid(), there) for t in THRESHOLDS})
    return found


def score_all(
    weights: Weights, settings: Settings, patients: Sequence[SimulatedPatient], device: torch.device
) -> list[Scores]:
    """All scores of each image."""
    network = network_with(weights, settings.network, device).eval()
    return [compare(one.volume, _soft(network, one, settings, device)) for one in patients]


def _soft(network: LesionNet, one: SimulatedPatient, settings: Settings, device: torch.device) -> Tensor:
    return segment_volume(network, one.volume, settings.training.patch_size, settings.training.window_overlap, device)


def _dice(volume: Volume, soft: Tensor, there: Tensor) -> float:
    """Without the other scores, which take long; `there` is the mask of the truth."""
    found = volume.to_own_grid(soft) >= LESION
    return dice_of(*(int(part.sum()) for part in (found & there, found, there)))


def by_contrast(patients: Sequence[SimulatedPatient], values: Sequence[float]) -> dict[str, float]:
    """Means over the images of each contrast, those without lesion left out."""
    parts: dict[str, list[float]] = {}
    for one, value in zip(patients, values, strict=True):
        if not one.volume.empty:
            parts.setdefault(one.contrast, []).append(value)
    return {contrast: fmean(parts[contrast]) for contrast in sorted(parts)}


def check_same_patients(results: RunResults, patients: Sequence[SimulatedPatient], dice: Sequence[float]) -> None:
    """Raise `ResultsError` where the test images score otherwise than in the run: then they are others."""
    for contrast in sorted({one.contrast for one in patients}):
        ours = fmean(value for one, value in zip(patients, dice, strict=True) if one.contrast == contrast)
        known = [one.dice for one in results.final_images if one.contrast == contrast and one.center in results.order]
        if not known or abs(fmean(known) - ours) > SAME_PATIENTS:
            then = f"{fmean(known):.3f}" if known else "not tested"
            raise ResultsError(
                f"the simulated patients made here are not those of the run: mean test Dice on {contrast} was {then} "
                f"in the run and is {ours:.3f} here; ship with the version that trained it (phantoms here: {VERSION})"
            )


def best_threshold(tried: Mapping[float, Mapping[str, float]]) -> float:
    """The threshold with the best mean over contrasts of the mean Dice; of several, the one nearest to 0.5."""
    return max(tried, key=lambda t: (fmean(tried[t].values()), -abs(t - LESION)))


def _logit(threshold: float) -> float:
    return math.log(threshold / (1 - threshold))


def at_half(weights: Weights, threshold: float) -> Weights:
    """The network whose soft values reach 0.5 where these reach the threshold."""
    return weights | {BIAS: weights[BIAS] - _logit(threshold)}


def _figures(
    patients: Sequence[SimulatedPatient],
    scores: Sequence[Scores],
    tried: Mapping[float, Mapping[str, float]],
    threshold: float,
) -> dict[str, ContrastFigures]:
    dice = by_contrast(patients, [one.dice for one in scores])
    lesion_f1 = by_contrast(patients, [one.lesion_f1 for one in scores])
    return {
        contrast: ContrastFigures(
            images=sum(one.contrast == contrast and not one.volume.empty for one in patients),
            dice=round(dice[contrast], 4),
            lesion_f1=round(lesion_f1[contrast], 4),
            dice_as_trained=round(tried[LESION][contrast], 4),
            dice_in_float32=round(tried[threshold][contrast], 4),
        )
        for contrast in dice
    }


def check_float16(figures: Mapping[str, ContrastFigures]) -> None:
    """Raise `ResultsError` where float16 moves a contrast's mean Dice."""
    for contrast, one in figures.items():
        if abs(one.dice - one.dice_in_float32) > MOST_LOST:
            raise ResultsError(
                f"in float16 the mean Dice on {contrast} is {one.dice:.4f} instead of {one.dice_in_float32:.4f}, more "
                f"than {MOST_LOST} away: the model cannot be shipped"
            )


def command_of(settings: Settings, launched: HowLaunched | None) -> str:
    """The command that trains a run with these settings again."""
    defaults, words = default_run_config(), ["wardround", "run"]
    for key, value in settings.science.items():
        if value != defaults[key]:
            words += ["-c", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    if launched is not None and launched.cpus != HowLaunched(run_config={}).cpus:
        words += ["--cpus", str(launched.cpus)]
    return shlex.join(words)


def commit_here() -> str:
    """The commit of the checkout, and whether it was changed since; `unknown` where it is none."""
    with suppress(OSError, subprocess.CalledProcessError):
        commit, changes = (
            subprocess.run(["git", *words], cwd=app_folder(), capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
        return f"{commit} with changes" if changes else commit
    return "unknown"

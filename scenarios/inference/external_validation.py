"""How well a model does on patients that it never learnt from: image by image, with what it misses and what is false.

A network that was trained on simulated hospitals alone, and is applied to real ones as it is, says what those
simulations are worth (Billot et al., Medical Image Analysis 86:102789, 2023, judge theirs in this way). Images
are read, refused and warned of as by `wardround hospital check` (client/data/reading.py), prepared as for training
(client/data/preprocessing.py), and scored as in a run (client/evaluation/metrics.py). A patient without lesion has a
Dice of 1 where nothing is found and 0 where anything is: such cases are named, and the means are of the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from client.data.filenames import CONTRASTS, stem
from client.data.inventory import ANY_LABEL, Case, LabelChoice
from client.data.layouts import take_inventory
from client.data.lesions import LESION
from client.data.preprocessing import prepare_reading
from client.data.reading import read_case
from client.data.rules import contrast_findings
from client.evaluation.inference import image_on, truth_on
from client.evaluation.metrics import score
from scenarios.inference.ensemble import Ensemble
from scenarios.inference.lesion_counts import LesionCounts, count_lesions
from scenarios.inference.worst_slices import ErrorView, worst_slices
from shared.errors import DataError, SettingsError
from shared.metrics.scores import Scores


@dataclass(frozen=True)
class ScoredCase:
    """One image that was segmented and compared with its label."""

    hospital: str
    subject: str
    """The patient, by the name in the data set."""
    id: str
    """The image's name without contrast, such as `sub-07` or `sub-07_ses-01`."""
    contrast: str
    scores: Scores
    counts: LesionCounts
    warnings: tuple[str, ...] = ()
    empty: bool = False
    """Whether its label marks no lesion."""
    worst: ErrorView | None = None
    """The slices of most errors, where they were asked for."""

    @property
    def patient(self) -> tuple[str, str]:
        """Whose image it is; patients of two hospitals may have one name."""
        return self.hospital, self.subject


@dataclass(frozen=True)
class ExternalValidation:
    """What the hospitals' images gave."""

    scored: tuple[ScoredCase, ...]
    skipped: tuple[str, ...]
    """Why each image that is not among them is not, in words that name it."""

    @property
    def averaged(self) -> tuple[ScoredCase, ...]:
        """Those with a lesion, of which the means are."""
        return tuple(one for one in self.scored if not one.empty)

    @property
    def empty(self) -> tuple[ScoredCase, ...]:
        """Those without."""
        return tuple(one for one in self.scored if one.empty)

    @property
    def hospitals(self) -> tuple[str, ...]:
        """Of which an image was scored, in the order given."""
        return tuple(dict.fromkeys(one.hospital for one in self.scored))


@dataclass(frozen=True)
class Ask:
    """What is asked of each image."""

    allow_empty: bool = False
    """Let in labels without lesion."""
    choice: LabelChoice = ANY_LABEL
    """Which labels, and which of their values, are meant."""
    slices: bool = False
    """Keep the slices of most errors."""


DEFAULT = Ask()


def name_hospitals(words: Sequence[str]) -> dict[str, Path]:
    """The data folder of each hospital, from words such as `/data/here` and `there=/data/2`, in their order.

    A folder alone gives its own name. Raises `SettingsError` where a name is missing or stands for two hospitals.
    """
    named: dict[str, Path] = {}
    for word in words:
        name, sign, folder = word.partition("=")
        path = Path(folder)
        if not sign or Path(word).exists():
            folder, path = word, Path(word)
            whole = path.resolve()
            name = (whole.parent if whole.is_file() else whole).name
        if not folder or not name:
            raise SettingsError(f"--data {word} names no hospital and folder: give FOLDER or NAME=FOLDER")
        if name in named:
            raise SettingsError(f"--data {named[name]} and {path} are both named {name}: give NAME=FOLDER")
        named[name] = path
    return named


def validate(
    ensemble: Ensemble,
    hospitals: Mapping[str, Path],
    device: torch.device,
    after_each: Callable[[ScoredCase], None],
    ask: Ask = DEFAULT,
) -> ExternalValidation:
    """Segment every labelled image of the hospitals' data folders and score it; `after_each` hears of each.

    The networks are on `device` already. An image without label, or that cannot be used, is skipped with
    its reason. Raises `DataError` where a folder cannot be read or holds no labelled image, before any is segmented,
    and where no image is left in the end.
    """
    inventories = {name: take_inventory(folder, CONTRASTS, choice=ask.choice) for name, folder in hospitals.items()}
    skipped = {name: [remark.text for remark in found.remarks if remark.problem] for name, found in inventories.items()}
    for name, found in inventories.items():
        if not found.cases:
            raise _nothing_of(hospitals[name], skipped[name], found.naming)
    scored: list[ScoredCase] = []
    for name, found in inventories.items():
        for case in found.cases:
            try:
                one = _score_case(ensemble, name, case, device, ask)
            except DataError as error:
                skipped[name].append(str(error))
                continue
            scored.append(one)
            after_each(one)
    if not scored:
        name = next(iter(hospitals))
        raise _nothing_of(hospitals[name], [reason for own in skipped.values() for reason in own], "")
    return ExternalValidation(tuple(scored), tuple(reason for own in skipped.values() for reason in own))


def _nothing_of(folder: Path, skipped: Sequence[str], naming: str) -> DataError:
    reason = "; ".join(skipped) or naming
    return DataError(f"data folder {folder} has no labelled image that could be scored: {reason}")


def _score_case(ensemble: Ensemble, hospital: str, case: Case, device: torch.device, ask: Ask) -> ScoredCase:
    reading = read_case(case, ask.allow_empty)
    volume = prepare_reading(reading, ensemble.inference.spacing)
    image = reading.usable_image()
    prepared = ensemble.soft(image_on(device, volume))
    # Brought to the image's own grid on the CPU, as `wardround segment` does it, so that both find the same voxels.
    soft = volume.to_own_grid(prepared.cpu())
    truth = truth_on(soft.device, volume)
    there, found = ((part >= LESION).numpy() for part in (truth, soft))
    unknown = contrast_findings(case.contrast, ensemble.inference.contrasts)
    return ScoredCase(
        hospital=hospital,
        subject=case.subject,
        id=stem(case.image.name).removesuffix(f"_{case.contrast}"),
        contrast=case.contrast,
        scores=score(soft, truth, volume.own_affine),
        counts=count_lesions(there, found, volume.own_affine),
        warnings=tuple(str(finding) for finding in (*volume.warnings, *unknown)),
        empty=volume.empty is not None,
        worst=worst_slices(image.array, image.affine, there, found) if ask.slices else None,
    )

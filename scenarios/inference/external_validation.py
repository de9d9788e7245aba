"""How well a model does on patients that it never learnt from: Dice and lesion-wise F1, case by case.

A network that was trained on simulated hospitals alone, and is applied to real ones as it is, says what those
simulations are worth (Billot et al., Medical Image Analysis 86:102789, 2023, judge theirs in this way). Images
are read, refused and warned of as by `wardround hospital check` (client/data/reading.py), prepared as for training
(client/data/preprocessing.py), and scored as in a run (client/evaluation/metrics.py). A patient without lesion has a
Dice of 1 where nothing is found and 0 where anything is: such cases are named, and the means are of the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from client.data.filenames import CONTRASTS, stem
from client.data.inventory import ANY_LABEL, Case, LabelChoice
from client.data.layouts import take_inventory
from client.data.preprocessing import prepare
from client.data.rules import contrast_findings
from client.evaluation.inference import compare
from scenarios.inference.ensemble import Ensemble
from shared.errors import DataError
from shared.metrics.scores import Scores
from shared.text import counted


@dataclass(frozen=True)
class ScoredCase:
    """One image that was segmented and compared with its label."""

    id: str
    """The image's name without contrast, such as `sub-07` or `sub-07_ses-01`."""
    contrast: str
    scores: Scores
    warnings: tuple[str, ...]
    empty: bool = False
    """Whether its label marks no lesion."""


@dataclass(frozen=True)
class ExternalValidation:
    """What a folder of cases gave."""

    scored: tuple[ScoredCase, ...]
    skipped: tuple[str, ...]
    """Why each image that is not among them is not, in words that name it."""

    @property
    def averaged(self) -> tuple[ScoredCase, ...]:
        """Those with a lesion, of which the means are."""
        return tuple(one for one in self.scored if not one.empty)

    @property
    def mean_dice(self) -> float | None:
        """Over all images with a lesion; None where there is none."""
        return fmean(one.scores.dice for one in self.averaged) if self.averaged else None

    def means(self) -> dict[str, tuple[int, float, float]]:
        """Images, mean Dice and mean lesion-wise F1 of each contrast, over those with a lesion."""
        parts = {c: [one.scores for one in self.averaged if one.contrast == c] for c in CONTRASTS}
        return {
            contrast: (len(part), fmean(s.dice for s in part), fmean(s.lesion_f1 for s in part))
            for contrast, part in parts.items()
            if part
        }

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        return {
            "cases": [
                {
                    "id": one.id,
                    "contrast": one.contrast,
                    "dice": one.scores.dice,
                    "lesion_f1": one.scores.lesion_f1,
                }
                for one in self.averaged
            ],
            "without_lesion": [
                {"id": one.id, "contrast": one.contrast, "found_ml": one.scores.volume_difference_ml}
                for one in self.scored
                if one.empty
            ],
            "mean_dice": self.mean_dice,
            "skipped": list(self.skipped),
        }


def validate(
    ensemble: Ensemble,
    folder: Path,
    device: torch.device,
    after_each: Callable[[ScoredCase], None],
    allow_empty: bool = False,
    choice: LabelChoice = ANY_LABEL,
) -> ExternalValidation:
    """Segment every labelled image of a data folder and score it; `after_each` is called with each result.

    The networks are on `device` already. An image without label, or that cannot be used, is skipped with
    its reason; `allow_empty` lets in labels without lesion, and `choice` says which labels and which of their values
    are meant. Raises `DataError` where no image is left.
    """
    inventory = take_inventory(folder, CONTRASTS, choice=choice)
    skipped = [remark.text for remark in inventory.remarks if remark.problem]
    scored = []
    for case in inventory.cases:
        try:
            one = _score_case(ensemble, case, device, allow_empty)
        except DataError as error:
            skipped.append(str(error))
            continue
        scored.append(one)
        after_each(one)
    if not scored:
        reason = "; ".join(skipped) if skipped else inventory.naming
        raise DataError(f"data folder {folder} has no labelled image that could be scored: {reason}")
    return ExternalValidation(tuple(scored), tuple(skipped))


def _score_case(ensemble: Ensemble, case: Case, device: torch.device, allow_empty: bool) -> ScoredCase:
    volume = prepare(case, ensemble.inference.spacing, allow_empty)
    soft = ensemble.soft(torch.from_numpy(np.array(volume.image)).to(device).float())
    # Brought to the image's own grid on the CPU, as `wardround segment` does it, so that both find the same voxels.
    found = compare(volume, soft.cpu())
    unknown = contrast_findings(case.contrast, ensemble.inference.contrasts)
    warnings = tuple(str(finding) for finding in (*volume.warnings, *unknown))
    name = stem(case.image.name).removesuffix(f"_{case.contrast}")
    return ScoredCase(name, case.contrast, found, warnings, volume.empty is not None)


WIDTH = 24
"""Of a table's first column; a longer name moves what follows."""

HEADING = f"{'case':<{WIDTH}}  contrast   Dice  lesion F1"


def line_of(one: ScoredCase) -> str:
    """One image's line below `HEADING`."""
    if one.empty:
        found = f"{one.scores.volume_difference_ml:.2f} ml found" if one.scores.dice < 1 else "nothing found"
        return _line(one.id, one.contrast, f"no lesion labelled, {found}: not in the means")
    return _line(one.id, one.contrast, f"{one.scores.dice:.3f}      {one.scores.lesion_f1:.3f}")


def means_of(realism: ExternalValidation) -> list[str]:
    """The table's end: the means of each contrast, and the mean Dice of all."""
    rows = [
        _line(f"mean of {counted(images, 'image')}", contrast, f"{dice:.3f}      {f1:.3f}")
        for contrast, (images, dice, f1) in realism.means().items()
    ]
    mean = realism.mean_dice
    return [*rows, _line("mean of all", "", "none has a lesion" if mean is None else f"{mean:.3f}")]


def _line(first: str, contrast: str, rest: str) -> str:
    return f"{first:<{WIDTH}}  {contrast:<8}  {rest}"


def notes(scored: Sequence[ScoredCase]) -> list[str]:
    """The warnings, each with its image."""
    return [f"{one.id} {one.contrast}: {text}" for one in scored for text in one.warnings]

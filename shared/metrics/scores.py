"""Test scores: what is said of each test image, and what a center reports where its subjects' own must not leave.

Scores are rounded when they are made, and so is each mean of them: shares to a thousandth, ml and mm to a tenth.
Finer digits say nothing of a model, since a voxel more or less moves them, and much of a patient: a Dice with all its
digits gives away how many voxels are lesion, and a volume to the thousandth of a ml counts them. They are rounded in
simulation too, and cells of R come from `mean_score` alone, so that R is the same number whether a hospital reports
each image's scores, reports means, or is simulated.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

SHARE_DECIMALS, AMOUNT_DECIMALS = 3, 1

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=1e12)]
"""Its end is beyond any image, and keeps whoever adds amounts up from overflowing."""


class Scores(BaseModel):
    """How well one image was segmented, in its own grid; lesion is what is 0.5 or more (client/evaluation/metrics.py).

    Every score is defined for every image, also where nothing was to find or nothing was found:

    | truth  | prediction  | shares | volume_difference_ml | hd95_mm                                  |
    |--------|-------------|--------|----------------------|------------------------------------------|
    | empty  | empty       | 1      | 0                    | 0                                        |
    | empty  | lesion      | 0      | all of it            | the image's diagonal, the worst there is |
    | lesion | empty       | 0      | all of it            | the image's diagonal, the worst there is |
    | lesion | elsewhere   | 0      | as for any           | as for any, and less than the diagonal   |

    `soft_dice` follows the soft values instead: it is 1 only where both are 0 in every voxel, and a
    segmentation that stays below 0.5 still has a soft Dice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dice: Share
    """At 0.5: the number in R."""
    soft_dice: Share
    """Of the soft values: 2 sum(p t) / (sum p + sum t)."""
    precision: Share
    """Of the voxels that were found."""
    recall: Share
    """Of the voxels that were to find."""
    lesion_sensitivity: Share
    """Of the lesions that were to find, the share that was hit."""
    lesion_precision: Share
    """Of the lesions that were found, the share that hits one."""
    lesion_f1: Share
    """The harmonic mean of the two."""
    volume_difference_ml: Amount
    """Between the lesion volumes of prediction and truth, without sign."""
    hd95_mm: Amount
    """95th percentile of the Hausdorff distance, the greater of both directions."""

    def rounded(self) -> "Scores":
        """The scores as they are told of an image."""
        return Scores(**{name: rounded(name, getattr(self, name)) for name in Scores.model_fields})


def rounded(name: str, value: float) -> float:
    """A score, or a mean of it, as it is told; its name says what it is."""
    return round(value, AMOUNT_DECIMALS if name.endswith(("_ml", "_mm")) else SHARE_DECIMALS)


def mean_score(name: str, values: Iterable[float]) -> float:
    """The mean of a score over images, in whatever order."""
    return rounded(name, fmean(values))


class Scored(Protocol):
    """One test image's scores: a pydantic model whose float fields are the scores."""

    @property
    def subject(self) -> str:
        """Pseudonym."""

    def model_dump(self) -> dict[str, object]:
        """All fields."""


class MeanScores(BaseModel):
    """Means over a center's test images, by the name of the score."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    subjects: int = Field(ge=0)
    images: int = Field(ge=0)
    means: dict[str, float]
    """A score that too few subjects have is left out."""


def mean_scores(cases: Sequence[Scored], least: int = 2) -> MeanScores:
    """The mean of each score over the images that have it, where they are of `least` subjects or more."""
    values: dict[str, list[tuple[str, float]]] = {}
    for case in cases:
        for name, value in case.model_dump().items():
            if isinstance(value, float):
                values.setdefault(name, []).append((case.subject, value))
    return MeanScores(
        subjects=len({case.subject for case in cases}),
        images=len(cases),
        means={
            name: mean_score(name, (value for _, value in scored))
            for name, scored in values.items()
            if len({subject for subject, _ in scored}) >= least
        },
    )

"""A center's mean test scores: what it reports where its subjects' own scores must not leave."""

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

LEAST_SUBJECTS = 2
"""A mean over one subject is that subject's score."""


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


def mean_scores(cases: Sequence[Scored], least: int = LEAST_SUBJECTS) -> MeanScores:
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
            name: fmean(value for _, value in scored)
            for name, scored in values.items()
            if len({subject for subject, _ in scored}) >= least
        },
    )

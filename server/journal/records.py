"""What the journal says of a run: its settings and order, its attempts, its rows of test scores."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from shared.course import Stage
from shared.metrics.scores import mean_score
from shared.stage_archive import Moved, Transit
from shared.wire.headers import CenterCard, TestFigures, TrainFigures

FORMAT = 11
"""Version of the journal."""


class Entry(BaseModel):
    """A part of the journal."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Parent(Entry):
    """The run that this one extends."""

    folder: str
    run: str
    centers: int


class RunFacts(Entry):
    """What stays the same as long as a run lasts."""

    format: int = FORMAT
    run: str
    settings: dict[str, str | int | float | bool]
    order: tuple[str, ...] = Field(min_length=1)
    cards: dict[str, CenterCard]
    parent: Parent | None = None
    protocol: str = ""
    """The protocol that the hospitals approved, as JSON; empty in simulation."""


class Row(Entry):
    """The tests after one stage, as far as they have come."""

    tests: dict[str, TestFigures] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)
    """The reason for each center that could not test."""
    evaluating_seconds: float = 0.0
    moved: Moved = Moved()


class Attempt(Entry):
    """One run of Flower's for this run of ours: the first, or one that went on."""

    started: str
    flower_run: int
    begins: str
    """Where in the course."""
    versions: dict[str, str]
    ended: str | None = None
    """Null where it ended without a word: killed, or its machine went down."""
    reason: str | None = None
    """Why it failed; null where it finished."""


@dataclass(frozen=True)
class StageRecord:
    """All that is known of a trained stage, without its arrays."""

    stage: Stage
    figures: TrainFigures
    tests: dict[str, TestFigures]
    """What each center's test gave, in order of the visits; a center whose test failed is not there."""
    missing: dict[str, str]
    """The reason for each center whose test failed."""
    memory_exemplars: int
    """As handed on after the stage."""
    memory_bytes: int
    state_bytes: int
    """Of what goes on beside the model, where the method hands on such a state."""
    evaluating_seconds: float
    transit: Transit
    """Of the training."""
    tests_moved: Moved
    parts: Mapping[str, TrainFigures]
    """By center, where several trained at once and their models were averaged."""

    @property
    def row(self) -> dict[str, float]:
        """The stage's row of R: mean test Dice by center, as far as it is known."""
        return {center: mean_dice(figures) for center, figures in self.tests.items()}

    @property
    def asked(self) -> frozenset[str]:
        """The centers that were asked to test: those of the stage, and those of a run that this one extends."""
        return frozenset({*self.stage.tests, *self.tests, *self.missing})


def mean_dice(figures: TestFigures) -> float:
    """A cell of R: the mean test Dice at one center."""
    if figures.mean is not None:
        return figures.mean.means["dice"]
    return mean_score("dice", (case.dice for case in figures.cases))

"""Figure (a): the share of a stage's time that is spent computing; and how its time grows with each hospital."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scenarios.benchmark.fixtures import Bedside, StageTime, do_stage, made_up_memory
from scenarios.benchmark.harness import Conditions, Turns, by_turns
from shared.model.network import initial_weights
from shared.replay.contribution import PlainContribution

EXEMPLARS = 20
"""Of each center in the memory."""

CENTERS = 7
"""In the memory of the paper's last stage."""

FEW, MANY = 1, 63
"""Centers before the second stage, and before the sixty-fourth."""


@dataclass(frozen=True)
class ComputeShare:
    """Seconds in forward, backward and the optimiser's step over those of the whole stage, of each repeat."""

    stages: tuple[StageTime, ...]

    @property
    def value(self) -> float:
        """The median share."""
        return statistics.median(stage.compute_seconds / stage.seconds for stage in self.stages)

    @property
    def detail(self) -> str:
        """What it was made from."""
        last = self.stages[-1]
        return f"{last.compute_seconds:.2f} s of {last.seconds:.2f} s, message to reply, memory of {CENTERS} centers"


def measure_compute_share(conditions: Conditions) -> ComputeShare:
    """Do the eighth stage of a run with the default settings, three times after one that warms up."""
    settings = conditions.settings(centers="amu" if conditions.quick else "bwh")
    bedside = Bedside(settings.run.centers[0], settings, conditions.folder / "state")
    memory = made_up_memory(bedside.training(), settings, CENTERS, conditions.size(EXEMPLARS, 2))
    weights = initial_weights(settings.network, settings.run.seed)
    _, *stages = (do_stage(bedside, weights, memory) for _ in range(conditions.size(4, 2)))
    return ComputeShare(tuple(stages))


@dataclass(frozen=True)
class StageGrowth:
    """A stage with the memory of many centers (first) against one with that of a single center (second)."""

    turns: Turns
    centers: int
    exemplars: int
    megabytes: float
    """Of the larger memory, in units of 1e6 bytes."""

    @property
    def value(self) -> float:
        """How many times as long the stage with the large memory takes."""
        return self.turns.ratio

    @property
    def detail(self) -> str:
        """What it was made from."""
        many, few = (statistics.median(seconds) for seconds in (self.turns.first, self.turns.second))
        return (
            f"{many:.2f} s with {self.exemplars} exemplars of {self.centers} centers ({self.megabytes:.0f} MB), "
            f"{few:.2f} s with those of one"
        )


def measure_stage_growth(conditions: Conditions) -> StageGrowth:
    """Time the second stage and the sixty-fourth of a run of balanced replay, by turns."""
    settings = conditions.settings(replay_mode="balanced", centers="amu" if conditions.quick else "bwh")
    bedside = Bedside(settings.run.centers[0], settings, conditions.folder / "state")
    exemplars = conditions.size(EXEMPLARS, 2)
    memory = made_up_memory(bedside.training(), settings, conditions.size(MANY, 3), exemplars)
    weights = initial_weights(settings.network, settings.run.seed)

    def stage(contributions: Sequence[PlainContribution]) -> float:
        return do_stage(bedside, weights, contributions).seconds

    stage(memory[:FEW])
    return StageGrowth(
        turns=by_turns(lambda: stage(memory), lambda: stage(memory[:FEW]), conditions.size(3, 1)),
        centers=len(memory),
        exemplars=sum(len(one.exemplars) for one in memory),
        megabytes=sum(one.nbytes for one in memory) / 1e6,
    )

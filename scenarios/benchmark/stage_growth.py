"""How a stage's time grows with the number of hospitals before it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scenarios.benchmark.conditions import Conditions
from scenarios.benchmark.fixtures import Bedside
from scenarios.benchmark.harness import Turns, by_turns
from scenarios.benchmark.stage import do_stage, made_up_memory
from shared.model.network import initial_weights
from shared.replay.contribution import PlainContribution

FEW, MANY, EXEMPLARS = 1, 63, 20
"""Centers before the second stage, and before the sixty-fourth; exemplars of each."""


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

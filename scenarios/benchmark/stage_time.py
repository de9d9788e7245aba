"""Figure (a): the share of a stage's time that is spent computing."""

import statistics
from dataclasses import dataclass

from scenarios.benchmark.conditions import Conditions
from scenarios.benchmark.fixtures import Bedside
from scenarios.benchmark.stage import StageTime, do_stage, made_up_memory
from shared.model.network import initial_weights

CENTERS, EXEMPLARS = 7, 20
"""The memory of the paper's last stage."""


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

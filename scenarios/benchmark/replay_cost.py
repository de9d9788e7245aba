"""Figure (e): what replay costs, as whole runs over eight hospitals."""

import statistics
from dataclasses import dataclass
from itertools import count

from scenarios.benchmark.conditions import Conditions
from scenarios.benchmark.fixtures import Bedside
from scenarios.benchmark.harness import Turns, by_turns
from scenarios.benchmark.whole_run import run_whole
from scenarios.processes.resources import cores_here

METHODS = ("replay", "finetune")

STEPS = 60
"""Of a stage: a quarter of the default, so that two runs of each method take minutes."""


@dataclass(frozen=True)
class ReplayCost:
    """Whole runs with replay (first) and with fine-tuning (second)."""

    turns: Turns
    centers: int
    steps: int

    @property
    def value(self) -> float:
        """How many times as long as fine-tuning a run with replay takes."""
        return self.turns.ratio

    @property
    def detail(self) -> str:
        """What it was made from."""
        replay, finetune = (statistics.median(seconds) for seconds in (self.turns.first, self.turns.second))
        return f"{replay:.1f} s against {finetune:.1f} s, {self.centers} centers, {self.steps} steps a stage"


def measure_replay_cost(conditions: Conditions) -> ReplayCost:
    """Run both methods over the same hospitals by turns, each from the command to its end."""
    settings = {name: conditions.settings(method=name, steps=conditions.size(STEPS, 4)) for name in METHODS}
    cpus = min(2, cores_here())
    numbers = count()

    def whole(method: str) -> float:
        run = run_whole(settings[method], conditions.folder / f"{method}-{next(numbers)}", cpus)
        conditions.peak_mb(run.peak_mb)
        return run.seconds

    run = settings["replay"].run
    for center in run.centers:  # volumes are prepared in the first run of all, which would else be longer
        hospital = Bedside(center, settings["replay"], conditions.folder / "state").open()
        hospital.open(hospital.training + hospital.test)
    turns = by_turns(lambda: whole("replay"), lambda: whole("finetune"), conditions.size(2, 1))
    return ReplayCost(turns, len(run.centers), settings["replay"].training.steps)

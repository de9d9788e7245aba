"""Measuring figures one after another, and all that is known of them in the end."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from scenarios.benchmark.data_path import measure_data_path
from scenarios.benchmark.exemplar_size import measure_handoff
from scenarios.benchmark.harness import Conditions, Machine, Measured, this_machine
from scenarios.benchmark.peak_share import measure_peak_share
from scenarios.benchmark.stage_time import measure_compute_share, measure_stage_growth
from scenarios.benchmark.targets import Figure
from scenarios.benchmark.whole_run import measure_flower_overhead, measure_replay_cost
from scenarios.processes.resources import peak_here
from scenarios.run_config import Value

MEASURES: Mapping[str, Callable[[Conditions], Measured]] = {
    "compute_share": measure_compute_share,
    "peak_share": measure_peak_share,
    "data_path_ratio": measure_data_path,
    "flower_overhead_ratio": measure_flower_overhead,
    "replay_over_finetune": measure_replay_cost,
    "handoff_ratio": measure_handoff,
    "stage_growth": measure_stage_growth,
}


@dataclass(frozen=True)
class Benchmark:
    """Figures, and what they were measured on and with."""

    figures: Mapping[str, Measured]
    peak_rss_mb: Mapping[str, float]
    machine: Machine
    settings: Mapping[str, Value]
    """The run-config that the figures start from."""
    quick: bool

    def to_json(self) -> dict[str, Any]:
        """Each figure's value under its name, `peak_rss_mb`, and under `details` what each was made from.

        A figure that was not measured is absent.
        """
        return {
            **{name: measured.value for name, measured in self.figures.items()},
            "peak_rss_mb": dict(self.peak_rss_mb),
            "details": {name: _fields(measured) for name, measured in self.figures.items()},
            "machine": asdict(self.machine),
            "settings": dict(self.settings),
            "quick": self.quick,
        }


def _fields(measured: Measured) -> dict[str, Any]:
    assert is_dataclass(measured) and not isinstance(measured, type)
    return {"says": measured.detail, **asdict(measured)}


def measure(figures: Iterable[Figure], folder: Path, quick: bool) -> Iterator[tuple[Figure, Benchmark]]:
    """Measure one figure after another; each comes with all that is known so far.

    What is written on the way goes to `folder`. Raises `WardroundError` where a figure cannot be measured.
    """
    peaks: dict[str, float] = {}

    def note(seen: Mapping[str, float]) -> None:
        for process, megabytes in seen.items():
            peaks[process] = max(peaks.get(process, 0.0), megabytes)

    conditions = Conditions(folder, quick, note)
    machine, settings = this_machine(), conditions.settings().to_run_config()
    found: dict[str, Measured] = {}
    for figure in figures:
        found[figure.name] = MEASURES[figure.name](conditions)
        if (own := peak_here()) is not None:
            note({"bench": own})
        yield figure, Benchmark(dict(found), dict(peaks), machine, settings, quick)

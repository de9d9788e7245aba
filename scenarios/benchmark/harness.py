"""How figures are measured: two things by turns, the conditions that all have in common, and on what machine.

By turns, so that what else the machine does falls on both alike.
"""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import psutil
import torch

from scenarios.processes.resources import free_mb
from scenarios.run_config import Value, default_run_config
from server.results import versions
from shared.config.settings import Settings
from shared.cores import cores_here

Seconds = Callable[[], float]
"""Does something, and says how long it took."""


@dataclass(frozen=True)
class Turns:
    """The seconds that two things took, turn by turn."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median, over the turns, of the first's seconds over the second's."""
        return statistics.median(one / other for one, other in zip(self.first, self.second, strict=True))


def by_turns(first: Seconds, second: Seconds, turns: int) -> Turns:
    """Do both `turns` times: first, second, first, second, ..."""
    taken = [(first(), second()) for _ in range(turns)]
    return Turns(tuple(one for one, _ in taken), tuple(other for _, other in taken))


def timed(work: Callable[[], object], clock: Seconds = time.perf_counter) -> Seconds:
    """`work` as something that says how long it took, by the difference of two looks at the clock."""

    def take() -> float:
        begun = clock()
        work()
        return clock() - begun

    return take


QUICK: Mapping[str, Value] = {
    "centers": "milan,ucsf,amu",
    "spacing": 4.0,
    "phantom-scale": 0.02,
    "phantom-minimum": 3,
    "features": 2,
    "steps": 4,
    "batch-size": 2,
    "patch-size": 16,
    "exemplar-mm": 64.0,
}
"""What a quick benchmark changes: it shows that all is measured, and its numbers mean nothing."""

Size = TypeVar("Size")


class Measured(Protocol):
    """What each figure's dataclass tells."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def detail(self) -> str:
        """What it was made from, in one line."""


@dataclass(frozen=True)
class Conditions:
    """What all figures have in common."""

    folder: Path
    """Of what is written on the way; the caller deletes it."""
    quick: bool = False
    peak_mb: Callable[[Mapping[str, float]], None] = lambda peaks: None
    """Hears of the resident memory of each process of a run that was started."""

    def settings(self, **changes: Value) -> Settings:
        """The default run-config with a figure's changes; a quick benchmark's come before them.

        Raises `SettingsError` as any run does.
        """
        own = {key.replace("_", "-"): value for key, value in changes.items()}
        return Settings.from_run_config({**default_run_config(), **(QUICK if self.quick else {}), **own})

    def size(self, full: Size, quick: Size) -> Size:
        """The one of two sizes that counts here."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Machine:
    """What a figure depends on beside the code."""

    processor: str
    cores: int
    """That this process may use."""
    threads: int
    """Of PyTorch."""
    device: str
    """What is trained on: a GPU's name, or `cpu`."""
    system: str
    free_mb: float
    load: float
    """Processes that wanted to run in the last minute: a busy machine's ratios are less steady."""
    versions: dict[str, str]


def this_machine() -> Machine:
    """The machine and its software as they are now."""
    return Machine(
        processor=_processor(),
        cores=cores_here(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        system=platform.platform(),
        free_mb=free_mb(),
        load=psutil.getloadavg()[0],
        versions=versions(),
    )


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

"""On what the figures were measured."""

import platform
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from scenarios.processes.resources import cores_here, free_mb
from server.results import versions


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

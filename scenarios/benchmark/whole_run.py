"""A whole `wardround run` as a command of its own, and when in it the first training began."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.processes.resources import watched
from scenarios.run_config import toml_lines
from shared.config.settings import Settings
from shared.errors import LaunchError
from shared.results import read_results

FIRST = "stage 1/"
"""Begins the line that a run says when it sends the first train message."""

SHOWN = 15
"""Lines of a failed run that are shown."""


@dataclass(frozen=True)
class WholeRun:
    """What a run took and reached."""

    seconds: float
    """From the command's start to its end."""
    startup: float
    """Of them before the first train message."""
    results: Mapping[str, Any]
    peak_mb: Mapping[str, float]
    """Resident memory by process."""


def run_whole(settings: Settings, folder: Path, cpus: int, clock: Callable[[], float] = time.perf_counter) -> WholeRun:
    """Run a scenario into `folder`, which is new, with so many CPUs for all hospitals together.

    Raises `LaunchError` with its last lines where it fails.
    """
    folder.mkdir(parents=True)
    scenario = folder / "scenario.toml"
    scenario.write_text(toml_lines(settings.to_run_config()), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "scenarios.cli", "run", str(scenario), "--output", str(folder / "run")]
    command += ["--cpus", str(cpus), "--cores", str(cpus)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    begun = clock()
    first, heard = None, list[str]()
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            with watched(process.pid) as seen:
                assert process.stdout is not None
                for line in process.stdout:
                    heard.append(line.rstrip())
                    if first is None and line.startswith(FIRST):
                        first = clock()
                code = process.wait()
            seconds = clock() - begun
        finally:
            if process.poll() is None:
                process.terminate()  # the command then ends all that it started
    if code != 0 or first is None:
        raise LaunchError("\n".join(["a run of the benchmark failed:", *heard[-SHOWN:]]))
    return WholeRun(seconds, first - begun, read_results(folder / "run"), seen.peak_mb)

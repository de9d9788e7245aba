"""A study's runs on disk: where each lies, what is left to do of it, and what it took.

DIR/plan.json             what the study runs
DIR/cells/NAME.toml       a run's scenario: `wardround run` takes it alone, too
DIR/cells/NAME.json       each time that it was started, and what that took
DIR/runs/NAME/            its results folder, like that of any run
DIR/logs/NAME.log         what it said
DIR/study.json            all results together
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from scenarios.run_config import toml_lines
from scenarios.study.plan import Cell
from shared.errors import DamagedError, ResultsError
from shared.files import read_document, write_document, write_whole
from shared.paths import LAUNCH, RESULTS, has_begun, is_folder

CELLS, RUNS, LOGS = "cells", "runs", "logs"


class Attempt(BaseModel):
    """One time that a run was started, or gone on with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    started: str
    seconds: float | None = None
    """Until its command ended; null where nobody was left to see that."""
    peak_mb: float | None = None
    code: int | None = None
    machine: str = ""
    """Where it ran, in a cluster."""


class CellRecord(BaseModel):
    """What became of a run's commands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: tuple[Attempt, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Wall time of all attempts together; None where one of them is not known."""
        known = [attempt.seconds for attempt in self.attempts if attempt.seconds is not None]
        return sum(known) if self.attempts and len(known) == len(self.attempts) else None

    @property
    def peak_mb(self) -> float | None:
        """The most memory of any attempt."""
        return max((a.peak_mb for a in self.attempts if a.peak_mb is not None), default=None)


@dataclass(frozen=True)
class CellFolder:
    """The places of one run within its study."""

    study: Path
    name: str

    @property
    def run(self) -> Path:
        """Its results folder."""
        return self.study / RUNS / self.name

    @property
    def log(self) -> Path:
        """What it said, of all attempts."""
        return self.study / LOGS / f"{self.name}.log"

    @property
    def scenario(self) -> Path:
        """Its complete run-config."""
        return self.study / CELLS / f"{self.name}.toml"

    @property
    def _record(self) -> Path:
        return self.study / CELLS / f"{self.name}.json"

    @property
    def state(self) -> Literal["new", "begun", "finished"]:
        """What is there of the run."""
        if (self.run / RESULTS).is_file():
            return "finished"
        begun = is_folder(self.run) and ((self.run / LAUNCH).is_file() or has_begun(self.run))
        return "begun" if begun else "new"

    def command(self, cpus: int, cores: int, gpus: float | None) -> list[str]:
        """The command that begins the run, or goes on with it."""
        wardround = [sys.executable, "-P", "-m", "scenarios.cli"]
        if self.state == "begun":
            return [*wardround, "resume", str(self.run)]
        options = ["--output", str(self.run), "--cpus", str(cpus), "--cores", str(cores)]
        options += [] if gpus is None else ["--gpus", str(gpus)]
        return [*wardround, "run", str(self.scenario), *options]

    def prepare(self, cell: Cell) -> None:
        """Write the run's scenario, and make the folders around it. Raises `ResultsError`."""
        text = f"# One run of the study in {self.study.name}.\n{toml_lines(cell.settings.to_run_config())}"
        try:
            for name in (CELLS, RUNS, LOGS):
                (self.study / name).mkdir(exist_ok=True)
            write_whole(self.scenario, text.encode())
        except OSError as error:
            raise _unwritable(self.study, error) from None

    def read_record(self) -> CellRecord:
        """What its commands took. A record that is missing or damaged is an empty one: times alone are lost."""
        try:
            return CellRecord.model_validate(read_document(self._record))
        except (FileNotFoundError, DamagedError, ValidationError):
            return CellRecord()

    def note(self, attempts: Sequence[Attempt]) -> None:
        """Write what its commands took. Raises `ResultsError`."""
        try:
            write_document(self._record, CellRecord(attempts=tuple(attempts)).model_dump())
        except OSError as error:
            raise _unwritable(self.study, error) from None


def _unwritable(folder: Path, error: OSError) -> ResultsError:
    return ResultsError(
        f"study folder {folder} cannot be written ({error.strerror or error}): free the disk or mend its rights"
    )

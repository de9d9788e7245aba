"""A hospital's memory of a visit: checkpoints while it trains, and its reply until it is in safe hands.

A train message may come twice: its center crashed, or the coordinator did and never heard the
answer. Then a training that was interrupted goes on from its last checkpoint, and one that was
finished is answered from disk. What is kept of a visit is deleted when the model comes back to
be tested, or to be trained on in a later round, for then the coordinator has it.
"""

import io
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from client.training.trainer import STATE
from shared.config.groups import NetworkSettings
from shared.errors import DamagedError, ResultsError
from shared.files import file_checksum, read_document, write_document, write_whole
from shared.log import say
from shared.stage_archive import keep_visit, open_visit, request_digest
from shared.wire.headers import EvaluateTask, TrainTask
from shared.wire.messages import TrainReply, TrainRequest

KEPT_DAYS = 60.0
"""After so long without a word from its coordinator, a visit is forgotten."""

DOCUMENT = "checkpoint.json"


@contextmanager
def visit_state(folder: Path, request: TrainRequest, every_seconds: float) -> Iterator["VisitState"]:
    """What the hospital keeps of the visit that `request` asks for, below its state folder.

    Waits while another process is at the same visit. Raises `ResultsError` where the folder
    cannot be used.
    """
    task = request.task
    visit = _folder(folder, task)
    lock = FileLock(visit.with_suffix(".lock"))
    try:
        visit.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{task.center}: stage {task.stage + 1} is being trained here already: waiting for it to end")
        lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise ResultsError(
            f"state folder {folder} cannot be written ({reason}): free the disk or mend its rights"
        ) from None
    try:
        # Made again: whoever held the lock may have ended by deleting it.
        visit.mkdir(parents=True, exist_ok=True)
        yield VisitState(visit, request, every_seconds)
    finally:
        lock.release()


def forget_visit(folder: Path, task: EvaluateTask | TrainTask, center: str) -> None:
    """Delete what is kept of a run's visits at `center` that the coordinator has, and of forsaken runs.

    It has those up to the stage that is to be tested, and those before the one that is to be trained.
    """
    runs = folder / "visits"
    last = task.stage if isinstance(task, EvaluateTask) else task.stage - 1
    for visit in list((runs / task.run).glob("*[0-9]")):
        whose, _, stage = visit.name.rpartition("-")
        if whose == center and int(stage) <= last:
            shutil.rmtree(visit, ignore_errors=True)
            visit.with_suffix(".lock").unlink(missing_ok=True)
    with suppress(OSError):  # another center's visits may be there
        (runs / task.run).rmdir()
    for run in runs.glob("*"):
        if time.time() - run.stat().st_mtime > KEPT_DAYS * 86400:
            shutil.rmtree(run, ignore_errors=True)


def _folder(folder: Path, task: TrainTask) -> Path:
    return folder / "visits" / task.run / f"{task.center}-{task.stage:03d}"


@dataclass
class VisitState:
    """One visit's folder; the checkpoints of its training (client/training/trainer.py), and its reply."""

    folder: Path
    request: TrainRequest
    every_seconds: float
    _saved_at: float = field(default_factory=time.monotonic)
    _digest: str = ""

    def __post_init__(self) -> None:
        self._digest = request_digest(self.request)

    def finished(self) -> TrainReply | None:
        """The reply of an earlier message that asked for the same, or nothing."""
        if not (self.folder / "reply").is_dir():
            return None
        try:
            kept = open_visit(self.folder / "reply")
            if kept.visit.request == self._digest:
                return kept.reply()
            reason = "it answers another request"
        except DamagedError as error:
            reason = str(error)
        say(f"{self.request.task.center}: the reply that was kept is not used ({reason}): training again")
        shutil.rmtree(self.folder / "reply", ignore_errors=True)
        return None

    def finish(self, reply: TrainReply, network: NetworkSettings) -> None:
        """Keep the reply; its checkpoints are no longer needed."""
        try:
            keep_visit(self.folder / "reply", self.request, reply, network)
        except OSError as error:
            self._warn("reply", error)
            return
        for path in [self.folder / DOCUMENT, *self.folder.glob("step-*.pt")]:
            path.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The state of the last checkpoint, or nothing where there is none that can be used."""
        try:
            about = read_document(self.folder / DOCUMENT)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            self._start_over(error)
            return None
        try:
            path = self.folder / str(about["file"])
            if about["request"] != self._digest:
                raise DamagedError("it belongs to another request")
            if file_checksum(path) != about["sha256"]:
                raise DamagedError(f"{path} does not match its checksum")
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state.keys() != STATE:
                raise DamagedError(f"{path} is of another version")
        except (DamagedError, OSError, KeyError, TypeError, AttributeError) as error:
            self._start_over(error)
            return None
        say(f"{self.request.task.center}: going on after step {len(state['losses'])}, where a checkpoint was kept")
        return state

    def _start_over(self, error: Exception) -> None:
        say(f"{self.request.task.center}: a checkpoint is not used ({error}): training from the start")

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        return time.monotonic() - self._saved_at >= self.every_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Keep a checkpoint in place of the last. Where the disk refuses, training goes on without."""
        path = self.folder / f"step-{len(state['losses']):06d}.pt"
        buffer = io.BytesIO()
        torch.save(state, buffer)
        try:
            write_whole(path, buffer.getbuffer())
            about = {"file": path.name, "sha256": file_checksum(path), "request": self._digest}
            write_document(self.folder / DOCUMENT, about)
            for old in self.folder.glob("step-*.pt"):
                if old != path:
                    old.unlink(missing_ok=True)
        except OSError as error:
            self._warn("checkpoint", error)
        self._saved_at = time.monotonic()

    def _warn(self, what: str, error: OSError) -> None:
        reason = error.strerror or error
        say(f"{self.request.task.center}: a {what} cannot be kept in {self.folder} ({reason}): going on without")

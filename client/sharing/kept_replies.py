"""A hospital's memory of a visit: its reply, until the coordinator has it in safe hands.

A train message may come twice: its center crashed, or the coordinator did and never heard the
answer. Then a training that was interrupted goes on from its last checkpoint
(client/training/checkpoints.py), and one that was finished is answered from disk. What is kept of a
visit is deleted when the model comes back to be tested, or to be trained on in a later round, for
then the coordinator has it.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from client.governance.tasks import TaskRecord, Tasks
from client.training.checkpoints import SOURCES, CheckpointFiles
from shared.config.groups import NetworkSettings
from shared.errors import DamagedError, PolicyError, RecordError, ResultsError
from shared.log import say
from shared.stage_archive import keep_visit, open_visit
from shared.wire.headers import EvaluateTask, TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from shared.wire.request_digest import Asked

KEPT_DAYS = 60.0
"""After so long without a word from its coordinator, a visit is forgotten."""


@contextmanager
def keeping_visit(
    folder: Path,
    request: TrainRequest,
    every_seconds: float,
    tasks: Tasks | None = None,
) -> Iterator["VisitFolder"]:
    """What the hospital keeps of the visit that `request` asks for, below its state folder.

    Waits while another process is at the same visit. Without
    `tasks`, a visit is done as often as it is asked for. Raises `ResultsError` where the folder
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
        asked = Asked.of(request)
        begun = TaskRecord(task=asked.task, request=asked.request)
        if tasks is not None:
            begun = tasks.begin(task, asked)
        yield VisitFolder(visit, request, begun, every_seconds)
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
class VisitFolder:
    """One visit's folder: its reply, before that the checkpoints of its training, and all along whom it trains on."""

    folder: Path
    request: TrainRequest
    begun: TaskRecord
    """As what the request is begun, or gone on with."""
    every_seconds: float

    @property
    def checkpoints(self) -> CheckpointFiles:
        """Where its training is put down and taken up again."""
        # Those of an attempt that was voided are another's.
        attempt = f"{self.begun.request}-{self.begun.voided}" if self.begun.voided else self.begun.request
        return CheckpointFiles(self.folder, attempt, self.request.task.center, self.every_seconds)

    def finished(self) -> TrainReply | None:
        """The reply of an earlier message that asked for the same, or nothing.

        Raises `PolicyError` where the training was done, and its reply is there no more.
        """
        reply, task = self._kept(), self.request.task
        if reply is None and self.begun.done:
            raise PolicyError(
                f"this hospital does each task once, and trained in stage {task.stage + 1} of this run before; its "
                "reply is kept no more, since the coordinator had it: go on with what the coordinator has, or begin a "
                "new run"
            )
        return reply

    def _kept(self) -> TrainReply | None:
        if not (self.folder / "reply").is_dir():
            return None
        try:
            kept = open_visit(self.folder / "reply")
            if kept.visit.request == self.begun.request:
                return kept.reply()
            reason = "it answers another request"
        except DamagedError as error:
            reason = str(error)
        then = "" if self.begun.done else ": training again"
        say(f"{self.request.task.center}: the reply that was kept is not used ({reason}){then}")
        shutil.rmtree(self.folder / "reply", ignore_errors=True)
        return None

    def finish(self, reply: TrainReply, network: NetworkSettings) -> None:
        """Keep the reply; its checkpoints are no longer needed."""
        try:
            keep_visit(self.folder / "reply", self.request, reply, network)
        except OSError as error:
            reason = error.strerror or error
            say(f"{self.request.task.center}: a reply cannot be kept in {self.folder} ({reason}): going on without")
            return
        for path in self.folder.iterdir():
            if path.is_file() and path.name != SOURCES:  # a checkpoint
                path.unlink(missing_ok=True)

    def trained_on(self) -> frozenset[str]:
        """Pseudonyms of the subjects that the training was, or is, on; none where nobody knows."""
        return frozenset(self.checkpoints.subjects())

    def void(self, tasks: Tasks | None) -> None:
        """Delete the reply and the checkpoints: the training begins anew. Raises `RecordError`.

        The record of the task comes first, for a reply that is gone cannot answer a task that was done.
        """
        if tasks is not None:
            self.begun = tasks.void(self.request.task)
        try:
            if (self.folder / "reply").exists():
                shutil.rmtree(self.folder / "reply")
            self.checkpoints.forget()
        except OSError as error:
            raise RecordError(
                f"{self.folder} cannot be deleted ({error.strerror or error}), and holds a model of a subject that was "
                "withdrawn: it is not sent; let this user write the state folder"
            ) from None

"""The tasks of each run that a hospital began, so that it does each of them once.

A small file for each task in the state folder (`tasks/RUN/CENTER-STAGE-ROLE.json`), which is never deleted: a training
or a test that came again and again, each time with another model or another memory, would show its patients piece by
piece. The file is there before anything is computed, and says that the task is done before anything leaves.

A course counts its stages, and the rounds of federated averaging, by one number: so run, stage and role name a task.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from shared.errors import DamagedError, PolicyError, RecordError
from shared.files import PRIVATE_FOLDER, locked, private_folder, read_document, write_document
from shared.log import say
from shared.text import counted
from shared.wire.headers import EvaluateTask, TestFigures, TrainTask
from shared.wire.request_digest import Asked

Role = Literal["train", "evaluate"]

MODEL, IMAGE_SCORES, MEAN_SCORES = "trained model", "test scores of each image", "mean test scores"
"""Messages of the audit log that say that a task was done."""


class TaskRecord(BaseModel):
    """What is known of a task."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    task: str
    """Digest of what was asked for, but for the memory."""
    request: str
    """Digest of the whole request by which it is done, or was."""
    crops: tuple[str, ...] = ()
    """A digest of each exemplar that came for it."""
    voided: int = Field(default=0, ge=0)
    """How often a withdrawal made it begin anew."""
    done: bool = False
    scores: TestFigures | None = None
    """Of a test, by the pseudonyms that stay at the hospital."""


class Tasks:
    """The records in a state folder, for any number of processes at once."""

    def __init__(self, state: Path, audit: AuditLog) -> None:
        self._folder = state / "tasks"
        self._lock = state / "tasks.lock"
        self._audit = audit

    def find(self, task: TrainTask | EvaluateTask) -> TaskRecord | None:
        """What is known of a task, or nothing. Raises `RecordError` where its file is damaged."""
        path = self._path(task)
        try:
            return TaskRecord.model_validate(read_document(path))
        except FileNotFoundError:
            return None
        except (DamagedError, ValidationError, OSError) as error:
            raise RecordError(
                f"{path}, which says whether a task was done, cannot be read ({error}): it is not done again; restore "
                "the file from a backup, or begin a new run"
            ) from None

    def begin(self, task: TrainTask | EvaluateTask, asked: Asked) -> TaskRecord:
        """The task's record, made where there is none, and made anew where exemplars were dropped before its end.

        (What a withdrawal of this hospital's own subjects voids, client/training/stage.py sees.) Raises `PolicyError`
        where another request was made for the task, and `RecordError` where its file is damaged, cannot be written, or
        is gone though the audit log says that the task was done.
        """
        with locked(self._lock):
            known = self.find(task)
            if known is None:
                self._check_unknown(task)
                record = TaskRecord(task=asked.task, request=asked.request, crops=asked.crops)
                self._write(task, record)
                return record
            if not asked.again(known.task, known.crops):
                raise PolicyError(
                    f"this hospital does each task once, and was asked before to {_role(task)} in stage "
                    f"{task.stage + 1} of this run, by another model, memory or task: refused; begin a new run"
                )
            gone = len(known.crops) - len(asked.crops)
            if known.done or not gone:
                return known
            reason = f"{counted(gone, 'exemplar')} withdrawn or expired since it began: it begins anew"
            self._audit.append("voided", Facts(message="stage", run=task.run, stage=task.stage, reason=reason))
            say(f"{task.center}: stage {task.stage + 1} is void, {reason}")
            anew = {
                "request": asked.request,
                "crops": asked.crops,
                "voided": known.voided + 1,
            }
            record = known.model_copy(update=anew)
            self._write(task, record)
            return record

    def finish(self, task: TrainTask | EvaluateTask, scores: TestFigures | None = None) -> TaskRecord:
        """Note that a task that was begun is done; returns what is known of it.

        That of the first who finished it, should two processes have been at it. Raises `RecordError`: then nothing of
        it may leave.
        """
        with locked(self._lock):
            known = self.find(task)
            if known is None:
                raise RecordError(f"{self._path(task)} is gone while its task was done: nothing of it is sent")
            if not known.done:
                known = known.model_copy(update={"done": True, "scores": scores})
                self._write(task, known)
            return known

    def void(self, task: TrainTask) -> TaskRecord:
        """Have a task that was done begin anew, since a subject was withdrawn before its model left.

        Raises `RecordError`, also where the model has left: another one beside it would show the subject.
        """
        with locked(self._lock):
            known = self.find(task)
            if known is None or self.has_left(task):
                raise RecordError(f"{self._path(task)} is gone, or its model has left: it does not begin anew")
            record = known.model_copy(update={"done": False, "voided": known.voided + 1})
            self._write(task, record)
            return record

    def has_left(self, task: TrainTask | EvaluateTask) -> bool:
        """Whether the audit log says that the outcome of a task has left. Raises `RecordError`."""
        messages = {MODEL} if isinstance(task, TrainTask) else {IMAGE_SCORES, MEAN_SCORES}
        facts = [entry.facts for entry in self._audit.entries() if entry.kind == "sent"]
        return any(one.message in messages and (one.run, one.stage) == (task.run, task.stage) for one in facts)

    def _check_unknown(self, task: TrainTask | EvaluateTask) -> None:
        if self.has_left(task):
            raise RecordError(
                f"{self._path(task)} is gone, and the audit log says that this task was done: it is not done again; "
                "restore the file from a backup, or begin a new run"
            )

    def _write(self, task: TrainTask | EvaluateTask, record: TaskRecord) -> None:
        path = self._path(task)
        private_folder(self._folder, "state folder")
        try:
            path.parent.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            write_document(path, record.model_dump(mode="json"))
        except OSError as error:
            raise RecordError(
                f"{path} cannot be written ({error.strerror or error}), and what a hospital does not remember it does "
                "not do: free the disk, or let this user write the folder"
            ) from None

    def _path(self, task: TrainTask | EvaluateTask) -> Path:
        return self._folder / task.run / f"{task.center}-{task.stage:03d}-{_role(task)}.json"


def _role(task: TrainTask | EvaluateTask) -> Role:
    return "train" if isinstance(task, TrainTask) else "evaluate"

"""The record of tasks: one request a task, kept for good, and nothing done where it cannot be relied on."""

from pathlib import Path

import pytest

from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from client.governance.tasks import MODEL, Tasks
from shared.errors import PolicyError, RecordError
from shared.wire.headers import EvaluateTask, TestFigures, TrainTask
from shared.wire.request_digest import Asked
from tests.support.scored import case_score
from tests.support.training import OTHER_RUN, RUN

TASK = TrainTask(run=RUN, stage=1, center="milan", contribute=True)
TEST = EvaluateTask(run=RUN, stage=1, center="milan")
ASKED = Asked("request", "task", ("a", "b", "c"))
FEWER = Asked("request of fewer", "task", ("a", "c"))
SCORES = TestFigures(center="milan", cases=(case_score("s", dice=0.5),), seconds=1.0)


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    return Tasks(tmp_path, AuditLog(tmp_path / "audit"))


def voided(tmp_path: Path) -> int:
    return sum(entry.kind == "voided" for entry in AuditLog(tmp_path / "audit").entries())


def test_a_task_is_remembered_by_the_next_process(tasks: Tasks, tmp_path: Path) -> None:
    record = tasks.begin(TASK, ASKED)
    assert (record.done, record.request) == (False, "request")
    tasks.finish(TASK)
    again = Tasks(tmp_path, AuditLog(tmp_path / "audit")).begin(TASK, ASKED)
    assert again == record.model_copy(update={"done": True})


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    "other", [Asked("request", "another task", ASKED.crops), Asked("r", "task", ("a", "b", "c", "d"))]
)
def test_another_request_for_a_task_is_refused(tasks: Tasks, other: Asked, done: bool) -> None:
    tasks.begin(TASK, ASKED)
    if done:
        tasks.finish(TASK)
    with pytest.raises(PolicyError, match="does each task once, and was asked before to train in stage 2 of this run"):
        tasks.begin(TASK, other)
    assert tasks.begin(TASK, ASKED).request == "request"


@pytest.mark.parametrize(
    "other", [TEST, TASK.model_copy(update={"stage": 2}), TASK.model_copy(update={"run": OTHER_RUN})]
)
def test_another_task_has_a_record_of_its_own(tasks: Tasks, other: TrainTask | EvaluateTask) -> None:
    tasks.begin(TASK, ASKED)
    assert tasks.find(other) is None
    tasks.begin(other, Asked("x", "y"))


def test_a_withdrawal_voids_an_unfinished_task_once(tasks: Tasks, tmp_path: Path) -> None:
    tasks.begin(TASK, ASKED)
    anew = tasks.begin(TASK, FEWER)
    assert (anew.voided, anew.request) == (1, FEWER.request)
    assert tasks.begin(TASK, FEWER) == anew and voided(tmp_path) == 1
    with pytest.raises(PolicyError):
        tasks.begin(TASK, ASKED)  # what was dropped does not come back


def test_a_withdrawal_after_its_end_voids_nothing(tasks: Tasks, tmp_path: Path) -> None:
    begun = tasks.begin(TASK, ASKED)
    tasks.finish(TASK)
    assert tasks.begin(TASK, FEWER) == begun.model_copy(update={"done": True})
    assert not voided(tmp_path)


def test_a_task_that_the_audit_log_knows_is_not_done_without_its_record(tasks: Tasks, tmp_path: Path) -> None:
    AuditLog(tmp_path / "audit").append("sent", Facts(message=MODEL, run=RUN, stage=1))
    with pytest.raises(RecordError, match=r"is gone, and the audit log says that this task was done"):
        tasks.begin(TASK, ASKED)
    tasks.begin(TEST, ASKED)
    tasks.begin(TASK.model_copy(update={"stage": 2}), ASKED)


def test_the_scores_that_were_kept_first_are_the_scores(tasks: Tasks) -> None:
    tasks.begin(TEST, ASKED)
    assert tasks.finish(TEST, SCORES).scores == SCORES
    assert tasks.finish(TEST, SCORES.model_copy(update={"seconds": 9.0})).scores == SCORES


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"sha256": "0", "body": {}}'])
def test_a_damaged_record_stops_the_task(tasks: Tasks, tmp_path: Path, damage: bytes) -> None:
    tasks.begin(TASK, ASKED)
    (path,) = (tmp_path / "tasks").glob("*/*.json")
    path.write_bytes(damage)
    with pytest.raises(RecordError, match=r"milan-001-train.json.*it is not done again"):
        tasks.begin(TASK, ASKED)
    with pytest.raises(RecordError):
        tasks.finish(TASK)


def test_what_cannot_be_remembered_is_not_begun(tasks: Tasks, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / RUN).touch()  # where a folder must be
    with pytest.raises(RecordError):
        tasks.begin(TASK, ASKED)
    with pytest.raises(RecordError):
        tasks.finish(TEST, SCORES)

"""A stage that was interrupted begins anew where what it trained on has changed since."""

from pathlib import Path
from typing import Any

import pytest

from client.governance.audit_log import AuditLog
from client.governance.pseudonyms import pseudonym, pseudonym_key
from client.governance.tasks import Tasks
from client.hospital.division import kept_division
from client.sharing.kept_replies import VisitFolder
from client.training.checkpoints import CheckpointFiles
from shared.errors import RecordError
from shared.wire.messages import TrainReply, unpack_train_reply
from shared.wire.records import Refused
from tests.support.hospital_messages import ask
from tests.support.joined import NODES, SUBJECTS, Study
from tests.support.training import Killed, only, same

STEPS = 4


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


LONGER = {"steps": STEPS}


def train(study: Study, title: str = "asked") -> TrainReply:
    wire = study.wire(checkpoint_seconds=0.0)
    return unpack_train_reply(ask(wire, "train", study.training(title, **LONGER), NODES["grace"]))


def interrupted(study: Study, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The hospital's process ends once the checkpoint of a step is on disk."""
    save = CheckpointFiles.save

    def die(self: CheckpointFiles, state: dict[str, Any]) -> None:
        save(self, state)
        if len(state["losses"]) == after:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointFiles, "save", die)
        with pytest.raises(Killed):
            train(study)


def training_subjects(study: Study) -> list[str]:
    """Names of those whom grace trains on."""
    division = kept_division(
        study.root / "grace" / "state", "grace", (study.plan(**LONGER).run,), study.root / "grace" / "images"
    )
    assert division is not None
    return sorted({case.subject.removeprefix("sub-grace") for case in division.training})


@pytest.mark.parametrize("who", range(3))
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_withdrawal_between_interruption_and_return_begins_the_stage_anew(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], who: int, after: int
) -> None:
    interrupted(study, monkeypatch, after)
    name = training_subjects(study)[who]
    study.withdraw("grace", name)
    capsys.readouterr()
    reply = train(study)
    told = capsys.readouterr().out
    assert reply.figures.subjects == 2 and "begins anew" in told
    assert "going on after step" not in told and f"step 1/{STEPS}" in told
    (entry,) = study.audited("grace", "voided", "stage begun anew")
    assert entry.facts.subjects == tuple(study.known("grace", name))


def test_the_stage_is_then_what_it_would_have_been_without_the_subject(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(study, monkeypatch, 3)
    study.withdraw("grace", training_subjects(study)[1])
    assert same(train(study).weights, train(study, "another run").weights)
    assert len(study.audited("grace", "voided", "stage begun anew")) == 1


def test_a_subject_that_breaks_between_interruption_and_return_begins_the_stage_anew(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(study, monkeypatch, 2)
    name = f"sub-grace{training_subjects(study)[0]}"
    (study.root / "grace" / "images" / name / "anat" / f"{name}_FLAIR.nii.gz").write_bytes(b"")
    reply = train(study)
    assert reply.figures.subjects == 2 and len(study.audited("grace", "voided", "stage begun anew")) == 1


def test_a_return_to_the_same_subjects_goes_on(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(study, monkeypatch, 2)
    train(study)
    assert "going on after step 2" in capsys.readouterr().out
    assert not study.audited("grace", "voided", "stage begun anew")


def test_a_damaged_list_of_subjects_begins_the_stage_anew(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(study, monkeypatch, 2)
    only(study.root / "grace" / "state", "sources.json").write_bytes(b"{}")
    assert train(study).figures.subjects == 3
    assert len(study.audited("grace", "voided", "stage begun anew")) == 1


# A withdrawal once the stage was trained


def chosen(study: Study) -> str:
    """The name of a subject that grace trains on."""
    return training_subjects(study)[1]


def without(study: Study) -> TrainReply:
    """What the stage gives where the subject was withdrawn long before."""
    return train(study, "another run")


def sent(study: Study) -> list[str]:
    run = study.plan(**LONGER).run
    return [e.facts.message for e in study.audit("grace") if e.kind == "sent" and e.facts.run == run]


@pytest.mark.parametrize(("owner", "name"), [(VisitFolder, "finish"), (Tasks, "finish")])
def test_a_withdrawal_between_the_kept_reply_and_its_leaving_begins_the_stage_anew(
    study: Study, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    finish, waiting = getattr(owner, name), [study.withdraw]

    def interrupted(self: Any, *args: Any) -> Any:
        result = finish(self, *args)
        if waiting:
            waiting.pop()("grace", chosen(study))
        return result

    monkeypatch.setattr(owner, name, interrupted)
    reply = train(study)
    assert reply.figures.subjects == 2 and same(reply.weights, without(study).weights)
    (entry,) = study.audited("grace", "voided", "stage begun anew")
    key = pseudonym_key(study.root / "grace" / "state", "grace")
    assert entry.facts.subjects == (pseudonym(key, f"sub-grace{chosen(study)}"),)
    assert sent(study).count("trained model") == 1
    assert same(train(study).weights, reply.weights), "and is then answered from disk"
    assert len(study.audited("grace", "voided", "stage begun anew")) == 1


def test_it_begins_anew_too_where_nobody_could_note_whom_it_trains_on(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, waiting = Tasks.finish, [study.withdraw]

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def interrupted(self: Tasks, *args: Any) -> Any:
        if waiting:
            waiting.pop()("grace", chosen(study))
        return finish(self, *args)

    monkeypatch.setattr("client.training.checkpoints.write_document", full)
    monkeypatch.setattr(Tasks, "finish", interrupted)
    assert train(study).figures.subjects == 2


def kept_but_not_sent(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hospital's process ends when the reply is kept and noted as done, right before it leaves."""

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("client.handlers.leaving", die)
        with pytest.raises(Killed):
            train(study)


def test_a_reply_that_was_kept_and_never_left_is_void_after_a_withdrawal(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_but_not_sent(study, monkeypatch)
    study.withdraw("grace", chosen(study))
    reply = train(study)
    assert reply.figures.subjects == 2 and same(reply.weights, without(study).weights)
    assert len(study.audited("grace", "voided", "stage begun anew")) == 1


def test_a_reply_that_was_kept_and_never_left_is_answered_from_disk_otherwise(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_but_not_sent(study, monkeypatch)
    study.withdraw("grace", min({*SUBJECTS} - {*training_subjects(study)}))
    assert train(study).figures.subjects == 3 and "answered from disk" in capsys.readouterr().out
    assert not study.audited("grace", "voided", "stage begun anew")


def test_a_model_that_has_left_stays_as_it_is(study: Study) -> None:
    """Two models, one with and one without the subject, would show it."""
    first = train(study)
    study.withdraw("grace", chosen(study))
    again = train(study)
    assert same(again.weights, first.weights) and again.figures.subjects == 3
    assert not study.audited("grace", "voided", "stage begun anew")


def test_no_record_of_a_model_that_has_left_is_opened_again(study: Study) -> None:
    train(study)
    state = study.root / "grace" / "state"
    task = study.plan(**LONGER).train_task(0, "grace")
    with pytest.raises(RecordError, match="its model has left: it does not begin anew"):
        Tasks(state, AuditLog(state / "audit")).void(task)


def test_a_void_reply_that_cannot_be_deleted_is_not_sent(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_but_not_sent(study, monkeypatch)
    study.withdraw("grace", chosen(study))

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("client.sharing.kept_replies.shutil.rmtree", refuse)
        for _ in range(2):
            with pytest.raises(Refused, match="cannot be relied on"):
                train(study)
    assert not sent(study)
    assert train(study).figures.subjects == 2

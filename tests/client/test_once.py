"""A deployed hospital does each task once: again it answers from disk, and another request for the task is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict

import client.handlers
from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Entry
from client.hospital.config import Site
from client.hospital.withdraw import withdraw
from shared.clock import utc_now
from shared.errors import TrainingError
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.trust.identity import Keys
from shared.wire.headers import TestFigures
from shared.wire.messages import TrainReply, TrainRequest, pack_train_request, unpack_train_reply, unpack_train_request
from shared.wire.records import Refused, unpack_header
from tests.support.approved import Deployed
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import (
    NAMES,
    ask,
    everything_in,
    given,
    train_request,
    trained,
    weights_of,
)
from tests.support.training import RUN, same


@pytest.fixture
def hospital(deployed: Deployed) -> Deployed:
    """Grace as the second of three that are visited."""
    later = deployed.changed(centers="mercy,grace,third")
    later.others = {**deployed.others, "third": Keys.generate("third")}
    pins = "".join(f'{center} = "{keys.identity}"\n' for center, keys in later.others.items())
    later.toml.write_text(f"{later.toml.read_text()}[peers]\n{pins}")
    return later


def asked(hospital: Deployed, memory: tuple[Exemplar, ...] = (), seed: int | None = None) -> RecordDict:
    """The one train message of these tests, with another model that mercy signed where a seed draws it."""
    contributions = (PlainContribution(memory),) if memory else ()
    weights = None if seed is None else weights_of(hospital.run_config, seed)
    return hospital.training(memory=contributions, weights=weights)


def train(grid: FakeGrid, content: RecordDict) -> TrainReply:
    return unpack_train_reply(ask(grid, "train", content, 7))


def scores_of(grid: FakeGrid, content: RecordDict) -> TestFigures:
    return unpack_header(ask(grid, "evaluate", content, 7), TestFigures)


def audited(folder: Path, kind: str) -> list[Entry]:
    return [entry for entry in AuditLog(folder / "state" / "audit").entries() if entry.kind == kind]


@pytest.fixture
def crops(grid: FakeGrid) -> tuple[Exemplar, ...]:
    """Two of another hospital's, as if they were mercy's."""
    changed = {"center": "mercy", "contrast": "FLAIR"}
    given_ = given(trained(grid))[:2]
    assert len(given_) == 2
    return tuple(Exemplar(e.provenance.model_copy(update=changed), e.payload) for e in given_)


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("computed again")


def test_another_request_for_a_training_that_was_done_is_refused_and_audited(
    hospital: Deployed, tmp_path: Path
) -> None:
    """Also where the hospital before it signed two models for one stage."""
    first = train(hospital, asked(hospital))
    with pytest.raises(Refused, match="this hospital does each task once, and was asked before to train in stage 2"):
        train(hospital, asked(hospital, seed=1))
    (entry,) = audited(tmp_path, "refused")
    assert (entry.facts.run, entry.facts.stage) == (hospital.plan().run, 1)
    assert "does each task once" in entry.facts.reason
    assert same(train(hospital, asked(hospital)).weights, first.weights)


def test_a_training_is_not_done_again_when_its_reply_was_forgotten(hospital: Deployed, tmp_path: Path) -> None:
    train(hospital, asked(hospital))
    shutil.rmtree(tmp_path / "state" / "visits")
    with pytest.raises(Refused, match="trained in stage 2 of this run before; its reply is kept no more"):
        train(hospital, asked(hospital))
    with pytest.raises(Refused, match="does each task once, and was asked before"):
        train(hospital, asked(hospital, seed=1))
    assert len(audited(tmp_path, "refused")) == 2


def test_a_finished_training_is_answered_from_disk_without_crops_that_were_dropped_since(
    hospital: Deployed, crops: tuple[Exemplar, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = train(hospital, asked(hospital, crops))
    monkeypatch.setattr(client.handlers, "train_stage", never)
    assert same(train(hospital, asked(hospital, crops[:1])).weights, first.weights)
    assert not audited(tmp_path, "voided")


def interrupt(grid: FakeGrid, content: RecordDict, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise TrainingError("the power went off")

    with monkeypatch.context() as patch:
        patch.setattr(client.handlers, "train_stage", fail)
        with pytest.raises(Refused, match="power went off"):
            train(grid, content)


def test_a_dropped_crop_voids_an_unfinished_stage_and_it_begins_anew(
    hospital: Deployed, crops: tuple[Exemplar, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupt(hospital, asked(hospital, crops), monkeypatch)
    interrupt(hospital, asked(hospital, crops), monkeypatch)
    assert not audited(tmp_path, "voided")
    for _ in range(2):
        interrupt(hospital, asked(hospital, crops[1:]), monkeypatch)
        (entry,) = audited(tmp_path, "voided")
    assert (entry.facts.run, entry.facts.stage) == (hospital.plan().run, 1)
    with pytest.raises(Refused, match="does each task once"):
        train(hospital, asked(hospital, crops))
    assert train(hospital, asked(hospital, crops[1:])).figures.steps == 8


def test_a_withdrawal_voids_an_unfinished_stage_once(
    hospital: Deployed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hospital.run_config = {**hospital.run_config, "checkpoint-seconds": 0.0}
    grid = hospital
    steps = iter(range(3))
    monkeypatch.setattr(torch.Tensor, "backward", stopping(torch.Tensor.backward, steps))
    with pytest.raises(Refused):
        train(grid, asked(grid))
    monkeypatch.undo()
    for name in NAMES:  # whoever trains is among them
        withdraw(Site.read(tmp_path / "hospital.toml"), name, utc_now)
        if name == NAMES[2]:
            break
    reply = train(grid, asked(grid))
    assert reply.figures.steps == 8 and reply.figures.subjects < 3
    (entry,) = audited(tmp_path, "voided")
    assert entry.facts.subjects and not [n for n in NAMES if n.removeprefix("sub-") in str(entry)]
    assert same(train(grid, asked(grid)).weights, reply.weights)
    assert len(audited(tmp_path, "voided")) == 1


def stopping(backward: Any, steps: Any) -> Any:
    def one(*args: Any, **kwargs: Any) -> Any:
        if next(steps, None) is None:
            raise TrainingError("the power went off")
        return backward(*args, **kwargs)

    return one


def test_a_test_is_answered_from_disk_and_another_model_is_refused(
    hospital: Deployed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = hospital.test()
    first = scores_of(hospital, content)
    monkeypatch.setattr(client.handlers, "evaluate", never)
    again = scores_of(hospital, content)
    assert again.log and first.log and again.log.count > first.log.count, "it stands in the audit log once more"
    assert again.model_copy(update={"log": first.log}) == first
    with pytest.raises(Refused, match="this hospital does each task once, and was asked before to evaluate in stage 2"):
        scores_of(hospital, hospital.test(weights=weights_of(hospital.run_config, 1)))
    (entry,) = audited(tmp_path, "refused")
    assert "does each task once" in entry.facts.reason
    assert len([e for e in audited(tmp_path, "sent") if e.facts.message == "test scores of each image"]) == 2


def test_scores_that_were_kept_leave_by_the_policy_of_the_day(hospital: Deployed, tmp_path: Path) -> None:
    content = hospital.test()
    first = scores_of(hospital, content)
    file = tmp_path / "hospital.toml"
    file.write_text(file.read_text().replace("report-subject-scores = true", "least-test-subjects = 2"))
    again = scores_of(hospital, content)
    assert again.cases == () and again.mean is not None and again.mean.subjects == len(first.cases)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_hospital_that_lost_its_record_of_a_task_does_not_do_it_again(
    hospital: Deployed, tmp_path: Path, kind: str
) -> None:
    content = asked(hospital) if kind == "train" else hospital.test()
    ask(hospital, kind, content, 7)
    (path,) = (tmp_path / "state" / "tasks").glob("*/*.json")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    for _ in range(2):
        answer = ask(hospital, kind, content, 7)
        with pytest.raises(Refused, match=r"a record of the hospital .* cannot be relied on"):
            unpack_header(answer, TestFigures)
        assert str(tmp_path).encode() not in everything_in(answer)
        path.unlink(missing_ok=True)


def test_a_simulated_hospital_does_what_it_is_asked(grid: FakeGrid) -> None:
    content = train_request(grid.run_config, run=RUN)
    ask(grid, "train", content, 100)
    request = unpack_train_request(content)
    changed = TrainRequest(request.task, weights_of(grid.run_config, 1), request.memory)
    other = unpack_train_reply(ask(grid, "train", pack_train_request(changed), 100))
    assert other.figures.steps == 8

"""What a hospital refuses, with its reason, and what it answers to a message that comes again."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
import zstandard
from flwr.app import RecordDict

from client.data.bids import find_cases
from client.data.split import split
from client.governance.pseudonyms import outside_name, pseudonym, pseudonym_key
from scenarios.simulation.clientapp import app
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import PACKED, Exemplar
from shared.wire.headers import Question, RollCall, TestFigures, TrainTask
from shared.wire.messages import (
    TrainRequest,
    pack_train_request,
    unpack_train_reply,
)
from shared.wire.records import Refused, pack_question, unpack_header
from tests.support.approved import Deployed
from tests.support.datasets import write_dataset
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import (
    NAMES,
    ask,
    evaluate_request,
    everything_in,
    given,
    train_request,
    trained,
    trained_by,
    weights_of,
)

# Refusals


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_node_refuses_to_act_for_another_center(grid: FakeGrid, kind: str) -> None:
    content = (
        train_request(grid.run_config, center="ucsf") if kind == "train" else evaluate_request(grid.run_config, "ucsf")
    )
    with pytest.raises(Refused, match="center ucsf was asked for at the node of milan"):
        unpack_header(ask(grid, kind, content, 100), TestFigures)


def test_a_node_without_any_center_says_so(run_config: dict[str, Any]) -> None:
    grid = FakeGrid.simulated(app, run_config, nodes=4)
    assert unpack_header(ask(grid, "query.roll_call", pack_question(Question()), 103), RollCall).cards == ()
    with pytest.raises(Refused, match="at the node of no center"):
        unpack_header(ask(grid, "evaluate", evaluate_request(run_config, "milan"), 103), TestFigures)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"patch-size": 20}, "patch-size = 20: must be a multiple of 8"),
        ({"stepz": 5}, "unknown key 'stepz': did you mean 'steps'"),
        ({"centers": "milan,utopia"}, "utopia"),
    ],
)
def test_a_wrong_run_config_is_refused_with_its_reason(
    run_config: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    grid = FakeGrid.simulated(app, run_config | change, nodes=1)
    with pytest.raises(Refused, match=reason):
        unpack_header(ask(grid, "query.roll_call", pack_question(Question()), 100), RollCall)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_message_that_lacks_something_is_refused(grid: FakeGrid, kind: str) -> None:
    with pytest.raises(Refused, match=r"lacks its (Train|Evaluate)Task header"):
        unpack_header(ask(grid, kind, RecordDict(), 100), TestFigures)
    content = evaluate_request(grid.run_config, "milan")
    del content["model"]
    with pytest.raises(Refused, match="lacks its model"):
        unpack_header(ask(grid, "evaluate", content, 100), TestFigures)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_model_of_another_network_is_refused(grid: FakeGrid, kind: str) -> None:
    other = {**grid.run_config, "features": 2}
    content = train_request(other) if kind == "train" else evaluate_request(other, "milan")
    with pytest.raises(Refused, match="model"):
        unpack_header(ask(grid, kind, content, 100), TestFigures)


def test_a_changed_exemplar_is_refused(grid: FakeGrid) -> None:
    first, *_ = given(trained(grid))
    payload = first.payload.copy()
    payload[-1] ^= 1
    memory = (PlainContribution((Exemplar(first.provenance, payload),)),)
    content = train_request(grid.run_config, center="ucsf", memory=memory)
    with pytest.raises(Refused, match=r"sent exemplar .* which does not match its checksum: refused"):
        unpack_train_reply(ask(grid, "train", content, 101))


def test_an_exemplar_that_cannot_be_decoded_is_refused_when_it_is_drawn(grid: FakeGrid) -> None:
    """Its checksum and what it claims are right, so that decoding alone tells."""
    (sent, *_) = given(trained(grid))
    payload = np.frombuffer(PACKED + zstandard.compress(b"too short"), dtype=np.uint8)
    checksum = hashlib.sha256(payload.tobytes()).hexdigest()
    wrong = Exemplar(sent.provenance.model_copy(update={"checksum": checksum}), payload)
    request = train_request(grid.run_config, (PlainContribution((wrong,)),), stage=1, center="ucsf")
    with pytest.raises(Refused, match=f"exemplar {checksum[:12]} of center milan does not hold"):
        unpack_train_reply(ask(grid, "train", request, 101))


def test_a_refusal_does_not_tell_where_the_data_lies(deployed: Deployed, tmp_path: Path) -> None:
    question = deployed.question()
    (tmp_path / "st-elsewhere").rename(tmp_path / "moved")
    content = ask(deployed, "query.roll_call", question, 7)
    with pytest.raises(Refused, match="the hospital's data: cannot be used; its client's log says more"):
        unpack_header(content, RollCall)
    assert b"st-elsewhere" not in everything_in(content)


def test_a_test_subject_that_cannot_be_read_is_not_passed_over_in_silence(deployed: Deployed, tmp_path: Path) -> None:
    grid = deployed.changed(test_fraction=0.5)
    whole = unpack_header(ask(grid, "evaluate", grid.test(), 7), TestFigures)
    ask(grid, "query.roll_call", grid.question("another run"), 7)
    seed = int(grid.run_config["seed"])
    _, tested = split("grace", find_cases(tmp_path / "st-elsewhere", ("FLAIR",)), 0.5, seed)
    tested[0].image.write_bytes(b"")
    reply = ask(grid, "evaluate", grid.test("another run"), 7)
    key = pseudonym_key(grid.site.state, "grace")

    def by_subject(figures: TestFigures, title: str) -> dict[str, dict[str, Any]]:
        known = {case.subject: pseudonym(key, case.subject) for case in tested}
        names = {outside_name(key, grid.plan(title).run, one): subject for subject, one in known.items()}
        return {names[case.subject]: case.model_dump(exclude={"subject"}) for case in figures.cases}

    before, left = by_subject(whole, "a run"), by_subject(unpack_header(reply, TestFigures), "another run")
    assert list(before) and left == {subject: before[subject] for subject in before if subject != tested[0].subject}
    assert len(left) == len(before) - 1
    assert unpack_header(reply, TestFigures).set_aside == {"cannot be read": 1}
    gone = pseudonym(key, tested[0].subject)
    for name in (gone, *(outside_name(key, grid.plan(title).run, gone) for title in ("a run", "another run"))):
        assert name.encode() not in everything_in(reply)


# What the coordinator may not send


def asked_wrongly(grid: FakeGrid, request: TrainRequest, node: int = 100) -> str:
    with pytest.raises(Refused, match=r"the coordinator sent .*: refused") as caught:
        unpack_train_reply(ask(grid, "train", pack_train_request(request), node))
    return str(caught.value)


@pytest.fixture
def task() -> TrainTask:
    return TrainTask(run=uuid4().hex, stage=0, center="milan", contribute=True, budget=10**7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_is_not_finite_is_refused(grid: FakeGrid, task: TrainTask, value: float) -> None:
    weights = weights_of(grid.run_config)
    weights["head.bias"] = torch.tensor([value])
    assert "NaN or infinity in head.bias" in asked_wrongly(grid, TrainRequest(task, weights, ()))


def test_a_model_of_another_precision_is_refused(grid: FakeGrid, task: TrainTask) -> None:
    weights = {name: value.double() for name, value in weights_of(grid.run_config).items()}
    assert "torch.float64 instead of torch.float32" in asked_wrongly(grid, TrainRequest(task, weights, ()))


@pytest.mark.parametrize(
    ("voxels", "spacing", "contrast", "said"),
    [
        (8, 4.0, "T2w", "voxels at 4 mm instead of"),
        (16, 2.0, "T2w", "voxels at 2 mm instead of"),
        (16, 4.0, "PDw", "contrast PDw, which this run does not use"),
    ],
)
def test_exemplars_that_this_run_cannot_have_are_refused(
    grid: FakeGrid, task: TrainTask, voxels: int, spacing: float, contrast: str, said: str
) -> None:
    image = np.zeros((voxels,) * 3, dtype=np.float32)
    crop = Exemplar.encode(image, image, center="amu", subject="s", contrast=contrast, spacing=spacing)
    assert said in asked_wrongly(grid, TrainRequest(task, weights_of(grid.run_config), (PlainContribution((crop,)),)))


def test_a_memory_beyond_its_budget_is_refused(run_config: dict[str, Any], task: TrainTask) -> None:
    grid = FakeGrid.simulated(app, run_config | {"memory-megabytes": 0.001}, nodes=3)
    image = np.random.default_rng(0).random((16, 16, 16), dtype=np.float32)
    crop = Exemplar.encode(image, image, center="amu", subject="s", contrast="T2w", spacing=4.0)
    said = asked_wrongly(grid, TrainRequest(task, weights_of(run_config), (PlainContribution((crop,)),)))
    assert f"a replay memory of {crop.payload.nbytes} bytes, above memory-megabytes" in said


@pytest.mark.parametrize("run", ["../../etc", "", "0" * 31, "G" * 32, "0" * 33])
def test_a_run_s_name_cannot_lead_out_of_the_state_folder(grid: FakeGrid, task: TrainTask, run: str) -> None:
    request = TrainRequest(task.model_copy(update={"run": run}), weights_of(grid.run_config), ())
    with pytest.raises(Refused, match="TrainTask header is wrong at run"):
        unpack_train_reply(ask(grid, "train", pack_train_request(request), 100))


# A message that comes again


def test_a_training_that_was_finished_is_answered_from_disk(grid: FakeGrid, capsys: pytest.CaptureFixture[str]) -> None:
    content = train_request(grid.run_config)
    first = unpack_train_reply(ask(grid, "train", content, 100))
    assert "step 8/8" in capsys.readouterr().out
    again = unpack_train_reply(ask(grid, "train", content, 100))
    told = capsys.readouterr().out
    assert "stage 1 was trained before: answered from disk" in told and "step" not in told
    assert all(torch.equal(first.weights[name], again.weights[name]) for name in first.weights)
    assert (first.figures, [e.provenance for e in given(first)]) == (
        again.figures,
        [e.provenance for e in given(again)],
    )


def test_what_is_kept_of_a_visit_is_deleted_when_its_model_comes_to_be_tested(
    deployed: Deployed, tmp_path: Path
) -> None:
    reply = trained_by(deployed)
    kept = tmp_path / "state" / "visits" / deployed.plan().run
    assert (kept / "grace-000" / "reply" / "model.safetensors").is_file()
    unpack_header(ask(deployed, "evaluate", deployed.test(weights=reply.weights), 7), TestFigures)
    assert not kept.exists()


def test_a_node_without_a_hospital_toml_is_nobody(run_config: dict[str, Any], tmp_path: Path) -> None:
    node = {"center": "grace", "data-dir": str(write_dataset(tmp_path / "st-elsewhere", NAMES))}
    grid = FakeGrid(app, run_config | {"centers": "grace,mercy"}, {7: node})
    with pytest.raises(Refused, match="this SuperNode does not say whose it is: make a hospital"):
        unpack_header(ask(grid, "query.roll_call", pack_question(Question()), 7), RollCall)


def test_nothing_that_a_deployed_hospital_says_of_an_accident_names_a_file(
    deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = deployed.training()
    kept = tmp_path / "state" / "visits"
    kept.touch()  # where a folder must be
    with pytest.raises(Refused, match="a folder of the hospital cannot be written; its client's log says which"):
        unpack_train_reply(content := ask(deployed, "train", request, 7))
    assert str(tmp_path).encode() not in everything_in(content)
    told = capsys.readouterr()
    assert str(kept.parent) in told.out + told.err

"""The hospital's ClientApp from outside: what it answers, and what never leaves it."""

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
import zstandard
from flwr.app import Message, RecordDict
from flwr.common.serde import recorddict_to_proto

from client.data.bids import find_cases
from client.data.split import split
from scenarios.simulation.clientapp import app
from shared.config.settings import Settings
from shared.model.network import initial_weights
from shared.model.weights import Weights
from shared.replay.contribution import Contribution, PlainContribution
from shared.replay.exemplar import PACKED, Exemplar
from shared.wire.headers import EvaluateTask, RollCall, TestFigures, TrainTask
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    pack_evaluate_request,
    pack_train_request,
    unpack_train_reply,
)
from shared.wire.records import Refused, pack_question, unpack_header
from tests.conftest import ROOT
from tests.support.datasets import write_dataset
from tests.support.fakes import FakeGrid
from tests.support.scored import SCORES, SHARES

SIZES = {"milan": (2, 1), "ucsf": (2, 1), "amu": (2, 1)}
"""Subjects that train and test at the smoke scenario's centers."""

NAMES = ("sub-abernathy", "sub-bellamy", "sub-cholmondeley", "sub-devereux", "sub-eastwood")


def ask(grid: FakeGrid, kind: str, content: RecordDict, node: int) -> RecordDict:
    """One message to a node, and what it replies."""
    (key,) = grid.push_messages([Message(content, node, kind)])
    (reply,) = grid.pull_messages([key])
    assert not reply.has_error(), reply.error
    return reply.content


def weights_of(config: Mapping[str, Any], seed: int = 0) -> Weights:
    return initial_weights(Settings.from_run_config(config).network, seed)


def train_request(config: Mapping[str, Any], memory: tuple[Contribution, ...] = (), **task: Any) -> RecordDict:
    """A train message of a new run with a fresh network, asking for a contribution of up to 10 MB."""
    header = TrainTask(
        **{"run": uuid4().hex, "stage": 0, "center": "milan", "contribute": True, "budget": 10**7} | task
    )
    return pack_train_request(TrainRequest(header, weights_of(config), memory))


def evaluate_request(config: Mapping[str, Any], center: str) -> RecordDict:
    task = EvaluateTask(run=uuid4().hex, stage=0, center=center)
    return pack_evaluate_request(EvaluateRequest(task, weights_of(config)))


@pytest.fixture
def grid(run_config: dict[str, Any]) -> FakeGrid:
    """Each center at a simulated node of its own: milan 100, ucsf 101, amu 102."""
    return FakeGrid.simulated(app, run_config, nodes=3)


HOSPITAL = """
center = "grace"
state-dir = "state"
[data]
folder = "st-elsewhere"
[policy]
role = "both"
report-subject-scores = true
share-exemplars = true
centers = ["mercy"]
subjects = 20
megabytes = 10
expiry-days = 30
allow-unsealed = true
"""

ORDER = ("grace", "mercy")


@pytest.fixture
def deployed(run_config: dict[str, Any], tmp_path: Path) -> FakeGrid:
    """Node 7: a hospital with a data set of its own, which lets all leave that can."""
    write_dataset(tmp_path / "st-elsewhere", NAMES)
    (tmp_path / "hospital.toml").write_text(HOSPITAL)
    config = run_config | {"centers": "grace,mercy", "sealing": "off", "cache-dir": str(tmp_path / "cache")}
    return FakeGrid(app, config, {7: {"hospital": str(tmp_path / "hospital.toml")}})


@pytest.fixture
def plain(run_config: dict[str, Any], tmp_path: Path) -> FakeGrid:
    """Node 7: the same hospital without a hospital.toml."""
    folder = write_dataset(tmp_path / "st-elsewhere", NAMES)
    config = run_config | {"centers": "grace,mercy", "cache-dir": str(tmp_path / "cache"), "test-fraction": 0.5}
    return FakeGrid(app, config, {7: {"center": "grace", "data-dir": str(folder)}})


def trained(grid: FakeGrid, node: int = 100, **task: Any) -> TrainReply:
    return unpack_train_reply(ask(grid, "train", train_request(grid.run_config, **task), node))


def given(reply: TrainReply) -> tuple[Exemplar, ...]:
    """The exemplars of a reply that is not sealed."""
    assert reply.contribution is None or isinstance(reply.contribution, PlainContribution)
    return reply.contribution.exemplars if reply.contribution else ()


def everything_in(content: RecordDict) -> bytes:
    """The bytes that travel, and the exemplars' inflated."""
    payloads = [array.numpy().tobytes() for array in content.array_records.get("memory", {}).values()]
    return b"".join(
        [recorddict_to_proto(content).SerializeToString(), *(zstandard.decompress(payload[1:]) for payload in payloads)]
    )


def test_the_door_opens_without_torch() -> None:
    """Flower's simulation loads the ClientApp before it starts Ray, and would wait for seconds of imports."""
    code = "import scenarios.simulation.clientapp, sys; print(sorted({'torch', 'monai'} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# Roll call


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_at_the_roll_call_every_center_shows_its_card_once(run_config: dict[str, Any], nodes: int) -> None:
    grid = FakeGrid.simulated(app, run_config, nodes)
    answers = [
        unpack_header(ask(grid, "query.roll_call", pack_question(), node), RollCall) for node in grid.get_node_ids()
    ]
    cards = {card.center: card for answer in answers for card in answer.cards}
    assert all(answer.simulated for answer in answers)
    assert sum(len(answer.cards) for answer in answers) == 3
    assert {name: (card.training_subjects, card.test_subjects) for name, card in cards.items()} == SIZES
    assert {name: card.contrasts for name, card in cards.items()} == {
        "milan": ("T2w",),
        "ucsf": ("FLAIR",),
        "amu": ("FLAIR",),
    }


def test_a_deployed_node_shows_its_one_center(deployed: FakeGrid) -> None:
    answer = unpack_header(ask(deployed, "query.roll_call", pack_question(), 7), RollCall)
    assert not answer.simulated
    assert [(card.center, card.training_subjects, card.test_subjects) for card in answer.cards] == [("grace", 4, 1)]


# Training


def test_a_visit_changes_the_model_and_says_what_it_cost(grid: FakeGrid) -> None:
    reply, sent = trained(grid), weights_of(grid.run_config)
    assert {name: value.shape for name, value in reply.weights.items()} == {n: v.shape for n, v in sent.items()}
    assert not all(torch.equal(reply.weights[name], sent[name]) for name in sent)
    assert (reply.figures.steps, reply.figures.subjects, reply.figures.set_aside) == (8, 2, {})
    assert 0 < reply.figures.compute_seconds <= reply.figures.seconds
    assert 0 <= reply.figures.final_loss <= 1


def test_the_same_visit_again_gives_the_same_reply(grid: FakeGrid) -> None:
    one, again = trained(grid), trained(grid)
    assert all(torch.equal(one.weights[name], again.weights[name]) for name in one.weights)
    assert [e.provenance for e in given(one)] == [e.provenance for e in given(again)]
    other_stage = trained(grid, stage=1)
    assert not all(torch.equal(one.weights[name], other_stage.weights[name]) for name in one.weights)


def test_a_contribution_is_the_center_s_own(grid: FakeGrid) -> None:
    milan = given(trained(grid))
    memory = (PlainContribution(milan),)
    ucsf = given(trained(grid, 101, center="ucsf", memory=memory))
    assert {exemplar.provenance.center for exemplar in milan} == {"milan"}
    assert {exemplar.provenance.center for exemplar in ucsf} == {"ucsf"}
    assert 1 <= len(milan) <= 2 and 1 <= len(ucsf) <= 2
    for exemplar in (*milan, *ucsf):
        assert exemplar.provenance.shape == (16, 16, 16) and exemplar.provenance.spacing == 4.0
        image, label = exemplar.decode()
        assert image.shape == label.shape and label.any()


def test_the_memory_is_trained_on(grid: FakeGrid) -> None:
    memory = (PlainContribution(given(trained(grid))),)
    without = trained(grid, 101, center="ucsf")
    replaying = trained(grid, 101, center="ucsf", memory=memory)
    assert without.figures.steps == replaying.figures.steps
    assert not all(torch.equal(without.weights[name], replaying.weights[name]) for name in without.weights)


@pytest.mark.parametrize("task", [{"contribute": False}, {"budget": 10}])
def test_nothing_is_contributed_unasked_or_beyond_the_budget(grid: FakeGrid, task: dict[str, Any]) -> None:
    assert trained(grid, **task).contribution is None


def test_no_name_and_no_path_leaves_a_hospital(deployed: FakeGrid, tmp_path: Path) -> None:
    requests = {
        "query.roll_call": pack_question(),
        "train": train_request(deployed.run_config, center="grace", order=ORDER),
        "evaluate": evaluate_request(deployed.run_config, "grace"),
    }
    replies = {kind: everything_in(ask(deployed, kind, content, 7)) for kind, content in requests.items()}
    # The exemplars are there, or their absence of names would prove nothing.
    assert replies["train"].count(b'"contrast":"FLAIR"') == 4
    secrets = [name.removeprefix("sub-") for name in NAMES] + ["sub-", "st-elsewhere", str(tmp_path), ".nii"]
    for kind, answer in replies.items():
        assert not [secret for secret in secrets if secret.encode() in answer], kind


def test_a_broken_subject_is_told_by_pseudonym_only(deployed: FakeGrid, tmp_path: Path) -> None:
    broken = NAMES[:2]
    for name in broken:
        (tmp_path / "st-elsewhere" / name / "anat" / f"{name}_FLAIR.nii.gz").write_bytes(b"")
    content = ask(deployed, "train", train_request(deployed.run_config, center="grace"), 7)
    figures = unpack_train_reply(content).figures
    # Four subjects train; at most one of the broken ones tests.
    assert len(figures.set_aside) in (1, 2) and figures.subjects + len(figures.set_aside) == 4
    assert all(len(pseudonym) == 16 and int(pseudonym, 16) >= 0 for pseudonym in figures.set_aside)
    told = everything_in(content)
    assert not [name for name in broken if name.removeprefix("sub-").encode() in told] and b"anat" not in told


def test_pooled_training_in_simulation_is_on_all_centers(grid: FakeGrid) -> None:
    reply = trained(grid, pool=tuple(SIZES), steps_factor=3, contribute=False)
    assert (reply.figures.subjects, reply.figures.steps) == (6, 24)


def test_a_deployed_hospital_trains_on_its_own_data_whatever_is_pooled(deployed: FakeGrid) -> None:
    reply = trained(deployed, 7, center="grace", pool=("grace", "milan"), contribute=False)
    assert reply.figures.subjects == 4


# Testing


@pytest.mark.parametrize(("node", "center"), [(100, "milan"), (101, "ucsf"), (102, "amu")])
def test_every_test_subject_is_scored(grid: FakeGrid, node: int, center: str) -> None:
    content = evaluate_request(grid.run_config, center)
    figures = unpack_header(ask(grid, "evaluate", content, node), TestFigures)
    assert (figures.center, len(figures.cases)) == (center, SIZES[center][1])
    for case in figures.cases:
        scores = case.model_dump()
        assert all(0 <= scores[name] <= 1 for name in SHARES) and all(0 <= scores[name] < 1e4 for name in SCORES)
        assert len(case.subject) == 16 and case.contrast == ("T2w" if center == "milan" else "FLAIR")
    again = unpack_header(ask(grid, "evaluate", content, node), TestFigures)
    assert again.cases == figures.cases


def test_a_subject_s_pseudonym_is_the_same_in_every_stage(deployed: FakeGrid) -> None:
    content = evaluate_request(deployed.run_config, "grace")
    first, again = (unpack_header(ask(deployed, "evaluate", content, 7), TestFigures) for _ in range(2))
    contributed = {e.provenance.subject for e in given(trained(deployed, 7, center="grace", order=ORDER))}
    tested = {case.subject for case in first.cases}
    assert tested == {case.subject for case in again.cases}
    assert not tested & contributed


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
    assert unpack_header(ask(grid, "query.roll_call", pack_question(), 103), RollCall).cards == ()
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
        unpack_header(ask(grid, "query.roll_call", pack_question(), 100), RollCall)


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


def test_a_refusal_does_not_tell_where_the_data_lies(deployed: FakeGrid, tmp_path: Path) -> None:
    (tmp_path / "st-elsewhere").rename(tmp_path / "moved")
    content = ask(deployed, "query.roll_call", pack_question(), 7)
    with pytest.raises(Refused, match="the hospital's data: cannot be used; its client's log says more"):
        unpack_header(content, RollCall)
    assert b"st-elsewhere" not in everything_in(content)


def test_a_test_subject_that_cannot_be_read_is_not_passed_over_in_silence(deployed: FakeGrid, tmp_path: Path) -> None:
    grid = FakeGrid(app, {**deployed.run_config, "test-fraction": 0.5}, deployed.nodes)
    content = evaluate_request(grid.run_config, "grace")
    whole = unpack_header(ask(grid, "evaluate", content, 7), TestFigures)
    seed = int(grid.run_config["seed"])
    _, tested = split("grace", find_cases(tmp_path / "st-elsewhere", ("FLAIR",)), 0.5, seed)
    tested[0].image.write_bytes(b"")
    reply = ask(grid, "evaluate", content, 7)
    assert unpack_header(reply, TestFigures).cases == whole.cases[1:]
    assert whole.cases[0].subject.encode() in everything_in(reply)


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
    deployed: FakeGrid, tmp_path: Path
) -> None:
    run = uuid4().hex
    ask(deployed, "train", train_request(deployed.run_config, center="grace", run=run), 7)
    kept = tmp_path / "state" / "visits" / run
    assert (kept / "grace-000" / "reply" / "model.safetensors").is_file()
    task = EvaluateTask(run=run, stage=0, center="grace")
    content = pack_evaluate_request(EvaluateRequest(task, weights_of(deployed.run_config)))
    ask(deployed, "evaluate", content, 7)
    assert not kept.exists()


def test_a_hospital_may_have_a_state_folder_of_its_own(plain: FakeGrid, tmp_path: Path) -> None:
    node = {**plain.nodes[7], "state-dir": str(tmp_path / "state")}
    grid = FakeGrid(app, plain.run_config, {7: node})
    ask(grid, "train", train_request(grid.run_config, center="grace"), 7)
    assert list((tmp_path / "state" / "visits").glob("*/grace-000/reply/visit.json"))


def test_without_a_hospital_toml_a_node_trains_and_tests_and_shares_no_exemplar(plain: FakeGrid) -> None:
    (card,) = unpack_header(ask(plain, "query.roll_call", pack_question(), 7), RollCall).cards
    assert (card.role, card.allows_unsealed, card.identity) == ("both", False, "")
    assert card.policy == "trains and tests, mean scores, no exemplars"
    assert trained(plain, 7, center="grace", order=ORDER).contribution is None
    figures = unpack_header(ask(plain, "evaluate", evaluate_request(plain.run_config, "grace"), 7), TestFigures)
    assert figures.cases == () and figures.mean is not None
    assert figures.mean.subjects == 2 and 0 <= figures.mean.means["dice"] <= 1


def test_nothing_that_a_deployed_hospital_says_of_an_accident_names_a_file(
    deployed: FakeGrid, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = train_request(deployed.run_config, center="grace", order=ORDER)
    kept = tmp_path / "state" / "visits"
    kept.parent.mkdir()
    kept.touch()  # where a folder must be
    with pytest.raises(Refused, match="a folder of the hospital cannot be written; its client's log says which"):
        unpack_train_reply(content := ask(deployed, "train", request, 7))
    assert str(tmp_path).encode() not in everything_in(content)
    told = capsys.readouterr()
    assert str(kept.parent) in told.out + told.err

"""A visit on disk: it comes back bit for bit, or it is refused by the file that is damaged."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.config.groups import NetworkSettings
from shared.errors import DamagedError
from shared.files import read_document, write_document
from shared.model.weights import Weights
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.stage_archive import Transit, VisitDocument, keep_visit, open_visit
from shared.wire.headers import TOLD, LogHead, TrainFigures, TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from shared.wire.request_digest import request_digest
from tests.support.examples import examples

NETWORK = NetworkSettings(features=2, activation="sigmoid", norm="instance")
TASK = TrainTask(run="0" * 32, stage=3, center="amu", pool=("amu", "nih"), contribute=True, budget=1000)
FIGURES = TrainFigures(
    steps=8, subjects=2, final_loss=0.1 + 0.2, seconds=3.0, compute_seconds=2.0, set_aside={"cannot be read": 1}
)
WEIGHTS: Weights = {
    "half": torch.tensor([0.5, -1.5], dtype=torch.float16),
    "single": torch.tensor([[1e-45, -0.0], [float("inf"), 0.1]]),
    "double": torch.tensor([1 / 3], dtype=torch.float64),
    "count": torch.tensor(7),
    "byte": torch.arange(5, dtype=torch.uint8),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "empty": torch.zeros(0, 3),
}


def crop(center: str, seed: int = 0) -> Exemplar:
    image = np.random.default_rng(seed).random((4, 4, 4), dtype=np.float32)
    return Exemplar.encode(image, image, center=center, subject=f"s{seed}", contrast="FLAIR", spacing=2.0)


REQUEST = TrainRequest(TASK, WEIGHTS, (PlainContribution((crop("nih", 5), crop("nih", 6))),))
IMPORTANCE: Weights = {"single": torch.tensor([[1e-45, 0.0], [3.5, 1e30]]), "turned": torch.ones(3, 2).T}
REPLY = TrainReply(WEIGHTS, PlainContribution((crop("amu", 1), crop("amu", 2))), FIGURES, {"importance": IMPORTANCE})


def bits(weights: Weights) -> dict[str, Any]:
    return {
        name: (value.dtype, tuple(value.shape), value.contiguous().flatten().view(torch.uint8).tolist())
        for name, value in weights.items()
    }


def given_in(reply: TrainReply) -> Any:
    """What a reply contributes, payloads by their bytes."""
    given = reply.contribution
    return given and (given.document, {name: payload.tobytes() for name, payload in given.payloads.items()})


def same(one: TrainReply, other: TrainReply) -> bool:
    crops = [given_in(reply) for reply in (one, other)]
    states = [{part: bits(arrays) for part, arrays in reply.state.items()} for reply in (one, other)]
    same_arrays = bits(one.weights) == bits(other.weights) and states[0] == states[1]
    return same_arrays and one.figures == other.figures and crops[0] == crops[1]


# There and back


@pytest.mark.parametrize("contribution", [REPLY.contribution, None], ids=["exemplars", "none"])
def test_a_visit_comes_back_bit_for_bit(tmp_path: Path, contribution: PlainContribution | None) -> None:
    reply = replace(REPLY, contribution=contribution)
    kept = keep_visit(tmp_path / "visit", REQUEST, reply, NETWORK, Transit(seconds=0.25, sent_bytes=7))
    opened = open_visit(tmp_path / "visit")
    assert opened.visit == kept.visit
    assert same(opened.reply(), reply) and same(kept.reply(), reply)
    assert (opened.visit.stage, opened.visit.center) == (3, "amu")
    assert opened.visit.transit == Transit(seconds=0.25, sent_bytes=7)
    assert opened.visit.request == request_digest(REQUEST)
    assert opened.visit.contribution_bytes == (contribution.nbytes if contribution else 0)
    assert opened.visit.state_bytes == (4 + 6) * 4


def test_without_a_state_there_is_none_and_no_file(tmp_path: Path) -> None:
    kept = keep_visit(tmp_path / "visit", REQUEST, replace(REPLY, state={}), NETWORK)
    assert open_visit(tmp_path / "visit").state() == {}
    assert kept.visit.state_bytes == 0 and "state-importance.safetensors" not in kept.visit.files


def test_a_visit_s_folder_holds_what_its_document_names_and_no_more(tmp_path: Path) -> None:
    visit = keep_visit(tmp_path / "visit", REQUEST, REPLY, NETWORK).visit
    names = {path.name for path in (tmp_path / "visit").iterdir()}
    assert names == {*visit.files, "visit.json"} == set(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["visit"]


def test_a_visit_is_never_written_over_another(tmp_path: Path) -> None:
    keep_visit(tmp_path / "visit", REQUEST, REPLY, NETWORK)
    with pytest.raises(OSError, match="not empty"):
        keep_visit(tmp_path / "visit", REQUEST, replace(REPLY, contribution=None), NETWORK)
    assert same(open_visit(tmp_path / "visit").reply(), REPLY)
    assert [path.name for path in tmp_path.iterdir()] == ["visit"]


def test_where_nothing_can_be_written_the_error_is_the_disk_s(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        keep_visit(tmp_path / "nowhere" / "visit", REQUEST, REPLY, NETWORK)


# What is damaged

FILES = ["visit.json", "model.safetensors", "state-importance.safetensors", "exemplars.safetensors"]

DAMAGES: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: os.truncate(path, 0),
    "cut off": lambda path: os.truncate(path, path.stat().st_size - 10),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "other": lambda path: path.write_bytes(bytes(range(256))),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "visit"
    keep_visit(folder, REQUEST, REPLY, NETWORK)
    DAMAGES[damage](folder / name)
    with pytest.raises(DamagedError) as caught:
        open_visit(folder)
    assert str(folder / name) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A visit that is whole between any two damages."""
    folder = tmp_path_factory.mktemp("archive") / "visit"
    keep_visit(folder, REQUEST, REPLY, NETWORK)
    return folder


@examples(1.5)
@given(name=st.sampled_from(FILES), at=st.integers(0, 10**6), change=st.integers(1, 255))
def test_a_single_changed_byte_is_refused_or_changes_nothing(visit: Path, name: str, at: int, change: int) -> None:
    path = visit / name
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[at % len(whole)] ^= change
    path.write_bytes(changed)
    try:
        untouched = same(open_visit(visit).reply(), REPLY) and name == "visit.json"
    except DamagedError as error:
        untouched = str(path) in str(error)
    finally:
        path.write_bytes(whole)
    assert untouched


@pytest.mark.parametrize(
    "changes",
    [{"stage": -1}, {"figures": {}}, {"contribution": {}}, {"more": 1}, {"files": []}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_document_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = tmp_path / "visit"
    keep_visit(folder, REQUEST, REPLY, NETWORK)
    write_document(folder / "visit.json", read_document(folder / "visit.json") | changes)
    with pytest.raises(DamagedError, match=r"visit\.json is damaged"):
        open_visit(folder)


def test_a_folder_that_is_missing_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"visit\.json is missing"):
        open_visit(tmp_path / "visit")


def test_a_file_damaged_after_the_visit_was_opened_is_noticed_on_reading(tmp_path: Path) -> None:
    keep_visit(tmp_path / "visit", REQUEST, REPLY, NETWORK)
    opened = open_visit(tmp_path / "visit")
    reads = {
        "model.safetensors": opened.weights,
        "state-importance.safetensors": opened.state,
        "exemplars.safetensors": opened.contribution,
    }
    for name, read in reads.items():
        os.truncate(tmp_path / "visit" / name, 5)
        with pytest.raises(DamagedError, match=f"{name} cannot be read"):
            read()


def test_a_visit_is_small_and_frozen() -> None:
    assert "weights" not in VisitDocument.model_fields and VisitDocument.model_config["frozen"]


# What was asked for

OTHER_TASKS: dict[str, Any] = {
    "run": "1" * 32,
    "stage": 4,
    "center": "nih",
    "pool": ("amu",),
    "round": 1,
    "rounds": 2,
    "contribute": False,
    "budget": 1001,
    "order": ("amu", "nih"),
    "identities": ("a key",),
    "protocol": "f" * 64,
}


def test_the_same_request_has_the_same_digest() -> None:
    again = TrainRequest(
        TASK.model_copy(),
        {name: value.clone() for name, value in reversed(WEIGHTS.items())},
        (PlainContribution((crop("nih", 5), crop("nih", 6))),),
    )
    assert request_digest(again) == request_digest(REQUEST)


@pytest.mark.parametrize("field", OTHER_TASKS)
def test_another_task_is_another_request(field: str) -> None:
    task = TASK.model_copy(update={field: OTHER_TASKS[field]})
    assert request_digest(replace(REQUEST, task=task)) != request_digest(REQUEST)


def test_what_a_task_only_tells_is_no_part_of_the_request() -> None:
    assert set(TrainTask.model_fields) - set(OTHER_TASKS) == TOLD == {"dropped", "head"}
    told = TASK.model_copy(update={"dropped": ("0123456789abcdef",), "head": LogHead(count=7, hash="a" * 64)})
    assert request_digest(replace(REQUEST, task=told)) == request_digest(REQUEST)


@pytest.mark.parametrize("name", [name for name, value in WEIGHTS.items() if value.numel()])
def test_any_other_weight_is_another_request(name: str) -> None:
    seen = {request_digest(REQUEST)}
    for index in range(WEIGHTS[name].numel()):
        changed = WEIGHTS[name].clone().contiguous()
        changed.view(-1)[index] += 1
        if not torch.equal(changed, WEIGHTS[name]):
            seen.add(request_digest(replace(REQUEST, weights=REQUEST.weights | {name: changed})))
    assert len(seen) > WEIGHTS[name].isfinite().sum()


@pytest.mark.parametrize(
    "changed",
    [
        {"single": WEIGHTS["single"].double()},
        {"single": WEIGHTS["single"].reshape(4)},
        {"single": WEIGHTS["single"].abs()},
        {"more": torch.zeros(1)},
        {"empty": torch.zeros(3, 0)},
    ],
    ids=["type", "shape", "sign of zero", "more", "empty"],
)
def test_another_shape_type_or_sign_is_another_request(changed: Weights) -> None:
    assert request_digest(replace(REQUEST, weights=REQUEST.weights | changed)) != request_digest(REQUEST)


@pytest.mark.parametrize(
    "exemplars",
    [(), (crop("nih", 5),), (crop("nih", 6), crop("nih", 5)), (crop("nih", 5), crop("nih", 7))],
    ids=["none", "fewer", "turned", "other"],
)
def test_another_memory_is_another_request(exemplars: tuple[Exemplar, ...]) -> None:
    other = replace(REQUEST, memory=(PlainContribution(exemplars),) if exemplars else ())
    assert request_digest(other) != request_digest(REQUEST)


def test_another_importance_is_another_request() -> None:
    held = replace(REQUEST, state={"importance": IMPORTANCE})
    more = replace(REQUEST, state={"importance": IMPORTANCE | {"single": 2 * IMPORTANCE["single"]}})
    moved = (
        replace(REQUEST, weights=WEIGHTS | {"more": torch.zeros(1)}),
        replace(REQUEST, state={"importance": {"more": torch.zeros(1)}}),
    )
    assert len({request_digest(request) for request in (REQUEST, held, more, *moved)}) == 5

"""Malformed messages, in both directions: who receives one refuses it in few words, before anything is done with it."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from shared.errors import WardroundError
from shared.methods import METHODS
from shared.model.weights import Weights
from shared.replay.exemplar import Exemplar
from shared.wire.headers import EvaluateTask, Question, TrainTask
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    pack_evaluate_request,
    pack_train_reply,
    pack_train_request,
    unpack_train_reply,
)
from shared.wire.records import pack_question
from tests.support.strange import (
    BIAS,
    GOOD_FIGURES,
    NO_DATA,
    RUN_NAME,
    TASK,
    WEIGHTS,
    WHOLE,
    at_the_coordinator,
    at_the_hospital,
    by,
    crop,
    inspected,
    npy,
    npz,
    raw,
    reply,
    request,
    with_header,
)

ARRAYS: dict[str, Array] = {
    "no bytes": raw(b""),
    "noise": raw(bytes(range(256))),
    "cut off": raw(WHOLE[:-1]),
    "cut off in its head": raw(WHOLE[:20]),
    "a head that is no dictionary": raw(WHOLE.replace(b"{'descr'", b"['descr'")),
    "a boundless shape": raw(WHOLE.replace(b"(1,), }  ", b"(1" + b"0" * 2 + b",), }")),
    "a pickle": raw(npy(np.array([{}], dtype=object), allow_pickle=True)),
    "an archive": raw(npz(BIAS)),
    "no other serialisation": raw(WHOLE, "torch.tensor"),
    "objects": raw(WHOLE.replace(b"<f4", b"|O8")),
    "truths": Array(np.array([True])),
    "texts": Array(np.array(["a"])),
    "complex numbers": Array(BIAS.astype(np.complex64)),
    "times": Array(np.array(["2020-01-01"], dtype="datetime64[D]")),
    "records": Array(np.zeros(1, dtype=[("a", "f4")])),
    "float16": Array(BIAS.astype(np.float16)),
    "float64": Array(BIAS.astype(np.float64)),
    "whole numbers": Array(BIAS.astype(np.int32)),
    "longest numbers": Array(BIAS.astype(np.longdouble)),
    "another shape": Array(BIAS.reshape(1, 1)),
    "nothing in it": Array(BIAS[:0]),
    "a scalar": Array(BIAS.reshape(())),
    "NaN": Array(BIAS * np.nan),
    "infinity": Array(BIAS * np.inf),
}

HEADERS: dict[str, Any] = {
    "no JSON": "stage 2",
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "empty": "{}",
    "deep": "[" * 10000,
    "no text": 7,
    "bytes": b"\xff\xfe",
    "a number without end": "9" * 10000,
    "half a letter": '"\\ud800"',
}

TASKS: dict[str, dict[str, Any]] = {
    "a negative stage": {"stage": -1},
    "a stage of text": {"stage": "first"},
    "a run that leads elsewhere": {"run": "../" * 10 + "00"},
    "a run with a line break": {"run": "0" * 32 + "\n"},
    "a center of another": {"center": "amu"},
    "a center that leads elsewhere": {"center": "../../etc"},
    "a budget below nothing": {"budget": -1},
    "steps that an earlier version set": {"steps_factor": 2},
    "a round beyond the last": {"round": 2, "rounds": 2},
    "what an earlier version said": {"retention": "consolidation"},
    "more than was agreed": {"path": "/etc/passwd"},
}

FIGURES: dict[str, dict[str, Any]] = {
    "no step": {"steps": 0},
    "no subject": {"subjects": 0},
    "a loss that is no number": {"final_loss": float("nan")},
    "an infinite loss": {"final_loss": float("inf")},
    "negative time": {"seconds": -1.0},
    "endless time": {"seconds": float("inf")},
    "more than was agreed": {"path": "/etc/passwd"},
    "reasons of another kind": {"set_aside": ["sub-01"]},
    "a reason that names a subject": {"set_aside": {"sub-01": "cannot be read"}},
}

Change = Callable[[RecordDict], None]


def put(key: str, record: Any) -> Change:
    return lambda records: records.__setitem__(key, record)


def drop(key: str) -> Change:
    return lambda records: records.__delitem__(key)


RECORDS: dict[str, Change] = {
    "no header": drop("header"),
    "no model": drop("model"),
    "no manifest": drop("manifest"),
    "no memory": drop("memory"),
    "a record too many": put("extra", ConfigRecord({})),
    "a header of arrays": put("header", ArrayRecord({"json": Array(BIAS)})),
    "a model of words": put("model", ConfigRecord({"head.bias": "large"})),
    "a model of numbers": put("model", MetricRecord({"head.bias": 1.0})),
    "an empty model": put("model", ArrayRecord({})),
    "a memory of words": put("memory", ConfigRecord({})),
    "a manifest of numbers": put("manifest", MetricRecord({"json": 1.0})),
    "a manifest of nothing": put("manifest", ConfigRecord({"json": "null"})),
    "a manifest without its memory": put("memory", ArrayRecord({})),
    "a memory beyond its manifest": put("manifest", ConfigRecord({"json": "[]"})),
    "a parameter too many": lambda records: records.array_records["model"].__setitem__("extra", Array(BIAS)),
    "a parameter too few": lambda records: records.array_records["model"].__delitem__("head.bias"),
}


IMPORTANCES: dict[str, tuple[Callable[[Weights], Weights | None], str]] = {
    "none": (lambda one: None, "no importance of the parameters, which this method needs"),
    "empty": (lambda one: {}, "whose parameters differ"),
    "a parameter too few": (lambda one: {n: v for n, v in one.items() if n != "head.bias"}, "(head.bias)"),
    "a parameter too many": (lambda one: one | {"extra": torch.zeros(1)}, "(extra)"),
    "another shape": (lambda one: one | {"head.bias": torch.zeros(1, 1)}, "head.bias of shape (1, 1)"),
    "another type": (lambda one: one | {"head.bias": torch.zeros(1).double()}, "head.bias of type torch.float64"),
    "NaN": (lambda one: one | {"head.bias": torch.tensor([float("nan")])}, "NaN or infinity in head.bias"),
    "infinity": (lambda one: one | {"head.bias": torch.tensor([float("inf")])}, "NaN or infinity in head.bias"),
    "below nothing": (lambda one: one | {"head.bias": torch.tensor([-1e-30])}, "negative values in head.bias"),
}


def with_payload(payload: np.ndarray[Any, Any]) -> Exemplar:
    return Exemplar(crop().provenance, payload)


EXEMPLARS: dict[str, Exemplar] = {
    "other bytes": with_payload(np.zeros(10, dtype=np.uint8)),
    "no bytes": with_payload(np.zeros(0, dtype=np.uint8)),
    "numbers": with_payload(np.zeros(10, dtype=np.float32)),
    "bytes in rows": with_payload(crop().payload.reshape(1, -1)),
    "another size": crop(voxels=8),
    "another spacing": crop(spacing=2.0),
    "another contrast": crop(contrast="PDw"),
}


def refused(make: Callable[[], RecordDict], side: str) -> None:
    """Whoever receives it refuses it in few words, before anything is done with it."""
    reason = at_the_hospital(make()) if side == "hospital" else at_the_coordinator(make())
    assert reason and len(reason.splitlines()) == 1, reason
    assert NO_DATA not in reason, "it was let in"
    assert len(reason) < 500


BOTH = pytest.mark.parametrize("side", ["hospital", "coordinator"])


def good(side: str, *exemplars: Exemplar) -> RecordDict:
    return request(*exemplars) if side == "hospital" else reply(*exemplars)


def test_a_good_message_is_let_in() -> None:
    """Or the refusals below would prove nothing."""
    assert NO_DATA in at_the_hospital(request())
    evaluate = EvaluateRequest(EvaluateTask(run=RUN_NAME, stage=0, center="grace"), WEIGHTS)
    assert NO_DATA in at_the_hospital(pack_evaluate_request(evaluate), "evaluate")
    assert NO_DATA in at_the_hospital(pack_question(Question()), "query.roll_call")
    inspected(unpack_train_reply(reply(crop())))


@BOTH
@pytest.mark.parametrize("name", ARRAYS)
def test_a_parameter_that_is_none(side: str, name: str) -> None:
    def make() -> RecordDict:
        records = good(side)
        records.array_records["model"]["head.bias"] = ARRAYS[name]
        return records

    refused(make, side)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_model_to_test_whose_parameter_is_none(name: str) -> None:
    evaluate = EvaluateRequest(EvaluateTask(run=RUN_NAME, stage=0, center="grace"), WEIGHTS)
    records = pack_evaluate_request(evaluate)
    records.array_records["model"]["head.bias"] = ARRAYS[name]
    assert NO_DATA not in at_the_hospital(records, "evaluate")


@BOTH
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_none(side: str, name: str) -> None:
    refused(lambda: with_header(good(side), HEADERS[name]), side)


@BOTH
@pytest.mark.parametrize("name", [name for name in HEADERS if name != "a list"])
def test_a_manifest_that_is_none(side: str, name: str) -> None:
    def make() -> RecordDict:
        records = good(side)
        records["manifest"] = ConfigRecord({"json": HEADERS[name]})
        return records

    refused(make, side)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_is_none(name: str) -> None:
    header = json.dumps(TASK.model_dump() | TASKS[name])
    refused(lambda: with_header(request(), header), "hospital")


@pytest.mark.parametrize("name", FIGURES)
def test_figures_that_are_none(name: str) -> None:
    header = json.dumps(GOOD_FIGURES.model_dump() | FIGURES[name])
    refused(lambda: with_header(reply(), header), "coordinator")


@BOTH
@pytest.mark.parametrize("name", RECORDS)
def test_records_that_are_not_what_was_agreed(side: str, name: str) -> None:
    def make() -> RecordDict:
        records = good(side, crop())
        RECORDS[name](records)
        return records

    refused(make, side)


HELD = TASK.model_copy(update={"stage": 1, "contribute": False})
IMPORTANCE = {name: value.abs() for name, value in WEIGHTS.items()}


def held(importance: Weights | None, side: str) -> RecordDict:
    """A good message of a run by ewc, but for its importance."""
    state = {} if importance is None else {"importance": importance}
    if side == "hospital":
        return pack_train_request(TrainRequest(HELD, dict(WEIGHTS), (), state))
    return pack_train_reply(TrainReply(dict(WEIGHTS), None, GOOD_FIGURES, state))


def why_refused(records: RecordDict, task: TrainTask, side: str, method: str = "ewc") -> str:
    if side == "hospital":
        return at_the_hospital(records, method=method)
    with pytest.raises(WardroundError) as caught:
        inspected(unpack_train_reply(records), task, by(method))
    return str(caught.value)


@BOTH
@pytest.mark.parametrize("name", IMPORTANCES)
def test_an_importance_that_is_none(side: str, name: str) -> None:
    change, expected = IMPORTANCES[name]
    reason = why_refused(held(change(IMPORTANCE), side), HELD, side)
    assert expected in reason and "refused" in reason and len(reason.splitlines()) == 1


def test_a_good_importance_is_let_in() -> None:
    assert NO_DATA in at_the_hospital(held(IMPORTANCE, "hospital"), method="ewc")
    reply = unpack_train_reply(held(IMPORTANCE, "coordinator"))
    inspected(reply, HELD, by("ewc"))


UNUSED = "'importance' of the parameters, which is not used here"


def test_an_importance_before_the_first_center_is_refused() -> None:
    task = HELD.model_copy(update={"stage": 0})
    sent = pack_train_request(TrainRequest(task, dict(WEIGHTS), (), {"importance": IMPORTANCE}))
    assert UNUSED in why_refused(sent, task, "hospital")


@pytest.mark.parametrize("method", [name for name, spec in METHODS.items() if not spec.state])
def test_an_importance_that_a_method_has_no_use_for_is_refused(method: str) -> None:
    sent = pack_train_request(TrainRequest(HELD, dict(WEIGHTS), (), {"importance": IMPORTANCE}))
    assert UNUSED in why_refused(sent, HELD, "hospital", method)
    assert UNUSED in why_refused(held(IMPORTANCE, "coordinator"), HELD, "coordinator", method)


def test_a_part_of_a_state_that_nobody_knows_is_refused() -> None:
    state = {"importance": IMPORTANCE, "memories": IMPORTANCE}
    sent = pack_train_request(TrainRequest(HELD, dict(WEIGHTS), (), state))
    assert "'memories' of the parameters, which is not used here" in why_refused(sent, HELD, "hospital")


@BOTH
@pytest.mark.parametrize("name", EXEMPLARS)
def test_an_exemplar_that_is_none(side: str, name: str) -> None:
    refused(lambda: good(side, EXEMPLARS[name]), side)

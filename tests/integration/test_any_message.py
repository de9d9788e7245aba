"""Any message at all is refused with a reason; nothing that comes over the wire is a fault."""

import json
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from server.reply_validation import tests_problem as scores_problem
from shared.errors import WardroundError
from shared.wire.headers import RollCall, TestFigures
from shared.wire.records import unpack_header
from tests.support.examples import examples
from tests.support.scored import case_score
from tests.support.strange import (
    CARD,
    NO_DATA,
    WEIGHTS,
    WHOLE,
    at_the_coordinator,
    at_the_hospital,
    crop,
    reply,
    request,
    with_header,
)

words = st.text(max_size=8)
keys = st.one_of(st.sampled_from(["header", "model", "manifest", "memory", "refusal", "question", "json"]), words)
scalars = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=20), st.binary(max_size=20))
dtypes = st.sampled_from(["float32", "float64", "float16", "uint8", "bool", "int64", "complex64", "U3", "S2"])


def _array(dtype: str, shape: tuple[int, ...], noise: bytes) -> Array:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    content = (noise * (size + 1))[:size] if noise else bytes(size)
    return Array(np.frombuffer(content, dtype=np.uint8).view(dtype).reshape(shape))


shapes = st.lists(st.integers(1, 3), max_size=4).map(tuple)
arrays = st.one_of(
    st.builds(_array, dtypes.filter(lambda name: name not in ("U3", "S2")), shapes, st.binary(max_size=9)),
    st.builds(
        Array,
        dtype=words,
        shape=st.lists(st.integers(-3, 2**40), max_size=3).map(tuple),
        stype=st.one_of(st.just("numpy.ndarray"), words),
        data=st.one_of(st.binary(max_size=60), st.binary(max_size=30).map(lambda noise: WHOLE[:64] + noise)),
    ),
)
configs = st.dictionaries(keys, scalars, max_size=3).map(ConfigRecord)
anything = st.one_of(
    configs,
    st.dictionaries(st.one_of(st.sampled_from(sorted(WEIGHTS)), keys), arrays, max_size=3).map(ArrayRecord),
    st.dictionaries(keys, st.one_of(st.integers(-9, 9), st.floats()), max_size=2).map(MetricRecord),
)
records_of_any_kind = st.dictionaries(keys, anything, max_size=4).map(RecordDict)
any_message = examples(1.5)


@any_message
@given(records=records_of_any_kind, kind=st.sampled_from(["train", "evaluate", "query.roll_call"]))
def test_a_hospital_answers_any_message_with_a_reason(records: RecordDict, kind: str) -> None:
    assert at_the_hospital(records, kind) or "refusal" in records


@any_message
@given(records=records_of_any_kind)
def test_the_coordinator_refuses_any_reply_that_is_none(records: RecordDict) -> None:
    at_the_coordinator(records)
    for kind in (RollCall, TestFigures):
        with pytest.raises(WardroundError):
            unpack_header(records, kind)


@any_message
@given(key=st.sampled_from(["header", "model", "manifest", "memory"]), record=anything, side=st.sampled_from("hc"))
def test_one_strange_record_among_good_ones_is_refused(key: str, record: Any, side: str) -> None:
    records = request(crop()) if side == "h" else reply(crop())
    records[key] = record
    if side == "h":
        at_the_hospital(records)
    else:
        at_the_coordinator(records)


@any_message
@given(name=st.sampled_from(sorted(WEIGHTS)), array=arrays, side=st.sampled_from("hc"))
def test_one_strange_parameter_among_good_ones_is_refused(name: str, array: Array, side: str) -> None:
    records = request(crop()) if side == "h" else reply(crop())
    records.array_records["model"][name] = array
    try:
        same = np.array_equal(array.numpy().shape, WEIGHTS[name].shape) and array.numpy().dtype == np.float32
    except Exception:
        same = False
    if same and np.isfinite(array.numpy()).all():
        return  # a parameter like any other
    if side == "h":
        assert NO_DATA not in at_the_hospital(records)
    else:
        at_the_coordinator(records)


texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=8)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)


@any_message
@given(field=st.sampled_from([*TestFigures.model_fields, "more"]), value=values)
def test_test_scores_are_what_was_agreed_or_refused(field: str, value: Any) -> None:
    case = case_score().model_dump()
    figures: dict[str, Any] = {"center": "grace", "cases": [case], "seconds": 1.0, "set_aside": {}}
    good = TestFigures.model_validate(figures)
    try:
        came = unpack_header(with_header(RecordDict(), json.dumps(figures | {field: value})), TestFigures)
        said = scores_problem(came, "grace", CARD)
    except WardroundError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
    if (figures | {field: value}) != figures:
        assert said or field in ("seconds", "set_aside") or came.model_dump() == good.model_dump()

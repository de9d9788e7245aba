"""How the parts of a message lie in Flower's records.

Headers are JSON in a ConfigRecord and validated at the door; whatever is large is an array: the model one
array a parameter, the memory one array an exemplar, so that Flower sends what did not change once. What a
sealed exemplar holds is nobody's business here: it travels as the bytes that it is.
"""

import json
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import ValidationError

from shared.errors import MessageError
from shared.model.weights import State, Weights
from shared.replay.contribution import Contribution, dump_documents, load_contributions
from shared.text import printable, printable_in
from shared.trust.signed_model import SignedModel
from shared.wire.headers import Header, Question

PROTOCOL = 11
"""Version of this format."""

H = TypeVar("H", bound=Header)


def pack_question(question: Question) -> RecordDict:
    """The roll call's question."""
    return RecordDict({"question": ConfigRecord({"protocol": PROTOCOL}), **pack_header(question)})


def unpack_question(records: RecordDict) -> Question:
    """The roll call's question. Raises `MessageError` where the coordinator speaks another version of this format."""
    question = records.config_records.get("question", ConfigRecord())
    theirs = question.get("protocol")
    if theirs != PROTOCOL:
        raise MessageError(
            f"the coordinator speaks protocol {theirs!r}, this hospital {PROTOCOL}: "
            "run the same version of Wardround on both sides"
        )
    return unpack_header(records, Question)


def pack_header(header: Header) -> RecordDict:
    """A message that is only a header."""
    return RecordDict({"header": ConfigRecord({"json": header.model_dump_json()})})


def content_bytes(records: RecordDict) -> int:
    """Bytes of a message's content: its arrays as they are packed, and its words."""
    arrays = sum(len(array.data) for record in records.array_records.values() for array in record.values())
    words = sum(len(str(word)) for record in records.config_records.values() for word in record.values())
    return arrays + words


RECORDS = {"question", "header", "refusal", "model", "signature", "manifest", "memory"}
"""All that a message may hold, beside the parts of a method's state."""

STATE = "state-"
"""Begins the name of a record with a part of a method's state."""


def unpack_header(records: RecordDict, kind: type[H]) -> H:
    """The header of a message. Raises `MessageError`, or `Refused` where there is a refusal."""
    if unknown := sorted(name for name in set(records) - RECORDS if not name.startswith(STATE)):
        raise MessageError(f"a message holds {unknown[0]!r}, which this version of Wardround does not know")
    refusal = records.config_records.get("refusal")
    if refusal is not None:
        raise Refused(printable(str(refusal.get("reason", "no reason given"))))
    try:
        return kind.model_validate_json(_made_printable(str(records.config_records["header"]["json"])))
    except KeyError:
        raise MessageError(f"a message lacks its {kind.__name__} header") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = printable(" ".join(".".join(map(str, first["loc"])).split()))
        said = printable(first["msg"])
        raise MessageError(f"a {kind.__name__} header is wrong at {place or 'its start'}: {said}") from None


def _made_printable(text: str) -> str:
    """A header's JSON, without signs in its words that a terminal obeys: they are shown to people."""
    if text.isprintable() and "\\" not in text:
        return text
    try:
        return json.dumps(printable_in(json.loads(text)))
    except (ValueError, RecursionError):
        return text  # no JSON, as its validation will say


class Refused(MessageError):
    """The other side answered with a reason instead of a result."""


def pack_refusal(reason: str) -> RecordDict:
    """A client's answer when it cannot do what it was asked."""
    return RecordDict({"refusal": ConfigRecord({"reason": reason})})


def put_model(records: RecordDict, weights: Weights, state: State, packed: ArrayRecord | None = None) -> None:
    records["model"] = ArrayRecord(dict(weights)) if packed is None else packed
    for part, arrays in state.items():
        records[STATE + part] = ArrayRecord(dict(arrays))


def weights_in(records: RecordDict) -> Weights:
    model = records.array_records.get("model")
    if model is None:
        raise MessageError("a message lacks its model")
    return tensors_in(model)


def state_in(records: RecordDict) -> State:
    state = {}
    for name in records:
        if name.startswith(STATE):
            arrays = records.array_records.get(name)
            if arrays is None:
                raise MessageError(f"{name!r} in a message is not made of arrays")
            state[name.removeprefix(STATE)] = tensors_in(arrays)
    return state


def put_signed(records: RecordDict, signed: SignedModel | None) -> None:
    if signed is not None:
        records["signature"] = ConfigRecord({"json": signed.model_dump_json()})


def signed_in(records: RecordDict) -> SignedModel | None:
    """Who signed the model, where anybody did. Raises `MessageError`."""
    record = records.config_records.get("signature")
    if record is None:
        return None
    try:
        return SignedModel.model_validate_json(str(record.get("json")))
    except ValidationError as error:
        raise MessageError(f"the signature of a message's model is wrong: {error.errors()[0]['msg']}") from None


def tensors_in(record: ArrayRecord) -> Weights:
    return {name: torch.from_numpy(array_in(name, array)) for name, array in record.items()}


def array_in(name: str, array: Array) -> NDArray[Any]:
    """What an array of a message holds: numbers, or else `MessageError`."""
    try:
        values: NDArray[Any] = np.asarray(array.numpy())
    except (TypeError, ValueError, EOFError, OSError, MemoryError, BadZipFile) as error:
        # What numpy raises for bytes that are no array, or claim to be a boundless one.
        raise MessageError(f"array {name!r} of a message cannot be read ({error})") from None
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8 or not values.dtype.isnative:
        raise MessageError(f"array {name!r} of a message is of type {values.dtype}, but must hold numbers")
    return values


def put_contributions(records: RecordDict, contributions: tuple[Contribution, ...]) -> None:
    """Write the contributions' documents as a manifest, their payloads as arrays under their checksums."""
    records["manifest"] = ConfigRecord({"json": dump_documents(contributions)})
    payloads = {name: Array(payload) for c in contributions for name, payload in c.payloads.items()}
    records["memory"] = ArrayRecord(payloads)


def contributions_in(records: RecordDict) -> tuple[Contribution, ...]:
    try:
        documents = str(records.config_records["manifest"]["json"])
        arrays = records.array_records["memory"]
    except KeyError as error:
        raise MessageError(f"a message lacks {error.args[0]!r} of its replay memory") from None
    return load_contributions(documents, {name: array_in(name, array) for name, array in arrays.items()})

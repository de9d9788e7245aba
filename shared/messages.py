"""The wire format: what travels between the coordinator and the hospitals.

The one place that knows how a message lies in Flower's records. Headers are JSON in a
ConfigRecord and validated at the door; whatever is large is an array: the model one array
a parameter, the memory one array an exemplar, so that Flower sends what did not change once.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.errors import MessageError
from shared.memory import Exemplar, Provenance, ReplayMemory
from shared.network import Weights

PROTOCOL = 1
"""Version of this format."""


class Header(BaseModel):
    """The small part of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class CenterCard(Header):
    """What a center says of itself at the roll call."""

    center: str
    training_subjects: int = Field(ge=0)
    test_subjects: int = Field(ge=0)
    contrasts: tuple[str, ...]


class RollCall(Header):
    """A node's answer to the roll call: its centers, and those it can read for pooled training."""

    cards: tuple[CenterCard, ...]
    simulated: bool


class TrainTask(Header):
    """One visit: train at `center` (for pooled training, on all of `pool`)."""

    stage: int = Field(ge=0)
    center: str
    pool: tuple[str, ...] = ()
    steps_factor: int = Field(default=1, ge=1)
    """Multiplies the steps of a stage; pooled training does those of all stages at once."""
    contribute: bool
    """Whether the center is asked for exemplars."""
    budget: int = Field(default=0, ge=0)
    """Bytes that its exemplars may take."""


class TrainFigures(Header):
    """What a stage's training cost and reached."""

    steps: int
    subjects: int
    final_loss: float
    """Mean over the last tenth of the steps."""
    seconds: float
    compute_seconds: float
    """Of them in forward, backward and the optimiser's step."""
    set_aside: tuple[str, ...] = ()
    """Pseudonyms of subjects that could not be used."""


class CaseScore(Header):
    """How one test image was segmented."""

    subject: str
    contrast: str
    dice: float = Field(ge=0, le=1)
    soft_dice: float = Field(ge=0, le=1)
    precision: float = Field(ge=0, le=1)
    recall: float = Field(ge=0, le=1)


class EvaluateTask(Header):
    """Test the model at `center`."""

    stage: int = Field(ge=0)
    center: str


class TestFigures(Header):
    """The scores of a center's test subjects."""

    __test__ = False
    center: str
    cases: tuple[CaseScore, ...] = Field(min_length=1)
    seconds: float
    set_aside: tuple[str, ...] = ()
    """Pseudonyms of test subjects that could not be used."""


@dataclass(frozen=True)
class TrainRequest:
    """The coordinator asks a center to train."""

    task: TrainTask
    weights: Weights
    memory: ReplayMemory


@dataclass(frozen=True)
class TrainReply:
    """A center gives back the model and its own contribution to the memory."""

    weights: Weights
    contribution: tuple[Exemplar, ...]
    figures: TrainFigures


@dataclass(frozen=True)
class EvaluateRequest:
    """The coordinator asks a center to test a model."""

    task: EvaluateTask
    weights: Weights


H = TypeVar("H", bound=Header)
_manifest = TypeAdapter(tuple[Provenance, ...])


def pack_question() -> RecordDict:
    """A query without further words, such as the roll call."""
    return RecordDict({"question": ConfigRecord({"protocol": PROTOCOL})})


def check_question(records: RecordDict) -> None:
    """Raise `MessageError` where the coordinator speaks another version of this format."""
    question = records.config_records.get("question", ConfigRecord())
    theirs = question.get("protocol")
    if theirs != PROTOCOL:
        raise MessageError(
            f"the coordinator speaks protocol {theirs!r}, this hospital {PROTOCOL}: "
            "run the same version of Wardround on both sides"
        )


def pack_header(header: Header) -> RecordDict:
    """A message that is only a header."""
    return RecordDict({"header": ConfigRecord({"json": header.model_dump_json()})})


def unpack_header(records: RecordDict, kind: type[H]) -> H:
    """The header of a message. Raises `MessageError`, or `Refused` where there is a refusal."""
    refusal = records.config_records.get("refusal")
    if refusal is not None:
        raise Refused(str(refusal.get("reason", "no reason given")))
    try:
        return kind.model_validate_json(str(records.config_records["header"]["json"]))
    except KeyError:
        raise MessageError(f"a message lacks its {kind.__name__} header") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise MessageError(f"a {kind.__name__} header is wrong at {place or 'its start'}: {first['msg']}") from None


class Refused(MessageError):
    """The other side answered with a reason instead of a result."""


def pack_refusal(reason: str) -> RecordDict:
    """A client's answer when it cannot do what it was asked."""
    return RecordDict({"refusal": ConfigRecord({"reason": reason})})


def pack_train_request(request: TrainRequest) -> RecordDict:
    """Header, model and memory."""
    records = pack_header(request.task)
    records["model"] = ArrayRecord(dict(request.weights))
    _put_exemplars(records, request.memory.exemplars)
    return records


def unpack_train_request(records: RecordDict) -> TrainRequest:
    """The reverse of `pack_train_request`. Raises `MessageError`."""
    task = unpack_header(records, TrainTask)
    return TrainRequest(task, _weights(records), ReplayMemory(_exemplars(records)))


def pack_train_reply(reply: TrainReply) -> RecordDict:
    """Header, model and contribution."""
    records = pack_header(reply.figures)
    records["model"] = ArrayRecord(dict(reply.weights))
    _put_exemplars(records, reply.contribution)
    return records


def unpack_train_reply(records: RecordDict) -> TrainReply:
    """The reverse of `pack_train_reply`. Raises `MessageError`."""
    figures = unpack_header(records, TrainFigures)
    return TrainReply(_weights(records), _exemplars(records), figures)


def pack_evaluate_request(request: EvaluateRequest) -> RecordDict:
    """Header and model."""
    records = pack_header(request.task)
    records["model"] = ArrayRecord(dict(request.weights))
    return records


def unpack_evaluate_request(records: RecordDict) -> EvaluateRequest:
    """The reverse of `pack_evaluate_request`. Raises `MessageError`."""
    return EvaluateRequest(unpack_header(records, EvaluateTask), _weights(records))


def _weights(records: RecordDict) -> Weights:
    model = records.array_records.get("model")
    if model is None:
        raise MessageError("a message lacks its model")
    return {name: torch.from_numpy(np.array(array.numpy())) for name, array in model.items()}


def _put_exemplars(records: RecordDict, exemplars: tuple[Exemplar, ...]) -> None:
    """Write the exemplars' provenance as a manifest, their payloads as arrays under its checksums."""
    manifest = _manifest.dump_json(tuple(e.provenance for e in exemplars)).decode()
    records["manifest"] = ConfigRecord({"json": manifest})
    records["memory"] = ArrayRecord({e.provenance.checksum: Array(e.payload) for e in exemplars})


def _exemplars(records: RecordDict) -> tuple[Exemplar, ...]:
    try:
        manifest = _manifest.validate_json(str(records.config_records["manifest"]["json"]))
        payloads = records.array_records["memory"]
        return tuple(Exemplar(p, payloads[p.checksum].numpy()) for p in manifest)
    except KeyError as error:
        raise MessageError(f"a message lacks {error.args[0]!r} of its replay memory") from None
    except ValidationError as error:
        raise MessageError(f"a replay memory's manifest is wrong: {error.errors()[0]['msg']}") from None

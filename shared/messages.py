"""The wire format: what travels between the coordinator and the hospitals.

The one place that knows how a message lies in Flower's records. Headers are JSON in a
ConfigRecord and validated at the door; whatever is large is an array: the model one array
a parameter, the memory one array an exemplar, so that Flower sends what did not change once.
"""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.errors import MessageError
from shared.memory import Exemplar, Provenance, ReplayMemory
from shared.network import Weights

PROTOCOL = 2
"""Version of this format."""


class Header(BaseModel):
    """The small part of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


RunName = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""Names a run, also when it was interrupted and resumed as another run of Flower's."""


class CenterCard(Header):
    """What a center says of itself at the roll call."""

    center: str
    training_subjects: int = Field(ge=0)
    test_subjects: int = Field(ge=0)
    contrasts: tuple[str, ...]
    fingerprint: str
    """Changes when a subject comes, goes, or moves between training and test."""


class RollCall(Header):
    """A node's answer to the roll call: its centers, and those it can read for pooled training."""

    cards: tuple[CenterCard, ...]
    simulated: bool


class TrainTask(Header):
    """One visit: train at `center` (for pooled training, on all of `pool`)."""

    run: RunName
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

    steps: int = Field(ge=1)
    subjects: int = Field(ge=1)
    final_loss: float = Field(allow_inf_nan=False)
    """Mean over the last tenth of the steps."""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    compute_seconds: float = Field(ge=0, allow_inf_nan=False)
    """Of them in forward, backward and the optimiser's step."""
    set_aside: dict[str, str] = Field(default_factory=dict)
    """Pseudonyms of subjects that could not be used, each with the reason."""


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

    run: RunName
    stage: int = Field(ge=0)
    center: str


class TestFigures(Header):
    """The scores of a center's test subjects."""

    __test__ = False
    center: str
    cases: tuple[CaseScore, ...] = Field(min_length=1)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    set_aside: dict[str, str] = Field(default_factory=dict)
    """Pseudonyms of test subjects that could not be used, each with the reason."""


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


RECORDS = {"question", "header", "refusal", "model", "manifest", "memory"}
"""All that a message may hold."""


def unpack_header(records: RecordDict, kind: type[H]) -> H:
    """The header of a message. Raises `MessageError`, or `Refused` where there is a refusal."""
    if unknown := sorted(set(records) - RECORDS):
        raise MessageError(f"a message holds {unknown[0]!r}, which this version of Wardround does not know")
    refusal = records.config_records.get("refusal")
    if refusal is not None:
        raise Refused(str(refusal.get("reason", "no reason given")))
    try:
        return kind.model_validate_json(str(records.config_records["header"]["json"]))
    except KeyError:
        raise MessageError(f"a message lacks its {kind.__name__} header") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(".".join(map(str, first["loc"])).split())
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
    return {name: torch.from_numpy(_array(name, array)) for name, array in model.items()}


def _array(name: str, array: Array) -> NDArray[Any]:
    """What an array of a message holds: numbers, or else `MessageError`."""
    try:
        values: NDArray[Any] = np.array(array.numpy())
    except (TypeError, ValueError, EOFError, OSError, MemoryError, BadZipFile) as error:
        # What numpy raises for bytes that are no array, or claim to be a boundless one.
        raise MessageError(f"array {name!r} of a message cannot be read ({error})") from None
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8 or not values.dtype.isnative:
        raise MessageError(f"array {name!r} of a message is of type {values.dtype}, but must hold numbers")
    return values


def _put_exemplars(records: RecordDict, exemplars: tuple[Exemplar, ...]) -> None:
    """Write the exemplars' provenance as a manifest, their payloads as arrays under its checksums."""
    manifest = _manifest.dump_json(tuple(e.provenance for e in exemplars)).decode()
    records["manifest"] = ConfigRecord({"json": manifest})
    records["memory"] = ArrayRecord({e.provenance.checksum: Array(e.payload) for e in exemplars})


def _exemplars(records: RecordDict) -> tuple[Exemplar, ...]:
    try:
        manifest = _manifest.validate_json(str(records.config_records["manifest"]["json"]))
        payloads = records.array_records["memory"]
        if surplus := sorted(set(payloads) - {p.checksum for p in manifest}):
            raise MessageError(f"a replay memory holds {surplus[0][:12]!r}, which its manifest does not name")
        return tuple(Exemplar(p, _array(p.checksum, payloads[p.checksum])) for p in manifest)
    except KeyError as error:
        raise MessageError(f"a message lacks {error.args[0]!r} of its replay memory") from None
    except ValidationError as error:
        raise MessageError(f"a replay memory's manifest is wrong: {error.errors()[0]['msg']}") from None

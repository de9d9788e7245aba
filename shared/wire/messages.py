"""The wire format: what travels between the coordinator and the hospitals.

The one place that knows how a message lies in Flower's records. Headers are JSON in a
ConfigRecord and validated at the door; whatever is large is an array: the model one array
a parameter, the memory one array an exemplar, so that Flower sends what did not change once.
What a sealed exemplar holds is nobody's business here: it travels as the bytes that it is.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar
from zipfile import BadZipFile

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import MessageError
from shared.metrics.scores import MeanScores, Scores
from shared.model.network import Weights
from shared.replay.contribution import Contribution, dump_documents, load_contributions
from shared.trust.canonical_json import CenterName, Pseudonym

PROTOCOL = 6
"""Version of this format."""


class Header(BaseModel):
    """The small part of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


RunName = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""Names a run, also when it was interrupted and resumed as another run of Flower's."""

Pseudonyms = tuple[Pseudonym, ...]

Retention = Literal["none", "distillation", "consolidation"]
"""What holds a model to what it knew when it came to a center (client/training/methods)."""


class CenterCard(Header):
    """What a center says of itself at the roll call."""

    center: str
    training_subjects: int = Field(ge=0)
    test_subjects: int = Field(ge=0)
    contrasts: tuple[str, ...]
    fingerprint: str
    """Changes when a subject comes, goes, or moves between training and test; not when one is withdrawn."""
    role: Literal["train", "evaluate", "both"] = "both"
    policy: str = ""
    """In one line."""
    allows_unsealed: bool = False
    """Whether its policy lets exemplars travel so that the coordinator can see them."""
    identity: str = ""
    """Its name and public keys (shared/trust/identity.py); empty where it has made none."""
    withdrawn: Pseudonyms = ()
    """Of subjects that may no longer be handed on."""


class RollCall(Header):
    """A node's answer to the roll call: its centers, and those it can read for pooled training."""

    cards: tuple[CenterCard, ...]
    simulated: bool
    code: str
    """Fingerprint of the code that it runs (shared/wire/code_fingerprint.py)."""


class TrainTask(Header):
    """One visit: train at `center` (for pooled training, on all of `pool`)."""

    run: RunName
    stage: int = Field(ge=0)
    center: str
    pool: tuple[str, ...] = ()
    steps_factor: int = Field(default=1, ge=1)
    """Multiplies the steps of a stage; pooled training does those of all stages at once."""
    round: int = Field(default=0, ge=0)
    rounds: int = Field(default=1, ge=1)
    """The center's training is divided into so many; this is number `round` of them, from 0."""
    retention: Retention = "none"
    contribute: bool
    """Whether the center is asked for exemplars."""
    budget: int = Field(default=0, ge=0)
    """Bytes that its exemplars may take, before they are sealed."""
    order: tuple[CenterName, ...] = ()
    """All centers in the order of the visits, this one at `stage`."""
    identities: tuple[str, ...] = ()
    """Name and public keys of each center that comes later, as far as it has keys."""
    dropped: Pseudonyms = ()
    """Of this center's subjects whose withdrawal was heard: their exemplars are handed on no more."""

    @model_validator(mode="after")
    def _one_of_the_rounds(self) -> Self:
        if self.round >= self.rounds:
            raise ValueError(f"round {self.round}, counted from 0, is none of {self.rounds}")
        return self

    @property
    def earlier(self) -> tuple[str, ...]:
        """The centers that were visited before, by their stage."""
        return self.order[: self.stage]

    @property
    def later(self) -> tuple[str, ...]:
        """The centers that are to train on what this one contributes."""
        return self.order[self.stage + 1 :]


class TrainFigures(Header):
    """What a stage's training cost and reached."""

    steps: int = Field(ge=1)
    subjects: int = Field(ge=1)
    final_loss: float = Field(allow_inf_nan=False)
    """Mean over the last tenth of the steps; with the penalty, where something holds the model."""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    compute_seconds: float = Field(ge=0, allow_inf_nan=False)
    """Of them in forward, backward and the optimiser's step."""
    set_aside: dict[str, str] = Field(default_factory=dict)
    """Pseudonyms of subjects that could not be used, each with the reason."""
    withdrawn: Pseudonyms = ()
    """Of subjects that may no longer be handed on."""


class CaseScore(Scores):
    """How one test image was segmented."""

    subject: str
    contrast: str


class EvaluateTask(Header):
    """Test the model at `center`."""

    run: RunName
    stage: int = Field(ge=0)
    center: str
    dropped: Pseudonyms = ()
    """As in `TrainTask`."""


class TestFigures(Header):
    """The scores of a center's test subjects: each image's, or their means where the policy keeps those."""

    __test__ = False
    center: str
    cases: tuple[CaseScore, ...] = ()
    mean: MeanScores | None = None
    """In place of `cases`."""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    set_aside: dict[str, str] = Field(default_factory=dict)
    """Pseudonyms of test subjects that could not be used, each with the reason."""
    withdrawn: Pseudonyms = ()
    """Of subjects that may no longer be handed on."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if bool(self.cases) == (self.mean is not None):
            raise ValueError("either cases or their mean must be there")
        if self.mean is not None:
            try:
                Scores.model_validate(self.mean.means)  # a mean lies where the scores lie
            except ValidationError as error:
                first = error.errors()[0]
                raise ValueError(f"the mean of {first['loc'][0]} is wrong: {first['msg']}") from None
        return self

    @property
    def subjects(self) -> int:
        """How many subjects were scored."""
        return len({case.subject for case in self.cases}) if self.mean is None else self.mean.subjects


@dataclass(frozen=True)
class TrainRequest:
    """The coordinator asks a center to train."""

    task: TrainTask
    weights: Weights
    memory: tuple[Contribution, ...]
    """Of earlier centers, in the order in which they were visited."""
    importance: Weights | None = None
    """Of each of the model's parameters to the earlier centers, for consolidation."""


@dataclass(frozen=True)
class TrainReply:
    """A center gives back the model and its own contribution to the memory."""

    weights: Weights
    contribution: Contribution | None
    figures: TrainFigures
    importance: Weights | None = None
    """Of each of the model's parameters to this center and the earlier ones, for consolidation."""


@dataclass(frozen=True)
class EvaluateRequest:
    """The coordinator asks a center to test a model."""

    task: EvaluateTask
    weights: Weights


H = TypeVar("H", bound=Header)


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


def content_bytes(records: RecordDict) -> int:
    """Bytes of a message's content: its arrays as they are packed, and its words."""
    arrays = sum(len(array.data) for record in records.array_records.values() for array in record.values())
    words = sum(len(str(word)) for record in records.config_records.values() for word in record.values())
    return arrays + words


RECORDS = {"question", "header", "refusal", "model", "importance", "manifest", "memory"}
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


def pack_train_request(request: TrainRequest, model: ArrayRecord | None = None) -> RecordDict:
    """Header, model, importance and memory.

    `model` is the request's weights as an earlier message packed them: messages to many centers
    then hold them once, and not a copy each.
    """
    records = pack_header(request.task)
    _put_model(records, request.weights, request.importance, model)
    _put_contributions(records, request.memory)
    return records


def unpack_train_request(records: RecordDict) -> TrainRequest:
    """The reverse of `pack_train_request`. Raises `MessageError`."""
    task = unpack_header(records, TrainTask)
    return TrainRequest(task, _weights(records), _contributions(records), _importance(records))


def pack_train_reply(reply: TrainReply) -> RecordDict:
    """Header, model, importance and contribution."""
    records = pack_header(reply.figures)
    _put_model(records, reply.weights, reply.importance)
    _put_contributions(records, () if reply.contribution is None else (reply.contribution,))
    return records


def unpack_train_reply(records: RecordDict) -> TrainReply:
    """The reverse of `pack_train_reply`. Raises `MessageError`."""
    figures = unpack_header(records, TrainFigures)
    contributions = _contributions(records)
    if len(contributions) > 1:
        raise MessageError(f"a train reply holds {len(contributions)} contributions, but a center makes one")
    contribution = contributions[0] if contributions else None
    return TrainReply(_weights(records), contribution, figures, _importance(records))


def pack_evaluate_request(request: EvaluateRequest, model: ArrayRecord | None = None) -> RecordDict:
    """Header and model; `model` is as in `pack_train_request`."""
    records = pack_header(request.task)
    _put_model(records, request.weights, None, model)
    return records


def unpack_evaluate_request(records: RecordDict) -> EvaluateRequest:
    """The reverse of `pack_evaluate_request`. Raises `MessageError`."""
    return EvaluateRequest(unpack_header(records, EvaluateTask), _weights(records))


def _put_model(
    records: RecordDict, weights: Weights, importance: Weights | None, packed: ArrayRecord | None = None
) -> None:
    records["model"] = ArrayRecord(dict(weights)) if packed is None else packed
    if importance is not None:
        records["importance"] = ArrayRecord(dict(importance))


def _weights(records: RecordDict) -> Weights:
    model = records.array_records.get("model")
    if model is None:
        raise MessageError("a message lacks its model")
    return _tensors(model)


def _importance(records: RecordDict) -> Weights | None:
    if "importance" not in records:
        return None
    importance = records.array_records.get("importance")
    if importance is None:
        raise MessageError("the importance in a message is not made of arrays")
    return _tensors(importance)


def _tensors(record: ArrayRecord) -> Weights:
    return {name: torch.from_numpy(_array(name, array)) for name, array in record.items()}


def _array(name: str, array: Array) -> NDArray[Any]:
    """What an array of a message holds: numbers, or else `MessageError`."""
    try:
        values: NDArray[Any] = np.asarray(array.numpy())
    except (TypeError, ValueError, EOFError, OSError, MemoryError, BadZipFile) as error:
        # What numpy raises for bytes that are no array, or claim to be a boundless one.
        raise MessageError(f"array {name!r} of a message cannot be read ({error})") from None
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8 or not values.dtype.isnative:
        raise MessageError(f"array {name!r} of a message is of type {values.dtype}, but must hold numbers")
    return values


def _put_contributions(records: RecordDict, contributions: tuple[Contribution, ...]) -> None:
    """Write the contributions' documents as a manifest, their payloads as arrays under their checksums."""
    records["manifest"] = ConfigRecord({"json": dump_documents(contributions)})
    payloads = {name: Array(payload) for c in contributions for name, payload in c.payloads.items()}
    records["memory"] = ArrayRecord(payloads)


def _contributions(records: RecordDict) -> tuple[Contribution, ...]:
    try:
        documents = str(records.config_records["manifest"]["json"])
        arrays = records.array_records["memory"]
    except KeyError as error:
        raise MessageError(f"a message lacks {error.args[0]!r} of its replay memory") from None
    return load_contributions(documents, {name: _array(name, array) for name, array in arrays.items()})

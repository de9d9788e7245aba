"""The messages between the coordinator and the hospitals, packed into Flower's records and unpacked again.

Their headers stand in headers.py; how each part lies in a record is known to records.py alone.
"""

from dataclasses import dataclass, field

from flwr.app import ArrayRecord, RecordDict

from shared.errors import MessageError
from shared.model.weights import State, Weights
from shared.replay.contribution import Contribution
from shared.trust.signed_model import SignedModel
from shared.wire.headers import EvaluateTask, TrainFigures, TrainTask
from shared.wire.records import (
    contributions_in,
    pack_header,
    put_contributions,
    put_model,
    put_signed,
    signed_in,
    state_in,
    unpack_header,
    weights_in,
)


@dataclass(frozen=True)
class TrainRequest:
    """The coordinator asks a center to train."""

    task: TrainTask
    weights: Weights
    memory: tuple[Contribution, ...]
    """Of earlier centers, in the order in which they were visited."""
    state: State = field(default_factory=dict)
    """What the method handed on beside the model."""
    origin: SignedModel | None = None
    """By whom the model was trained, and signed; None for one that was drawn or averaged, and in simulation."""


@dataclass(frozen=True)
class TrainReply:
    """A center gives back the model and its own contribution to the memory."""

    weights: Weights
    contribution: Contribution | None
    figures: TrainFigures
    state: State = field(default_factory=dict)
    """What the method hands on beside the model."""
    signed: SignedModel | None = None
    """The model's signature; None in simulation."""


@dataclass(frozen=True)
class EvaluateRequest:
    """The coordinator asks a center to test a model."""

    task: EvaluateTask
    weights: Weights
    origin: SignedModel | None = None
    """As in `TrainRequest`."""


def pack_train_request(request: TrainRequest, model: ArrayRecord | None = None) -> RecordDict:
    """Header, model, state and memory.

    `model` is the request's weights as an earlier message packed them: messages to many centers
    then hold them once, and not a copy each.
    """
    records = pack_header(request.task)
    put_model(records, request.weights, request.state, model)
    put_signed(records, request.origin)
    put_contributions(records, request.memory)
    return records


def unpack_train_request(records: RecordDict) -> TrainRequest:
    """The reverse of `pack_train_request`. Raises `MessageError`."""
    task = unpack_header(records, TrainTask)
    memory, state = contributions_in(records), state_in(records)
    return TrainRequest(task, weights_in(records), memory, state, signed_in(records))


def pack_train_reply(reply: TrainReply) -> RecordDict:
    """Header, model, state and contribution."""
    records = pack_header(reply.figures)
    put_model(records, reply.weights, reply.state)
    put_signed(records, reply.signed)
    put_contributions(records, () if reply.contribution is None else (reply.contribution,))
    return records


def unpack_train_reply(records: RecordDict) -> TrainReply:
    """The reverse of `pack_train_reply`. Raises `MessageError`."""
    figures = unpack_header(records, TrainFigures)
    contributions = contributions_in(records)
    if len(contributions) > 1:
        raise MessageError(f"a train reply holds {len(contributions)} contributions, but a center makes one")
    contribution = contributions[0] if contributions else None
    return TrainReply(weights_in(records), contribution, figures, state_in(records), signed_in(records))


def pack_evaluate_request(request: EvaluateRequest, model: ArrayRecord | None = None) -> RecordDict:
    """Header and model; `model` is as in `pack_train_request`."""
    records = pack_header(request.task)
    put_model(records, request.weights, {}, model)
    put_signed(records, request.origin)
    return records


def unpack_evaluate_request(records: RecordDict) -> EvaluateRequest:
    """The reverse of `pack_evaluate_request`. Raises `MessageError`."""
    return EvaluateRequest(unpack_header(records, EvaluateTask), weights_in(records), signed_in(records))

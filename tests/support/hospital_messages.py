"""Messages to hospitals over a stand-in for Flower's runtime, and what is in their answers."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import zstandard
from flwr.app import Message, RecordDict
from flwr.common.serde import recorddict_to_proto

from shared.config.settings import Settings
from shared.model.network import initial_weights
from shared.model.weights import Weights
from shared.replay.contribution import Contribution, PlainContribution
from shared.replay.exemplar import Exemplar
from shared.wire.headers import EvaluateTask, TrainTask
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    pack_evaluate_request,
    pack_train_request,
    unpack_train_reply,
)
from tests.support.approved import Deployed
from tests.support.fakes import FakeGrid

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


def evaluate_request(config: Mapping[str, Any], center: str, run: str | None = None, seed: int = 0) -> RecordDict:
    """A test message for stage 1, of a new run or of `run`, with a fresh network."""
    task = EvaluateTask(run=run or uuid4().hex, stage=0, center=center)
    return pack_evaluate_request(EvaluateRequest(task, weights_of(config, seed)))


HOSPITAL = """
center = "grace"
state-dir = "state"
[data]
folder = "st-elsewhere"
[policy]
role = "both"
report-subject-scores = true
least-steps = 1
least-batch = 1
least-subjects = 1
share-exemplars = true
centers = ["mercy"]
subjects = 20
megabytes = 10
expiry-days = 30
allow-unsealed = true
"""

ORDER = ("grace", "mercy")


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


def trained_by(hospital: Deployed, title: str = "a run", **task: Any) -> TrainReply:
    """What a deployed hospital, node 7, replies when it is asked for its stage."""
    return unpack_train_reply(ask(hospital, "train", hospital.training(title, **task), 7))

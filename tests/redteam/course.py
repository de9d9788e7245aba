"""An honest course over hospitals that joined, stopped at any of its messages to say something else there.

A `Moment` is a message that is about to reach its hospital, with the hospital's folder as it lay then. What a lying
coordinator sends in its place goes to a copy of that folder, and the reply is held against the honest one.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self
from uuid import uuid4

from flwr.app import Message, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as Proto

from client.app import hospital_app
from client.governance.pinned_keys import Peers
from shared.clock import utc_now
from shared.config.settings import Settings
from shared.model.weights import Weights
from shared.replay.contribution import Contribution
from shared.replay.exemplar import Exemplar
from shared.replay.manifest import SealedContribution
from shared.replay.sealing import unseal
from shared.wire.headers import TestFigures
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    unpack_evaluate_request,
    unpack_train_reply,
    unpack_train_request,
)
from shared.wire.records import Refused, unpack_header
from tests.redteam.hospitals import RunConfig
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import ask
from tests.support.joined import NODES, Study, Wire


class At(NamedTuple):
    """Where in the course a message stands."""

    kind: Literal["train", "evaluate"]
    center: str
    stage: int


@dataclass(frozen=True)
class Sent:
    """What reaches a hospital."""

    content: RecordDict
    run_config: RunConfig


@dataclass(frozen=True)
class Verdict:
    """What a hospital made of a lie."""

    outcome: Literal["refused", "ignored", "obeyed"]
    """`ignored`: the reply is the honest one, to the bit; `obeyed`: it is another."""
    reason: str = ""
    """Of a refusal."""


@dataclass
class Recorder(Wire):
    """A grid that keeps, of each message of the course, what it says, what it finds, and what is replied."""

    moments: dict[At, "Moment"] = field(default_factory=dict)
    folder: Path = Path()
    """Where the hospitals' folders are copied to."""

    def _handle(self, message: Message) -> Message:
        kind, center = message.metadata.message_type, self.names[message.metadata.dst_node_id]
        if kind not in ("train", "evaluate"):
            return super()._handle(message)
        header = json.loads(str(message.content.config_records["header"]["json"]))
        at = At(kind, center, int(header["stage"]))  # type: ignore[arg-type]
        found = self.folder / "-".join(map(str, at))
        shutil.copytree(Path(str(self.nodes[NODES[center]]["hospital"])).parent, found)
        said = _bytes(message.content)
        reply = super()._handle(message)
        self.moments[at] = Moment(at, dict(self.run_config), found, said, _bytes(reply.content), self.moments)
        return reply


@dataclass(frozen=True)
class Moment:
    """An honest message that is about to reach its hospital."""

    at: At
    run_config: RunConfig
    folder: Path
    """The hospital's, as it lay then."""
    said: bytes
    replied: bytes
    others: dict[At, "Moment"] = field(repr=False)
    """All moments of the course."""

    @property
    def honest(self) -> Sent:
        return Sent(_content(self.said), self.run_config)

    @property
    def train(self) -> TrainRequest:
        return unpack_train_request(_content(self.said))

    @property
    def evaluate(self) -> EvaluateRequest:
        return unpack_evaluate_request(_content(self.said))

    @property
    def settings(self) -> Settings:
        return Settings.from_run_config(self.run_config)

    def weights(self, stage: int) -> Weights:
        """The model that a stage of the course trained; of stage -1 the one that it began with."""
        trains = {at.stage: one for at, one in self.others.items() if at.kind == "train"}
        if stage < 0:
            return trains[0].train.weights
        return unpack_train_reply(_content(trains[stage].replied)).weights


Lying = Callable[[Moment], Sent]


@dataclass(frozen=True)
class HonestCourse:
    """A course that was run to its end, as its coordinator should."""

    study: Study
    moments: dict[At, Moment]

    @classmethod
    def run(cls, study: Study, **changes: Any) -> Self:
        """Run the real coordinator over the study's hospitals; keywords are keys of the run-config with _ for -."""
        wire = study.wire(**changes)
        recorder = Recorder(wire.client, wire.run_config, wire.nodes, names=wire.names, folder=study.root / "moments")
        study.run(recorder)
        return cls(study, recorder.moments)

    def told(self, at: At, lie: Lying, after_honest: bool = False) -> Verdict:
        """What the hospital makes of a lie in the place of the honest message, or after it was answered."""
        moment = self.moments[at]
        place = self.study.root / "told" / uuid4().hex
        shutil.copytree(moment.folder, place / at.center)
        if after_honest:
            self._ask(moment.honest, at, place)
        reply = self._ask(lie(moment), at, place)
        try:
            same = self._facts(at, reply) == self._facts(at, _content(moment.replied))
        except Refused as refused:
            return Verdict("refused", str(refused))
        finally:
            shutil.rmtree(place)
        return Verdict("ignored" if same else "obeyed")

    def _ask(self, sent: Sent, at: At, place: Path) -> RecordDict:
        node = {"hospital": str(place / at.center / "hospital.toml")}
        client = hospital_app()
        return ask(FakeGrid(client, sent.run_config, {NODES[at.center]: node}), at.kind, sent.content, NODES[at.center])

    def _facts(self, at: At, content: RecordDict) -> Any:
        """All of a reply but the time that it took, and the random numbers of its seals. Raises `Refused`.

        The audit log's end is a hash over times, too.
        """
        if at.kind == "evaluate":
            return unpack_header(content, TestFigures).model_dump(exclude={"seconds", "log"})
        reply = unpack_train_reply(content)
        return (
            reply.figures.model_dump(exclude={"seconds", "compute_seconds", "log"}),
            _raw(reply.weights),
            {part: _raw(arrays) for part, arrays in reply.state.items()},
            self._given(reply),
        )

    def _given(self, reply: TrainReply) -> Any:
        given = reply.contribution
        if not isinstance(given, SealedContribution):
            return given and [_crop(one) for one in given.exemplars]
        return given.manifest.claims.visit, given.recipients, [_crop(one) for one in self.opened(given)]

    def opened(self, given: Contribution) -> tuple[Exemplar, ...]:
        """The crops of a sealed contribution, by the key of whoever sealed it."""
        assert isinstance(given, SealedContribution)
        pins = Peers.of({c: str(keys.identity) for c, keys in self.study.keys.items()}, "the judge").check
        return unseal(given, self.study.keys[given.center], pins, given.visit, utc_now())


def _crop(exemplar: Exemplar) -> tuple[Any, bytes]:
    return exemplar.provenance.model_dump(), exemplar.payload.tobytes()


def _raw(weights: Weights) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in weights.items()}


def _bytes(content: RecordDict) -> bytes:
    return recorddict_to_proto(content).SerializeToString()


def _content(raw: bytes) -> RecordDict:
    return recorddict_from_proto(Proto.FromString(raw))

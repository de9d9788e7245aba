"""Three hospitals that joined a study, each with its own data, keys, pins and policy, over a fake grid."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.common.serde import recorddict_to_proto
from flwr.proto.node_pb2 import NodeInfo

import server.app
from client.app import hospital_app
from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Entry
from client.governance.keys import make_keys
from client.governance.pinned_keys import Peers
from client.governance.pseudonyms import outside_name, pseudonym, pseudonym_key
from client.governance.withdrawals import Withdrawals
from client.hospital.config import Site
from client.hospital.withdraw import withdraw
from shared.clock import Clock, utc_now
from shared.protocol.document import StudyProtocol
from shared.protocol.lineage import first_weights
from shared.protocol.plan import RunPlan, plan_of
from shared.results import RunResults, read_results
from shared.trust.identity import Keys, Pin
from shared.wire.headers import Question
from shared.wire.messages import (
    EvaluateRequest,
    TrainRequest,
    pack_evaluate_request,
    pack_train_request,
    unpack_train_request,
)
from shared.wire.records import pack_question
from tests.support.approved import approve, protocol_of, signed_by
from tests.support.datasets import write_dataset
from tests.support.fakes import FakeGrid

CENTERS = ("grace", "mercy", "elsewhere")
NODES = {center: 201 + i for i, center in enumerate(CENTERS)}
SUBJECTS = ("abernathy", "bellamy", "cholmondeley", "devereux", "eastwood")
"""Each center has its own of these: `sub-graceabernathy` and so on."""

SMALL = {"features": 2, "steps": 2, "batch-size": 2, "order": "given", "test-fraction": 0.4, "patience-minutes": 0.0}

POLICY: Mapping[str, Any] = {
    "role": "both",
    "report-subject-scores": True,
    "share-exemplars": True,
    "centers": list(CENTERS),
    "subjects": 10,
    "megabytes": 10,
    "expiry-days": 30,
    "least-steps": 1,
    "least-batch": 1,
    "least-subjects": 1,
}


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else repr(value)


@dataclass
class Wire(FakeGrid):
    """A grid that keeps all that passes, knows enrolled names, and lets a test change a train request."""

    names: dict[int, str] = field(default_factory=dict)
    heard: list[Message] = field(default_factory=list)
    change: Callable[[TrainRequest], TrainRequest] | None = None

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=node, name=self.names.get(node, "")) for node in self.get_node_ids()]

    def _handle(self, message: Message) -> Message:
        if self.change and message.metadata.message_type == "train":
            message.content = pack_train_request(self.change(unpack_train_request(message.content)))
        reply = super()._handle(message)
        self.heard.append(reply)
        return reply

    @property
    def everything(self) -> bytes:
        """All bytes of all messages, both ways."""
        contents = [m.content for m in [*self.sent, *self.heard] if m.has_content()]
        return b"\n".join(recorddict_to_proto(content).SerializeToString() for content in contents)


@dataclass
class Study:
    """The hospitals' folders, and runs over them."""

    root: Path
    config: dict[str, Any]
    keys: dict[str, Keys] = field(default_factory=dict)

    @classmethod
    def made(cls, root: Path, run_config: Mapping[str, Any]) -> "Study":
        """Data and keys of each hospital, and a hospital.toml that pins the others and lets all leave, sealed."""
        config = {**run_config, **SMALL, "centers": ",".join(CENTERS), "cache-dir": str(root / "coordinator-cache")}
        study = cls(root, config)
        for place, center in enumerate(CENTERS):
            names = [f"sub-{center}{name}" for name in SUBJECTS]
            write_dataset(root / center / "images", names, first=place * len(names))
            study.keys[center] = make_keys(root / center / "state" / "keys", center)
        for center in CENTERS:
            study.write_site(center)
        return study

    def toml(self, center: str) -> Path:
        return self.root / center / "hospital.toml"

    def write_site(self, center: str, pins: Mapping[str, str] | None = None, **policy: Any) -> None:
        """A hospital's own file, with some of the policy changed (`_` for `-`) and other pins."""
        pinned = {c: str(keys.identity) for c, keys in self.keys.items() if c != center} | dict(pins or {})
        rules = {**POLICY, **{key.replace("_", "-"): value for key, value in policy.items()}}
        lines = [f'center = "{center}"', 'state-dir = "state"', "[data]", 'folder = "images"', "[peers]"]
        lines += [f'{name} = "{pin}"' for name, pin in pinned.items() if pin]
        lines += ["[policy]", *(f"{key} = {toml(value)}" for key, value in rules.items())]
        self.toml(center).write_text("\n".join(lines) + "\n")
        self.toml(center).chmod(0o600)

    @property
    def pin(self) -> Pin:
        return Peers.of({c: str(keys.identity) for c, keys in self.keys.items()}, "a test").check

    def wire(self, clock: Clock = utc_now, **changes: Any) -> Wire:
        """A new grid; keywords are keys of the run-config with _ for -."""
        config = self.config | {key.replace("_", "-"): value for key, value in changes.items()}
        nodes = {node: {"hospital": str(self.toml(center))} for center, node in NODES.items()}
        return Wire(hospital_app(clock), config, nodes, names={node: center for center, node in NODES.items()})

    def protocol(self, config: Mapping[str, Any], title: str, keys: Mapping[str, Keys] | None = None) -> StudyProtocol:
        """A protocol with these settings, which all hospitals have approved."""
        protocol = protocol_of(config, keys or self.keys, title)
        for center in CENTERS:
            approve(self.root / center / "state", center, protocol)
        return protocol

    def plan(self, title: str = "asked", **config: Any) -> RunPlan:
        """A run that all hospitals have approved, with some keys of the run-config changed (`_` for `-`)."""
        changed = self.config | {key.replace("_", "-"): value for key, value in config.items()}
        return plan_of(self.protocol(changed, title), 0, changed)

    def question(self, title: str = "asked", **config: Any) -> RecordDict:
        """The roll call's question of such a run."""
        plan = self.plan(title, **config)
        return pack_question(Question(protocol=plan.protocol, runs=plan.runs))

    def training(self, title: str = "asked", **config: Any) -> RecordDict:
        """The first train message of such a run, for grace."""
        plan = self.plan(title, **config)
        return pack_train_request(TrainRequest(plan.train_task(0, "grace"), first_weights(plan.settings), ()))

    def test(self, title: str = "asked", **config: Any) -> RecordDict:
        """The message of such a run that has the first model tested at grace, as if it had trained it."""
        plan = self.plan(title, **config)
        weights = first_weights(plan.settings)
        signed = signed_by(self.keys["grace"], plan, 0, weights)
        return pack_evaluate_request(EvaluateRequest(plan.evaluate_task(0, "grace"), weights, signed))

    def approved(self, config: Mapping[str, Any], name: str) -> Path:
        """The file of a protocol with these settings, which all hospitals have approved."""
        path = self.root / f"{name}.protocol.json"
        if not path.exists():
            path.write_text(self.protocol(config, name).document)
        return path

    def run(self, wire: Wire, name: str = "run", resume: bool = False) -> RunResults:
        """Run the ServerApp to its end over hospitals that approved the run, and return its results."""
        folder = self.root / name
        run_config = {**wire.run_config, "output-dir": str(folder), "resume": resume}
        if self.keys:  # else they are simulated
            run_config["protocol"] = str(self.approved(wire.run_config, name))
        wire.run_config = run_config
        server.app.main(wire, self.context(run_config))
        return read_results(folder)

    def context(self, run_config: dict[str, Any]) -> Context:
        """What Flower gives the ServerApp."""
        return Context(1, 0, {}, RecordDict(), run_config)

    def withdraw(self, center: str, *names: str) -> None:
        """As `wardround hospital withdraw` does."""
        for name in names:
            withdraw(Site.read(self.toml(center)), f"sub-{center}{name}", utc_now)

    def withdrawn(self, center: str) -> set[str]:
        """Pseudonyms of those who withdrew, as their hospital knows them."""
        key = self.key(center)
        return set(Withdrawals(self.root / center / "state", lambda name: pseudonym(key, name)).subjects())

    def key(self, center: str) -> bytes:
        """The secret of a hospital's pseudonyms."""
        return pseudonym_key(self.root / center / "state", center)

    def known(self, center: str, *names: str) -> set[str]:
        """Pseudonyms of these of its subjects, as their hospital knows them."""
        return {pseudonym(self.key(center), f"sub-{center}{name}") for name in names}

    def called(self, center: str, run: str, known: Iterable[str]) -> set[str]:
        """What leaves in a run that goes on from no other calls the subjects of these pseudonyms."""
        return {outside_name(self.key(center), run, one) for one in known}

    def audit(self, center: str) -> tuple[Entry, ...]:
        return AuditLog(self.root / center / "state" / "audit").entries()

    def audited(self, center: str, kind: str, message: str) -> list[Entry]:
        return [e for e in self.audit(center) if e.kind == kind and e.facts.message == message]


def bytes_below(folder: Path) -> bytes:
    """All bytes of all files of a folder, and their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return b"\n".join(str(path.relative_to(folder)).encode() + b"\n" + path.read_bytes() for path in files)


def later(days: float) -> Clock:
    """A clock that is fast."""
    return lambda: datetime.fromtimestamp(utc_now().timestamp() + days * 86400, UTC)

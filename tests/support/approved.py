"""Protocols as tests propose and approve them, and messages under them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from client.governance.approvals import Approvals
from client.governance.keys import load_or_make_keys
from client.hospital.config import Site
from shared.clock import utc_now
from shared.config.settings import Settings
from shared.model.weights import State, Weights
from shared.protocol.document import Ancestor, StudyProtocol
from shared.protocol.lineage import first_weights, trained_claims
from shared.protocol.plan import RunPlan, plan_of
from shared.replay.contribution import Contribution
from shared.trust.identity import Keys
from shared.trust.signed_model import SignedModel
from shared.wire.headers import Question
from shared.wire.messages import EvaluateRequest, TrainRequest, pack_evaluate_request, pack_train_request
from shared.wire.records import pack_question
from tests.support.fakes import FakeGrid
from tests.support.sealed import NOW


def protocol_of(
    config: Mapping[str, Any], keys: Mapping[str, Keys], title: str = "", lineage: tuple[Ancestor, ...] = ()
) -> StudyProtocol:
    """A protocol of one run with these settings, over centers that have these keys."""
    settings = Settings.from_run_config({**config, "order": "given", "protocol": ""})
    identities = {center: str(keys[center].identity) for center in settings.run.centers}
    return StudyProtocol.of_run(settings, identities, NOW, title, lineage)


def approve(state: Path, center: str, protocol: StudyProtocol) -> None:
    """As `wardround hospital approve` does, once all was read."""
    approvals = Approvals(state, center, utc_now)
    if protocol not in [one.protocol for one in approvals.all()]:
        approvals.approve(protocol)


def signed_by(keys: Keys, plan: RunPlan, stage: int, weights: Weights, state: State | None = None) -> SignedModel:
    """The signature of the hospital that trained at a stage."""
    request = TrainRequest(plan.train_task(stage, keys.center), weights, ())
    return SignedModel.sign(trained_claims(request, weights, state or {}), keys)


@dataclass
class Deployed(FakeGrid):
    """One node that is a deployed hospital, and others whose keys a test has."""

    toml: Path = Path()
    others: Mapping[str, Keys] = field(default_factory=dict)
    plans: dict[str, RunPlan] = field(default_factory=dict)

    def changed(self, **changes: Any) -> "Deployed":
        """The same hospital under other settings; keywords are keys of the run-config with _ for -."""
        config = {**self.run_config, **{key.replace("_", "-"): value for key, value in changes.items()}}
        return Deployed(self.client, config, self.nodes, toml=self.toml, others=self.others)

    @property
    def site(self) -> Site:
        return Site.read(self.toml)

    @property
    def keys(self) -> Keys:
        """The hospital's own."""
        folder = self.site.keys
        return load_or_make_keys(folder, self.site.center)

    def plan(self, title: str = "a run") -> RunPlan:
        """What follows from an approved protocol with the grid's settings; one for each title."""
        if title not in self.plans:
            protocol = protocol_of(self.run_config, {**self.others, self.site.center: self.keys}, title)
            approve(self.site.state, self.site.center, protocol)
            self.plans[title] = plan_of(protocol, 0, self.run_config)
        return self.plans[title]

    def question(self, title: str = "a run") -> RecordDict:
        """The roll call's question."""
        plan = self.plan(title)
        return pack_question(Question(protocol=plan.protocol, runs=plan.runs))

    def training(
        self,
        title: str = "a run",
        memory: tuple[Contribution, ...] = (),
        weights: Weights | None = None,
        **task: Any,
    ) -> RecordDict:
        """The train message of the hospital's stage, with the first model or one that the center before it signed.

        Keywords change what the task says, and not what was approved.
        """
        plan = self.plan(title)
        stage = plan.order.index(self.site.center)
        header = plan.train_task(stage, self.site.center).model_copy(update=task)
        weights = first_weights(plan.settings) if weights is None else weights
        origin = signed_by(self.others[plan.order[stage - 1]], plan, stage - 1, weights) if stage else None
        return pack_train_request(TrainRequest(header, weights, memory, {}, origin))

    def test(self, title: str = "a run", weights: Weights | None = None, **task: Any) -> RecordDict:
        """The message that has the model of the hospital's own stage tested; another model than the first is signed."""
        plan = self.plan(title)
        stage = plan.order.index(self.site.center)
        header = plan.evaluate_task(stage, self.site.center).model_copy(update=task)
        weights = first_weights(plan.settings) if weights is None else weights
        return pack_evaluate_request(EvaluateRequest(header, weights, signed_by(self.keys, plan, stage, weights)))

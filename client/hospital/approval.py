"""What a hospital sees of a protocol before it approves it, and what it refuses to approve."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from client.governance.approvals import Approvals
from client.governance.keys import load_keys
from client.governance.policy import Policy
from client.hospital.config import Site
from shared.clock import Clock
from shared.config.settings import Settings
from shared.course import Stage
from shared.errors import PolicyError, SettingsError, TrustError
from shared.protocol.document import StudyProtocol, Value
from shared.protocol.plan import RunPlan, plan_of
from shared.text import counted
from shared.trust.identity import Identity
from shared.wire.code_fingerprint import code_fingerprint


@dataclass(frozen=True)
class ProtocolReading:
    """A protocol as one hospital reads it."""

    protocol: StudyProtocol
    site: Site
    plans: tuple[RunPlan, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """In plain words: what is trained and for how long, whose crops come and go, which scores leave, how often."""
        told = [f"protocol {self.protocol.digest}", f"proposed on {self.protocol.created}"]
        told += [f"title: {self.protocol.title}"] if self.protocol.title else []
        for number, plan in enumerate(self.plans, start=1):
            told.append(f"run {number} of {len(self.plans)}, {plan.run[:8]}:")
            told += [f"  {line}" for line in _lines_of_run(plan, self.site)]
        for ancestor in self.protocol.lineage:
            told.append(
                f"goes on from run {ancestor.run[:8]} of protocol {ancestor.protocol[:8]}, "
                f"{counted(ancestor.stages, 'stage')} of which are trained"
            )
        if self.protocol.lineage:
            oldest = self.protocol.lineage[0]
            told.append(f"names each patient as run {oldest.run[:8]} does, and all others that go on from it")
        return tuple(told)


def read_for(site: Site, protocol: StudyProtocol, circumstances: Mapping[str, Value]) -> ProtocolReading:
    """A protocol as this hospital may approve it; `circumstances` complete its settings.

    Raises `SettingsError` where it cannot be worked off or has no part for this hospital, `PolicyError` where the
    policy forbids the hospital's part, `TrustError` where a key is neither this hospital's own nor pinned here.
    """
    protocol.check(circumstances)
    if protocol.code != code_fingerprint():
        raise SettingsError(
            f"the protocol is for other code (fingerprint {protocol.code[:16]}) than runs here "
            f"({code_fingerprint()[:16]}): install the version of Wardround that the coordinator names"
        )
    plans = tuple(plan_of(protocol, number, circumstances) for number in range(len(protocol.runs)))
    for plan in plans:
        _check_part(plan, site)
    for center, line in protocol.identities.items():
        identity = Identity.parse(line)
        if center != site.center:
            site.peers.check(identity)
        elif not site.keys.exists() or load_keys(site.keys).identity != identity:
            raise TrustError(
                f"the protocol names another key of {center} than lies in {site.keys}: send the coordinator a new card "
                "(wardround hospital card), and approve what it then proposes",
                f"the protocol names another key of {center} than this hospital has",
            )
    return ProtocolReading(protocol, site, plans)


def approve(reading: ProtocolReading, clock: Clock) -> None:
    """Act by the protocol from now on. Raises `RecordError`."""
    Approvals(reading.site.state, reading.site.center, clock).approve(reading.protocol)


def _check_part(plan: RunPlan, site: Site) -> None:
    center, policy = site.center, site.policy
    if center not in plan.settings.run.participants:
        known = ", ".join(plan.settings.run.participants)
        raise SettingsError(f"the protocol has no part for {center}: it is for {known}")
    trains = [stage for stage in plan.course if center in stage.centers]
    if trains and policy.role == "evaluate":
        raise PolicyError(
            f"by the protocol a model is trained at {center}, but {site.peers.source} has role = 'evaluate': change "
            "it, or ask for a protocol that names this hospital among its evaluators"
        )
    if any(stage.apart for stage in plan.course) and not policy.allow_averaged_models:
        raise PolicyError(
            f"method = {plan.settings.run.method!r} sends averaged models, which no hospital signs, so that a "
            f"coordinator that lies could send any: {site.peers.source} would have to say allow-averaged-models = true"
        )


def _lines_of_run(plan: RunPlan, site: Site) -> Iterable[str]:
    settings, center = plan.settings, site.center
    run = settings.run
    yield f"{run.spec.title} (method {run.method}), seed {run.seed}: {' -> '.join(plan.order)}"
    if run.start_digest:
        yield f"begins with a model that was trained before, of SHA-256 {run.start_digest}"
    if run.evaluators:
        yield f"tested only, never trained on: {', '.join(run.evaluators)}"
    trains = [stage for stage in plan.course if center in stage.centers]
    tests = [stage for stage in plan.course if center in stage.tests]
    if trains:
        yield f"trained here: {_training(trains, len(plan.course), settings)}"
        parts = "".join(f" and the {part} of each of its parameters" for part in run.spec.state)
        yield f"what leaves then: the model{parts}, signed by this hospital"
    else:
        yield "trained here: nothing"
    yield from _crops(plan, trains, site)
    yield f"scores that leave: {_scores(tests, site.policy)}"
    yield (
        f"messages at most: {counted(len(trains), 'training')} and {counted(len(tests), 'test')}, each of another "
        "stage (the same one again, after a fault, gets the same answer), and roll calls"
    )


def _training(trains: list[Stage], stages: int, settings: Settings) -> str:
    training = settings.training
    length = (
        f"{counted(training.steps // trains[0].rounds, 'step')} for each contrast"
        if training.steps
        else f"{counted(training.epochs // trains[0].rounds, 'epoch')}"
    )
    edge = training.patch_size * settings.data.spacing
    which = ", ".join(str(stage.index + 1) for stage in trains)
    return (
        f"stage {which} of {stages}, {length}, {training.patches} patches of {edge:g} mm a step, "
        f"a network of {settings.network.features} features"
    )


def _crops(plan: RunPlan, trains: list[Stage], site: Site) -> Iterable[str]:
    settings, policy = plan.settings, site.policy
    replays = [stage for stage in trains if stage.replay]
    if not replays:
        yield "crops of patients' images: none come, none leave"
        return
    index = replays[0].index
    earlier, later = plan.order[:index], plan.order[index + 1 :]
    sealing = "sealed" if settings.memory.seals(simulated=False) else "NOT sealed, so that the coordinator sees them"
    edge = settings.exemplar_voxels * settings.data.spacing
    size = f"cubes of {edge:g} mm, one each of at most {counted(settings.memory.memory_subjects, 'patient')} a hospital"
    yield "crops that come here: " + (f"from {', '.join(earlier)}, {size}, {sealing}" if earlier else "none")
    allowed = [other for other in later if other in policy.centers]
    if not policy.share_exemplars or not allowed:
        reason = (
            "share-exemplars is false" if not policy.share_exemplars else "the policy names none of those that follow"
        )
        yield f"own crops that may leave: none ({reason})"
        return
    task = plan.train_task(index, site.center)
    budget = min(task.budget, policy.nbytes)
    yield (
        f"own crops that may leave: to {', '.join(allowed)}, cubes of {edge:g} mm, one each of at most "
        f"{counted(min(policy.subjects, settings.memory.memory_subjects), 'patient')}, {budget / 1e6:.0f} MB, "
        f"{sealing}, for {counted(policy.expiry_days, 'day')}"
    )


def _scores(tests: list[Stage], policy: Policy) -> str:
    if not tests or policy.role == "train":
        return "none"
    which = "each test image's, by pseudonym" if policy.report_subject_scores else "means over the test patients"
    return f"{which}, of the models of {counted(len(tests), 'stage')}"

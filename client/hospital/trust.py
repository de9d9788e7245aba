"""What a hospital has to decide by, and to answer with, when a message comes: policy, keys, pins, audit log.

A simulated hospital has throw-away keys where the run seals, pins every other center of the run,
and keeps no audit log: nobody would read it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts, Kind
from client.governance.keys import load_keys, make_keys
from client.governance.pinned_keys import Peers
from client.governance.policy import Policy, Role
from client.governance.records import AUDIT, Records
from client.governance.tasks import Tasks
from client.hospital.center import Hospital
from client.hospital.config import Site
from shared.clock import Clock
from shared.config.settings import Settings
from shared.errors import PolicyError, RecordError, TrustError, WardroundError
from shared.log import say
from shared.model.weights import State, Weights
from shared.protocol.lineage import trained_claims
from shared.text import counted
from shared.trust.identity import Identity, Keys
from shared.trust.signed_model import SignedModel
from shared.wire.headers import CenterCard, EvaluateTask, LogHead, TrainTask
from shared.wire.messages import TrainRequest

EXEMPLARS, DROPPED, VOIDED = "exemplars", "dropped by the coordinator", "stage begun anew"
"""Messages of the audit log by which it is searched."""


@dataclass(frozen=True)
class Left:
    """What of one subject has left, over all runs."""

    crops: int
    nbytes: int


NOTHING_LEFT = Left(0, 0)


@dataclass(frozen=True)
class Custody:
    """One center's policy and trust, at one moment."""

    center: str
    policy: Policy
    peers: Peers
    keys: Keys | None
    """None where the hospital has made none: it can neither seal nor open."""
    audit: AuditLog | None
    """None in simulation."""
    tasks: Tasks | None
    """None in simulation, where each task is done as often as it is asked for."""
    sealed: bool
    """Whether exemplars travel sealed in this run."""
    clock: Clock
    simulated: bool
    """Whether this is a made-up hospital, where everything is allowed."""

    def own_keys(self) -> Keys:
        """The keys. Raises `TrustError` where the hospital has made none."""
        if self.keys is None:
            raise TrustError(
                f"{self.center} has no keys: make them with `wardround hospital keys HOSPITAL_TOML`",
                f"{self.center} has made no keys yet",
            )
        return self.keys

    def shown(self, hospital: Hospital, settings: Settings) -> CenterCard:
        """The hospital's card with what the coordinator needs to know of policy and keys."""
        card = hospital.card
        rounds = settings.run.rounds if settings.run.spec.course == "rounds" else 1
        return card.model_copy(
            update={
                "role": self.policy.role,
                "policy": str(self.policy),
                "allows_unsealed": self.policy.allow_unsealed,
                "withdrawn": self.to_drop(hospital),
                "untrained": _why_untrained(self.policy, hospital, settings, rounds),
                "withholds": self.policy.why_withheld(card.test_subjects) if card.test_subjects else "",
                "trains_untested": self.policy.trains_untested,
                "allows_averaged": self.policy.allow_averaged_models,
                "identity": str(self.keys.identity) if self.keys else "",
                "log": self.log_head(),
            }
        )

    def check_log(self, kept: LogHead | None, message: str) -> None:
        """Raise `RecordError` where the audit log lacks what the coordinator saw of it in this run: it was put back.

        `message` says what brought that.
        """
        if self.audit is None or kept is None:
            return
        entries = self.audit.entries()
        if len(entries) >= kept.count and entries[kept.count - 1].hash == kept.hash:
            return
        problem = (
            f"the audit log of {self.center} has no entry {kept.count} as this run knows it, so it was put back or "
            "replaced since: its hospital restores the log"
        )
        self.note("refused", Facts(message=message, reason=problem))
        raise RecordError(f"{problem} in {self.audit.folder}, or tells the coordinator that it was lost", problem)

    def log_head(self) -> LogHead | None:
        """Where the audit log ends now."""
        if self.audit is None or not (head := self.audit.head()).count:
            return None
        return LogHead(count=head.count, hash=head.hash)

    def note(self, kind: Kind, facts: Facts) -> LogHead | None:
        """Write into the audit log, and say where it ends then. Raises `RecordError`: then nothing may leave."""
        if self.audit is None:
            return None
        entry = self.audit.append(kind, facts)
        return LogHead(count=entry.sequence, hash=entry.hash)

    @contextmanager
    def asked(self, role: Role, task: TrainTask | EvaluateTask) -> Iterator[None]:
        """For the time of what the coordinator asks: note in the audit log where that is refused.

        Raises `PolicyError` where the policy has another role.
        """
        try:
            self.check_role(role)
            yield
        except WardroundError as error:
            with suppress(RecordError):  # which may be what is being told
                facts = Facts(message=f"{role} request", run=task.run, stage=task.stage, reason=error.public)
                self.note("refused", facts)
            raise

    def check_role(self, role: Role) -> None:
        """Raise `PolicyError` where the policy has another role."""
        if self.policy.role not in (role, "both"):
            raise PolicyError(
                f"this hospital's policy has the role {self.policy.role}, and it was asked to {role}: the coordinator "
                'must not ask, or the hospital sets role = "both"'
            )

    def check_training(self, hospital: Hospital, settings: Settings, rounds: int, unopened: int = 0) -> None:
        """Raise `PolicyError` where the policy lets no model train here so; `unopened` are the subjects set aside.

        As where nobody is left to test on, or a training of so few steps, patches or subjects would show them.
        """
        aside = f" (images of {counted(unopened, 'subject')} could not be used)" if unopened else ""
        if why := _why_untrained(self.policy, hospital, settings, rounds):
            raise PolicyError(
                f"this hospital's policy lets no model train so: {why}{aside}: the coordinator asks for more, or the "
                "hospital lowers them"
            )
        if not hospital.tested and not self.policy.trains_untested:
            raise PolicyError(
                "this hospital has no subject to test on, and its policy lets no model train here untested: it mends "
                "or adds images, or sets train-untested = true"
            )

    def check_averaged(self, averaged: bool) -> None:
        """Raise `PolicyError` where a model is an average, which nobody signs, and the policy allows none."""
        if averaged and not self.policy.allow_averaged_models:
            raise PolicyError(
                "this hospital's policy has no allow-averaged-models: the model is an average, which no hospital "
                "signed, so that whoever averages could have made it"
            )

    def pin(self, identity: Identity) -> None:
        """Raise `TrustError` where an identity is neither this hospital's own nor a pinned one; a `Pin`."""
        if identity.center != self.center:
            self.peers.check(identity)
        elif identity != self.own_keys().identity:
            problem = f"the protocol names another key of {self.center} than this hospital has"
            raise TrustError(problem, problem)

    def sign(self, request: TrainRequest, weights: Weights, state: State) -> SignedModel | None:
        """A trained model's signature; None in simulation. Raises `TrustError` where there are no keys."""
        if self.simulated:
            return None
        return SignedModel.sign(trained_claims(request, weights, state), self.own_keys())

    def note_voided(self, task: TrainTask, changed: frozenset[str]) -> None:
        """Write down, aloud, that a stage begins anew, since subjects were withdrawn, or became unusable or usable."""
        whose = counted(len(changed), "subject") if changed else "nobody knows how many"
        say(f"{self.center}: stage {task.stage + 1} begins anew: whom it trains on has changed by {whose}")
        subjects = tuple(sorted(changed))
        self.note("voided", Facts(message=VOIDED, run=task.run, stage=task.stage, subjects=subjects))

    def has_left(self, task: TrainTask) -> bool:
        """Whether the model of this task has left before; in simulation nobody knows. Raises `RecordError`."""
        return self.tasks is not None and self.tasks.has_left(task)

    def sent_before(self) -> Mapping[str, Left]:
        """What ever left of each subject, by pseudonym; a reply that was sent again counts once. Raises `RecordError`.

        A contribution's bytes are counted in equal parts: it has one exemplar of a subject, and all are as wide.
        """
        left: dict[str, dict[tuple[str | None, str], int]] = {}
        for entry in self.audit.entries() if self.audit is not None else ():
            facts = entry.facts
            if entry.kind == "sent" and facts.message == EXEMPLARS:
                part = math.ceil((facts.size or 0) / max(len(facts.subjects), 1))
                for place, subject in enumerate(facts.subjects):
                    left.setdefault(subject, {})[facts.run, "".join(facts.checksums[place : place + 1])] = part
        return {subject: Left(len(sizes), sum(sizes.values())) for subject, sizes in left.items()}

    def to_drop(self, hospital: Hospital) -> tuple[str, ...]:
        """What the run calls those withdrawn whose exemplars left in it, or in one that it goes on from.

        The coordinator need not know of any other. Raises `RecordError`.
        """
        if self.audit is None or not hospital.withdrawn:
            return tuple(sorted(hospital.outside[known] for known in hospital.withdrawn))
        left = {
            subject
            for entry in self.audit.entries()
            if entry.kind == "sent" and entry.facts.message == EXEMPLARS and entry.facts.run in hospital.runs
            for subject in entry.facts.subjects
        }
        return tuple(sorted(hospital.outside[known] for known in hospital.withdrawn & left))

    def hear_dropped(self, task: TrainTask | EvaluateTask, hospital: Hospital) -> None:
        """Note, once a run, whose exemplars of those withdrawn the coordinator says that it hands on no more."""
        heard = set(self.to_drop(hospital)) & set(task.dropped)
        dropped = sorted(known for known, name in hospital.outside.items() if name in heard)
        if self.audit is None or not dropped:
            return
        known = {
            subject
            for entry in self.audit.entries()
            if entry.facts.message == DROPPED and entry.facts.run == task.run
            for subject in entry.facts.subjects
        }
        if new := tuple(subject for subject in dropped if subject not in known):
            self.note("withdrawn", Facts(message=DROPPED, run=task.run, stage=task.stage, subjects=new))
            say(f"{self.center}: the coordinator has dropped the exemplars of {len(new)} subjects that were withdrawn")


def _why_untrained(policy: Policy, hospital: Hospital, settings: Settings, rounds: int) -> str:
    """Of how few steps, patches or subjects a training would be for the policy; empty where it is of enough."""
    training, memory = settings.training, settings.memory
    volumes = math.ceil(hospital.training_images / training.batch_size)
    steps = (training.steps * hospital.training_contrasts or training.epochs * volumes) // rounds
    # Replayed patches are others' patients'.
    shared = settings.run.spec.replays and memory.replay_mode == "balanced"
    own = training.patches - (round(training.patches * memory.replay_share) if shared else 0)
    found = (
        ("steps", max(steps, 1), "least-steps", policy.least_steps),
        ("patches of its own a step", max(own, 1), "least-batch", policy.least_batch),
        ("subjects", hospital.training_subjects, "least-subjects", policy.least_subjects),
    )
    return ", ".join(f"{has} {what} where {key} = {least}" for what, has, key, least in found if has < least)


def open_custody(site: Site, settings: Settings, simulated: bool, clock: Clock) -> Custody:
    """What the hospital decides by.

    Raises `TrustError` where its keys cannot be used, and `RecordError` where a record was lost.
    """
    if not simulated:
        Records(site.state, site.center)
    sealed = settings.memory.seals(simulated)
    peers = site.peers
    audit = None if simulated else AuditLog(site.state / AUDIT, clock)
    if not simulated:
        keys = load_keys(site.keys) if site.keys.exists() else None
    elif sealed:
        keys, peers = _thrown_away(site, settings.run.centers)
    else:
        keys = None
    return Custody(
        center=site.center,
        policy=site.policy,
        peers=peers,
        keys=keys,
        audit=audit,
        tasks=Tasks(site.state, audit) if audit is not None else None,
        sealed=sealed,
        clock=clock,
        simulated=simulated,
    )


def _thrown_away(site: Site, centers: tuple[str, ...]) -> tuple[Keys, Peers]:
    """A simulated hospital's keys, and pins of all the others'."""
    names = dict.fromkeys((*centers, site.center))  # an evaluator has keys of its own, and is pinned by nobody
    keys = {center: _made(site.state.parent / center / "keys", center, make_keys) for center in names}
    return keys[site.center], Peers.of({c: str(k.identity) for c, k in keys.items()}, "the simulation's state folder")


def _made(folder: Path, center: str, make: Callable[[Path, str], Keys]) -> Keys:
    if not folder.exists():
        with suppress(TrustError):  # another process was first
            return make(folder, center)
    return load_keys(folder)


@dataclass(frozen=True)
class Place:
    """A center at this node: what it says of itself, what it decides by, and where its prepared volumes lie."""

    site: Site
    custody: Custody
    prepared: Path
    """Folder for prepared volumes."""

"""What goes out after a stage: a contribution is chosen, released and wrapped up, and what leaves is written down.

Who is to open it is looked at before any training, since a stage takes long.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from client.governance.consent import read_consent
from client.governance.hash_chain import Facts
from client.governance.policy import Policy, Subject, why_barred
from client.governance.release import Release, Request, release
from client.hospital.center import Hospital
from client.hospital.config import Site
from client.hospital.trust import EXEMPLARS, Custody, Place
from client.sharing.exemplar_selection import choose
from client.training.stage import TrainedStage
from shared.config.settings import Settings
from shared.errors import MessageError, TrustError
from shared.log import say
from shared.model.weights import nbytes
from shared.replay.contribution import Contribution, PlainContribution
from shared.replay.exemplar import Exemplar
from shared.replay.manifest import SealedContribution, Visit
from shared.replay.sealing import Terms, seal
from shared.trust.identity import Identity
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainReply

PARTICIPANTS = "participants.tsv"
"""In the data folder: where BIDS keeps what a consent column says."""


@dataclass(frozen=True)
class Outlook:
    """Who is to open what this hospital contributes, as far as its policy and pins allow."""

    recipients: tuple[str, ...]
    """All that are to train on it."""
    identities: tuple[Identity, ...]
    """Of those that the policy names and that have keys; each is the pinned one."""


def look_ahead(custody: Custody, task: TrainTask) -> Outlook:
    """Who is to open what this hospital will contribute.

    Raises `TrustError` where a key that the coordinator gives is not the pinned one, and where
    this hospital would seal but has no keys.
    """
    if not custody.sealed:
        # In simulation for everybody, so that a run that ended can be extended.
        return Outlook(custody.policy.centers if custody.simulated else task.later, ())
    if not task.contribute or not custody.policy.share_exemplars:
        return Outlook(task.later, ())
    shown = {identity.center: identity for identity in _parsed(task.identities)}
    wanted = [center for center in task.later if center in custody.policy.centers]
    if without := [center for center in wanted if center not in shown]:
        say(f"{custody.center}: nothing goes to {', '.join(without)}, which made no keys")
    identities = tuple(shown[center] for center in wanted if center in shown)
    for identity in identities:
        custody.peers.check(identity)
    if identities:
        custody.own_keys()
    recipients = tuple(c for c in task.later if c in shown or c not in custody.policy.centers)
    return Outlook(recipients, identities)


def _parsed(lines: tuple[str, ...]) -> list[Identity]:
    try:
        return [Identity.parse(line) for line in lines]
    except TrustError as error:
        raise MessageError(f"the coordinator sent a public key that is none ({error}): refused") from None


def subjects_of(site: Site, hospital: Hospital, sent: frozenset[str]) -> Mapping[str, Subject]:
    """The hospital's subjects by pseudonym, with what decides whether their exemplars may leave.

    Raises `DataError` where the policy names a consent column that is not there.
    """
    column = site.policy.consent_column
    folder = site.data.folder if site.data.folder.is_dir() else site.data.folder.parent
    consent = read_consent(Path(folder) / PARTICIPANTS, column) if column else {}
    names = {case.subject for case in hospital.training + hospital.test}
    return {
        (known := hospital.pseudonym(name)): Subject(
            name=name,
            consent=consent.get(_bids(name)),
            withdrawn=known in hospital.withdrawn,
            sent=known in sent,
        )
        for name in names
    }


def _bids(name: str) -> str:
    return "sub-" + name.removeprefix("sub-")


def may_be_chosen(custody: Custody, subjects: Mapping[str, Subject]) -> frozenset[str]:
    """Pseudonyms of the subjects whose exemplars are worth cutting out.

    Where as many subjects were shared as ever may be, over all runs, only they are chosen again.
    """
    free = frozenset(known for known, subject in subjects.items() if not why_barred(custody.policy, subject))
    sent = frozenset(known for known, subject in subjects.items() if subject.sent)
    return free & sent if len(sent) >= custody.policy.subjects else free


def contribute(
    place: Place, hospital: Hospital, trained: TrainedStage, task: TrainTask, settings: Settings, outlook: Outlook
) -> Contribution | None:
    """Exemplars of the hospital's own, as its policy lets them leave; None where nothing does."""
    custody = place.custody
    if not custody.policy.share_exemplars:
        say(f"{custody.center}: no exemplar leaves: share-exemplars is false")
        return None
    subjects = subjects_of(place.site, hospital, custody.sent_before())
    allowed = may_be_chosen(custody, subjects)
    candidates = [(case, volume) for case, volume in trained.volumes if hospital.pseudonym(case.subject) in allowed]
    budget = min(task.budget, custody.policy.nbytes)
    chosen = choose(hospital, candidates, settings, budget, custody.policy.subjects, trained.annotated)
    return wrap(custody, release_exemplars(custody, chosen, subjects, outlook), task, outlook)


def reply_of(
    trained: TrainedStage, place: Place, hospital: Hospital, task: TrainTask, settings: Settings, outlook: Outlook
) -> TrainReply:
    """What a stage reached, with the hospital's contribution where one is asked for."""
    started = time.perf_counter()
    given = contribute(place, hospital, trained, task, settings, outlook) if task.contribute else None
    seconds = trained.figures.seconds + time.perf_counter() - started
    return TrainReply(trained.weights, given, trained.figures.model_copy(update={"seconds": seconds}), trained.state)


def release_exemplars(
    custody: Custody, exemplars: tuple[Exemplar, ...], subjects: Mapping[str, Subject], outlook: Outlook
) -> Release:
    """What the policy lets leave of the chosen exemplars."""
    request = Request(outlook.recipients, custody.sealed, custody.clock())
    released = release(custody.policy, exemplars, subjects, request)
    for reason in dict.fromkeys(released.withheld.values()):
        say(f"{custody.center}: {sum(why == reason for why in released.withheld.values())} exemplars stay: {reason}")
    for center, reason in released.refused.items():
        say(f"{custody.center}: nothing goes to {center}: {reason}")
    return released


def wrap(custody: Custody, released: Release, task: TrainTask, outlook: Outlook) -> Contribution | None:
    """The released exemplars as they leave; None where nothing does. Raises as `seal` does."""
    if not released.exemplars:
        return None
    if not released.sealed:
        return PlainContribution(released.exemplars)
    identities = tuple(identity for identity in outlook.identities if identity.center in released.recipients)
    visit = Visit(run=task.run, stage=task.stage, center=custody.center)
    terms = Terms(visit, identities, released.expires)
    return seal(released.exemplars, custody.own_keys(), custody.peers.check, terms)


def still_allowed(
    custody: Custody, site: Site, hospital: Hospital, task: TrainTask, given: Contribution | None
) -> Contribution | None:
    """What of a contribution may leave today; it may have been made, and kept, before policy or consent changed."""
    if given is None or not custody.policy.share_exemplars:
        return None
    allowed = {custody.center, *custody.policy.centers}
    if isinstance(given, SealedContribution):
        if given.manifest.claims.expiry <= custody.clock() or set(given.recipients) - allowed:
            return None
    elif not custody.policy.allow_unsealed or set(task.later) - allowed:
        return None
    subjects = subjects_of(site, hospital, frozenset())
    left = given.without({known for known in given.subjects if _barred(custody.policy, subjects.get(known))})
    return left if left.subjects else None


def _barred(policy: Policy, subject: Subject | None) -> bool:
    """Whether a subject's exemplars stay; those of one that the data no longer have do."""
    return subject is None or why_barred(policy, subject) is not None


def leaving(reply: TrainReply, custody: Custody, site: Site, hospital: Hospital, task: TrainTask) -> TrainReply:
    """The reply as it may leave today, once that is in the audit log. Raises `RecordError`: then nothing may."""
    given = still_allowed(custody, site, hospital, task, reply.contribution)
    note_sent(custody, task, given, reply)
    figures = reply.figures.model_copy(update={"withdrawn": hospital.card.withdrawn})
    return replace(reply, contribution=given, figures=figures)


def note_sent(custody: Custody, task: TrainTask, given: Contribution | None, reply: TrainReply) -> None:
    """Write into the audit log what is about to leave. Raises `RecordError`: then nothing may."""
    parts = {f"{part} of its parameters": weights for part, weights in reply.state.items()}
    for message, weights in ({"trained model": reply.weights} | parts).items():
        custody.note("sent", Facts(message=message, run=task.run, stage=task.stage, size=nbytes(weights)))
    if given is None:
        return
    sealed = isinstance(given, SealedContribution)
    recipients = given.recipients if isinstance(given, SealedContribution) else task.later
    facts = Facts(
        message=EXEMPLARS,
        run=task.run,
        stage=task.stage,
        centers=tuple(center for center in recipients if center != custody.center),
        size=given.nbytes,
        checksums=tuple(given.payloads),
        subjects=tuple(dict.fromkeys(given.subjects)),
        reason="" if sealed else "not sealed: the coordinator sees them",
    )
    custody.note("sent", facts)

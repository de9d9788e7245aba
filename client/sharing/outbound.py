"""What goes out after a stage: a contribution is chosen, released and wrapped up, and what leaves is written down."""

import time
from dataclasses import replace

from client.governance.hash_chain import Facts
from client.governance.policy import Policy, Subject, why_barred
from client.governance.release import Release
from client.governance.tasks import MODEL
from client.hospital.center import Hospital
from client.hospital.config import Site
from client.hospital.trust import EXEMPLARS, Custody, Place
from client.sharing.eligibility import may_be_chosen, subjects_of
from client.sharing.exemplar_selection import Choosing, at_random, choose, release_chosen, unchanged
from client.sharing.lesion_aware import by_lesions
from client.sharing.recipients import Outlook
from client.training.stage import TrainedStage
from shared.config.settings import Settings
from shared.log import say
from shared.model.weights import nbytes
from shared.replay.contribution import Contribution, PlainContribution
from shared.replay.manifest import SealedContribution, Visit
from shared.replay.sealing import Terms, seal
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainReply


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
    chosen = choose(hospital, candidates, settings, budget, custody.policy.subjects, _choosing(trained, settings))
    released = release_chosen(custody, chosen, subjects, outlook)
    return _wrap(custody, released, task, outlook)


def _choosing(trained: TrainedStage, settings: Settings) -> Choosing:
    """How the stage's exemplars are made, by the model that it trained."""
    lesion_aware = settings.memory.exemplar_choice == "lesion-aware"
    return Choosing(
        by_lesions(trained.network, settings.exemplar_voxels) if lesion_aware else at_random,
        (lambda one: trained.method.annotate(one, trained.network)) if settings.run.spec.carries else unchanged,
    )


def reply_of(
    trained: TrainedStage, place: Place, hospital: Hospital, task: TrainTask, settings: Settings, outlook: Outlook
) -> TrainReply:
    """What a stage reached, with the hospital's contribution where one is asked for."""
    started = time.perf_counter()
    given = contribute(place, hospital, trained, task, settings, outlook) if task.contribute else None
    seconds = trained.figures.seconds + time.perf_counter() - started
    return TrainReply(trained.weights, given, trained.figures.model_copy(update={"seconds": seconds}), trained.state)


def _wrap(custody: Custody, released: Release, task: TrainTask, outlook: Outlook) -> Contribution | None:
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
    subjects = subjects_of(site, hospital, {})
    left = given.without({known for known in given.subjects if _barred(custody.policy, subjects.get(known))})
    return left if left.subjects else None


def _barred(policy: Policy, subject: Subject | None) -> bool:
    """Whether a subject's exemplars stay; those of one that the data no longer have do."""
    return subject is None or why_barred(policy, subject) is not None


def leaving(reply: TrainReply, custody: Custody, site: Site, hospital: Hospital, task: TrainTask) -> TrainReply:
    """The reply as it may leave today, once that is in the audit log. Raises `RecordError`: then nothing may."""
    given = still_allowed(custody, site, hospital, task, reply.contribution)
    note_sent(custody, task, given, reply)
    figures = reply.figures.model_copy(update={"withdrawn": custody.to_drop(hospital)})
    return replace(reply, contribution=given, figures=figures)


def note_sent(custody: Custody, task: TrainTask, given: Contribution | None, reply: TrainReply) -> None:
    """Write into the audit log what is about to leave. Raises `RecordError`: then nothing may."""
    parts = {f"{part} of its parameters": weights for part, weights in reply.state.items()}
    for message, weights in ({MODEL: reply.weights} | parts).items():
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

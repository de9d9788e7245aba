"""What goes out after a stage: a contribution is chosen, released and wrapped up, and what leaves is written down."""

import time
from dataclasses import replace
from datetime import timedelta

from client.governance.hash_chain import Facts
from client.governance.policy import Policy, Subject, why_barred
from client.governance.release import Release
from client.governance.tasks import MODEL
from client.hospital.center import Hospital
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
from shared.replay.exemplar import Exemplar
from shared.replay.manifest import SealedContribution, Visit
from shared.replay.sealing import Terms, seal
from shared.wire.headers import LogHead, TrainTask
from shared.wire.messages import TrainReply, TrainRequest


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
    return _wrap(custody, hospital, released, task, outlook)


def _choosing(trained: TrainedStage, settings: Settings) -> Choosing:
    """How the stage's exemplars are made, by the model that it trained."""
    lesion_aware = settings.memory.exemplar_choice == "lesion-aware"
    return Choosing(
        by_lesions(trained.network, settings.exemplar_voxels) if lesion_aware else at_random,
        (lambda one: trained.method.annotate(one, trained.network)) if settings.run.spec.carries else unchanged,
    )


def reply_of(
    trained: TrainedStage, place: Place, hospital: Hospital, request: TrainRequest, settings: Settings, outlook: Outlook
) -> TrainReply:
    """What a stage reached, signed, with the hospital's contribution where one is asked for."""
    started, task = time.perf_counter(), request.task
    given = contribute(place, hospital, trained, task, settings, outlook) if task.contribute else None
    seconds = trained.figures.seconds + time.perf_counter() - started
    figures = trained.figures.model_copy(update={"seconds": seconds})
    signed = place.custody.sign(request, trained.weights, trained.state)
    return TrainReply(trained.weights, given, figures, trained.state, signed)


def _wrap(
    custody: Custody, hospital: Hospital, released: Release, task: TrainTask, outlook: Outlook
) -> Contribution | None:
    """The released exemplars as they leave, named as the run does; None where nothing does. Raises as `seal` does."""
    if not released.exemplars:
        return None
    exemplars = tuple(_named(one, hospital) for one in released.exemplars)
    if not released.sealed:
        return PlainContribution(exemplars)
    identities = tuple(identity for identity in outlook.identities if identity.center in released.recipients)
    visit = Visit(run=task.run, stage=task.stage, center=custody.center)
    terms = Terms(visit, identities, released.expires)
    return seal(exemplars, custody.own_keys(), custody.peers.check, terms)


def _named(exemplar: Exemplar, hospital: Hospital) -> Exemplar:
    subject = hospital.outside[exemplar.provenance.subject]
    return replace(exemplar, provenance=exemplar.provenance.model_copy(update={"subject": subject}))


def still_allowed(place: Place, hospital: Hospital, task: TrainTask, given: Contribution | None) -> Contribution | None:
    """What of a contribution may leave now; it may have been made, and kept, before policy or consent changed.

    `place` and `hospital` are as they are now.
    """
    if given is None:
        return None
    subjects = {hospital.outside[known]: one for known, one in subjects_of(place.site, hospital, {}).items()}
    left = given.without({known for known in given.subjects if _barred(place.custody.policy, subjects.get(known))})
    if not left.subjects:
        return None
    if reason := _why_all_stay(place.custody, hospital, left, task):
        say(f"{hospital.center}: no exemplar leaves: {reason}")
        return None
    return left


def _barred(policy: Policy, subject: Subject | None) -> bool:
    """Whether a subject's exemplars stay; those of one that the data no longer have do."""
    return subject is None or why_barred(policy, subject) is not None


def _why_all_stay(custody: Custody, hospital: Hospital, given: Contribution, task: TrainTask) -> str:
    """Why nothing of a contribution may leave under the policy and pins of now; empty where it may."""
    policy = custody.policy
    if not policy.share_exemplars:
        return "share-exemplars is false"
    if isinstance(given, SealedContribution):
        if problem := _sealed_too_widely(custody, given):
            return problem
        recipients, size = given.recipients, given.exemplar_bytes
    elif not policy.allow_unsealed:
        return "they are not sealed, and allow-unsealed is false"
    else:
        recipients, size = task.later, given.nbytes
    if others := sorted(set(recipients) - {custody.center, *policy.centers}):
        return f"{', '.join(others)} could open them, and the policy's centers do not name it"
    if size > policy.nbytes:
        return f"they are beyond {policy.megabytes:g} MB"
    if len({*custody.sent_before(), *_known(hospital, given)}) > policy.subjects:
        return f"they are beyond the {policy.subjects} subjects that may ever leave"
    return ""


def _sealed_too_widely(custody: Custody, given: SealedContribution) -> str:
    """Why a sealed contribution can be opened by too many or for too long, by the policy and pins of now."""
    now, until = custody.clock(), given.manifest.claims.expiry
    if until <= now:
        return f"they expired on {until:%Y-%m-%d}"
    if until > now + timedelta(days=custody.policy.expiry_days):
        return f"they could be opened until {until:%Y-%m-%d}, beyond expiry-days"
    for recipient in given.manifest.claims.recipients:
        pinned = custody.peers.fingerprints.get(recipient.center)
        if recipient.center != custody.center and recipient.fingerprint != pinned:
            return f"they are sealed for a key of {recipient.center} that is not pinned any more"
    return ""


def _known(hospital: Hospital, given: Contribution) -> tuple[str, ...]:
    """Whose exemplars a contribution has, as the hospital knows them."""
    known = {name: one for one, name in hospital.outside.items()}
    return tuple(dict.fromkeys(known[name] for name in given.subjects))


def leaving(reply: TrainReply, place: Place, hospital: Hospital, task: TrainTask, settings: Settings) -> TrainReply:
    """The reply as it may leave now, once that is in the audit log; `place` and `hospital` were read again just now.

    Raises `PolicyError` where the model may not leave, or `RecordError`: then nothing may.
    """
    place.custody.check_role("train")
    place.custody.check_training(hospital, settings, task.rounds)
    given = still_allowed(place, hospital, task, reply.contribution)
    head = note_sent(place.custody, hospital, task, given, reply)
    figures = reply.figures.model_copy(update={"withdrawn": place.custody.to_drop(hospital), "log": head})
    return replace(reply, contribution=given, figures=figures)


def note_sent(
    custody: Custody, hospital: Hospital, task: TrainTask, given: Contribution | None, reply: TrainReply
) -> LogHead | None:
    """Write into the audit log what is about to leave, and whose it is, and say where it ends then.

    Raises `RecordError`: then nothing may leave.
    """
    head = None
    parts = {f"{part} of its parameters": weights for part, weights in reply.state.items()}
    for message, weights in ({MODEL: reply.weights} | parts).items():
        head = custody.note("sent", Facts(message=message, run=task.run, stage=task.stage, size=nbytes(weights)))
    if given is None:
        return head
    sealed = isinstance(given, SealedContribution)
    recipients = given.recipients if isinstance(given, SealedContribution) else task.later
    facts = Facts(
        message=EXEMPLARS,
        run=task.run,
        stage=task.stage,
        centers=tuple(center for center in recipients if center != custody.center),
        size=given.nbytes,
        checksums=tuple(given.payloads),
        subjects=_known(hospital, given),
        reason="" if sealed else "not sealed: the coordinator sees them",
    )
    return custody.note("sent", facts)

"""Which exemplars leave, for whom and until when: the policy, applied before anything is sent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from client.governance.policy import Policy, Subject, why_barred
from shared.methods import METHODS
from shared.replay.exemplar import Exemplar


@dataclass(frozen=True)
class Request:
    """What the coordinator asks for."""

    recipients: tuple[str, ...]
    """Centers that are to train on the exemplars."""
    sealed: bool
    """Whether the exemplars travel encrypted."""
    now: datetime


@dataclass(frozen=True)
class Release:
    """What leaves, and why the rest does not."""

    exemplars: tuple[Exemplar, ...]
    recipients: tuple[str, ...]
    """The centers that may open; nobody where nothing leaves."""
    expires: datetime
    sealed: bool
    withheld: Mapping[str, str]
    """The reason by pseudonym of each subject with an exemplar that stays."""
    refused: Mapping[str, str]
    """The reason by center that gets nothing."""


def release(
    policy: Policy, exemplars: Sequence[Exemplar], subjects: Mapping[str, Subject], request: Request
) -> Release:
    """Keep what the policy lets leave, in the given order.

    `subjects` are the hospital's own by pseudonym. An exemplar of none of them stays.
    """
    allowed = tuple(center for center in request.recipients if center in policy.centers)
    refused = {center: "not among the policy's centers" for center in request.recipients if center not in allowed}
    forbidden = _forbidden(policy, allowed, refused, request)
    kept: list[Exemplar] = []
    withheld: dict[str, str] = {}
    for exemplar in exemplars:
        pseudonym = exemplar.provenance.subject
        reason = forbidden or _why_not(policy, exemplar, subjects, kept)
        if reason is None:
            kept.append(exemplar)
        else:
            withheld[pseudonym] = reason
    expires = request.now + timedelta(days=policy.expiry_days)
    return Release(tuple(kept), allowed if kept else (), expires, request.sealed, withheld, refused)


@dataclass(frozen=True)
class AtMost:
    """How much leaves of what may, where that is not known yet."""

    exemplars: int
    nbytes: int


def describe(policy: Policy, released: Release, at_most: AtMost | None = None, tested: int | None = None) -> str:
    """What would leave, for the hospital to read before it agrees; with `at_most`, among what the model will choose.

    `tested` is how many subjects the hospital tests on.
    """
    lines = ["What would leave this hospital:"]
    if policy.role != "evaluate":
        lines.append("- the model, after training on this hospital's subjects")
        handed = " or ".join(name for name, spec in METHODS.items() if spec.state)
        lines.append(f"- in a run by {handed}, how much each parameter of the model matters to them")
    withheld = policy.why_withheld(tested) if tested is not None else ""
    if withheld and policy.role != "train":
        lines.append(f"- no test score: the hospital {withheld}, so that its cells of R stay open")
    elif policy.report_subject_scores:
        lines.append("- each test image's scores, under its subject's pseudonym")
    else:
        lines.append("- the mean of the test scores")
    if released.exemplars:
        people = len({e.provenance.subject for e in released.exemplars})
        size = sum(e.payload.nbytes for e in released.exemplars)
        names = ", ".join(released.recipients)
        sealing = f"sealed for {names}" if released.sealed else f"NOT sealed: the coordinator sees them, and {names}"
        what = f"{len(released.exemplars)} exemplars of {people} subjects, {size / 1e6:.1f} MB"
        if at_most is not None:
            what = (
                f"at most {at_most.exemplars} exemplars, one a subject, and {at_most.nbytes / 1e6:.1f} MB, among these "
                f"{len(released.exemplars)} of {people} subjects (the model that was trained here chooses)"
            )
        lines.append(f"- {what}, {sealing}, until {released.expires:%Y-%m-%d}")
    else:
        lines.append("- no exemplars")
    if released.withheld or released.refused:
        lines.append("What stays:")
    for reason, count in Counter(released.withheld.values()).items():
        lines.append(f"- exemplars of {count} subjects: {reason}")
    for center, reason in released.refused.items():
        lines.append(f"- nothing goes to {center}: {reason}")
    return "\n".join(lines)


def _forbidden(policy: Policy, allowed: tuple[str, ...], refused: Mapping[str, str], request: Request) -> str | None:
    """Why nothing at all leaves, if so."""
    if not policy.share_exemplars:
        return "share-exemplars is false"
    if not allowed:
        return "no center that is to train on them is among the policy's centers"
    if not request.sealed and not policy.allow_unsealed:
        return "they would not be sealed, and allow-unsealed is false"
    if not request.sealed and refused:
        # Unsealed, they are for the coordinator to hand to whom it likes.
        return f"they would not be sealed, and {', '.join(refused)} is not among the policy's centers"
    return None


def _why_not(
    policy: Policy, exemplar: Exemplar, subjects: Mapping[str, Subject], kept: Sequence[Exemplar]
) -> str | None:
    """Why this exemplar stays, after those that were kept."""
    pseudonym = exemplar.provenance.subject
    if pseudonym not in subjects:
        return "no subject of this hospital"
    if barred := why_barred(policy, subjects[pseudonym]):
        return barred
    if (edge := max(exemplar.provenance.shape) * exemplar.provenance.spacing) > policy.largest_crop_mm:
        return f"{edge:g} mm wide, above largest-crop-mm = {policy.largest_crop_mm:g}"
    if subjects[pseudonym].nbytes + exemplar.payload.nbytes > policy.megabytes_per_subject * 1e6:
        return f"beyond the {policy.megabytes_per_subject:g} MB of one subject that may ever leave"
    now = {e.provenance.subject for e in kept} | {pseudonym}
    # Over all runs: a coordinator could ask again and again, each time for others.
    ever = {name for name, subject in subjects.items() if subject.sent} | now
    if len(now) > policy.subjects or (not subjects[pseudonym].sent and len(ever) > policy.subjects):
        return f"beyond the {policy.subjects} subjects that may ever leave"
    if sum(e.payload.nbytes for e in kept) + exemplar.payload.nbytes > policy.nbytes:
        return f"beyond {policy.megabytes:g} MB"
    return None

"""What the coordinator refuses to accept from a center.

A sealed contribution it cannot look into: it checks what its manifest says, and that nothing was
changed; the hospitals that open it check the rest.
"""

from datetime import datetime

from shared.clock import utc_now
from shared.config.settings import Settings
from shared.errors import CenterError, SealError, TrustError
from shared.protocol.lineage import trained_claims
from shared.protocol.plan import RunPlan
from shared.replay import manifest
from shared.replay.contribution import Contribution, PlainContribution
from shared.trust.identity import Identity
from shared.wire.headers import CenterCard, TestFigures, TrainFigures, TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from shared.wire.validation import exemplars_problem, model_problem, state_problem


def inspect_reply(reply: TrainReply, request: TrainRequest, plan: RunPlan, card: CenterCard, simulated: bool) -> None:
    """Raise `CenterError`, naming the center, where a train reply is not what was asked for.

    `card` is what the center said at the roll call.
    """
    task, settings = request.task, plan.settings
    problem = model_problem(reply.weights, request.weights)
    problem = problem or state_problem(reply.state, settings.run.spec.state, request.weights)
    problem = problem or _signature_problem(reply, request, plan)
    if not problem and reply.contribution is not None:
        sealed = settings.memory.seals(simulated)
        problem = _contribution_problem(reply.contribution, task, settings, card.identity if sealed else None)
    if problem:
        raise CenterError(f"center {task.center} sent {problem}: refused; look at its client's log")


def _signature_problem(reply: TrainReply, request: TrainRequest, plan: RunPlan) -> str:
    """What is wrong with a model's signature, or nothing: the next hospital would refuse the model for it."""
    if not plan.protocol:
        return ""
    if reply.signed is None:
        return "a model without its signature"
    wanted = trained_claims(request, reply.weights, reply.state)
    if reply.signed.claims != wanted:
        return "a model whose signature is for another one, or for another stage"
    try:
        reply.signed.check(Identity.parse(plan.identities[request.task.center]))
    except TrustError:
        return "a model that is signed with another key than the protocol names"
    return ""


def figures_problem(figures: TrainFigures, card: CenterCard) -> str:
    """What is wrong with the figures by which a center's model is weighted, or nothing."""
    if figures.subjects > card.training_subjects:
        return f"a model of {figures.subjects} subjects, but it has {card.training_subjects} to train on"
    return ""


def tests_problem(figures: TestFigures, center: str, card: CenterCard) -> str:
    """What is wrong with the test scores of `center`, or nothing; `card` is what it said at the roll call."""
    if figures.center != center:
        return f"scores of center {figures.center}"
    # Several contrasts of one subject: one may be scored and another set aside.
    if (subjects := max(figures.subjects, sum(figures.set_aside.values()))) > card.test_subjects:
        return f"scores of {subjects} subjects, but it has {card.test_subjects} to test on"
    if foreign := sorted({case.contrast for case in figures.cases} - set(card.contrasts)):
        return f"scores of contrast {foreign[0]}, which it does not have"
    return ""


def _contribution_problem(given: Contribution, task: TrainTask, settings: Settings, identity: str | None) -> str:
    """What is wrong with a contribution, or nothing; `identity` is the sender's where it must be sealed."""
    most_subjects = settings.memory.memory_subjects
    if not task.contribute:
        return "exemplars that it was not asked for"
    if isinstance(given, PlainContribution):
        if identity is not None:
            return "exemplars that are not sealed"
        if foreign := {e.provenance.center for e in given.exemplars} - {task.center}:
            return f"exemplars of {', '.join(sorted(foreign))}"
    elif identity is None:
        return "sealed exemplars, but this run does not seal"
    elif given.manifest.claims.sender != identity:
        return "exemplars that are signed with another key than it showed at the roll call"
    if len(set(given.subjects)) != len(given.subjects) or len(given.subjects) > most_subjects:
        return f"{len(given.subjects)} exemplars, but one from each of at most {most_subjects} subjects was asked for"
    if isinstance(given, PlainContribution):
        if given.nbytes > task.budget:
            return f"exemplars of {given.nbytes} bytes, but {task.budget} were allowed"
        return exemplars_problem(given.exemplars, settings)
    visit = manifest.Visit(run=task.run, stage=task.stage, center=task.center)
    try:
        check_sealed(given, visit, utc_now(), subjects=most_subjects, budget=task.budget)
    except SealError as error:
        return f"what cannot be taken ({error})"
    return ""


def check_sealed(
    sealed: manifest.SealedContribution, visit: manifest.Visit, now: datetime, *, subjects: int, budget: int
) -> None:
    """Check a contribution that came in: its visit, signature, payloads, subjects and bytes.

    The signature is checked with the key that the manifest names; only a hospital's pins say
    whose key that is. `budget` counts exemplars' bytes before sealing. Raises `SealError`.
    """
    manifest.verify(sealed, visit, now)
    center = visit.center
    sent = len({entry.subject for entry in sealed.present})
    if sent > subjects:
        raise SealError(f"{center} sent exemplars of {sent} subjects where {subjects} are allowed: refused")
    if sealed.exemplar_bytes > budget:
        raise SealError(
            f"{center} sent {sealed.exemplar_bytes} bytes of exemplars where {budget} are allowed: refused; "
            "raise memory-megabytes, or let it send fewer"
        )

"""Whose model it is: what a hospital signs of the one that it trained, and what must be signed of the one that came."""

from pathlib import Path

import torch

from shared.config.groups import FRESH
from shared.config.settings import Settings
from shared.errors import MessageError, SettingsError, TrustError
from shared.model.network import initial_weights
from shared.model.start import check_digest, read_start
from shared.model.weights import State, Weights, digest_of, model_digest
from shared.protocol.plan import Origin, RunPlan
from shared.seeds import derive_seed
from shared.trust.identity import Identity, Pin
from shared.trust.signed_model import ModelClaims, SignedModel
from shared.wire.messages import EvaluateRequest, TrainRequest


def first_weights(settings: Settings) -> Weights:
    """The network that a run begins with: drawn by its seed, or the model that its settings name.

    Raises `SettingsError` where that is not where `start` says, and `ResultsError` where its file cannot be read.
    """
    run = settings.run
    if not run.start_digest and run.start == FRESH:
        return initial_weights(settings.network, derive_seed(run.seed, "network"))
    if not run.start_digest or not Path(run.start).is_absolute():
        raise SettingsError(
            f"start = {run.start!r} with start-digest = {run.start_digest!r}: start must be the path of the model that "
            "start-digest names; begin the run by 'wardround run -c start=...', which fills in both"
        )
    weights = read_start(Path(run.start), settings)
    check_digest(weights, settings)
    return weights


def trained_claims(request: TrainRequest, weights: Weights, state: State) -> ModelClaims:
    """What the hospital that was asked for a stage says of the model that it trained."""
    task, origin = request.task, request.origin
    return ModelClaims(
        protocol=task.protocol,
        run=task.run,
        stage=task.stage,
        center=task.center,
        model=model_digest(weights),
        state=digest_of(state),
        parent=None if origin is None else origin.claims.model,
    )


def check_training_model(request: TrainRequest, plan: RunPlan, pin: Pin) -> None:
    """See that the model to train on is the one that the course says.

    It was drawn by the seed or is named by its digest, or it was trained and signed. What comes with a round is an
    average, which nobody can sign: whether that may be trained on, the hospital's policy says. `pin` knows the
    hospitals. Raises `MessageError` or `TrustError`.
    """
    stage = plan.stage(request.task.stage)
    if stage.start == "initial":
        _check_first(request, plan)
    elif (origin := plan.origin(stage.index - 1)) is not None:
        _check_signed(request.origin, origin, request.weights, request.state, plan, pin)


def check_tested_model(request: EvaluateRequest, plan: RunPlan, pin: Pin) -> None:
    """See that the model to test is the one after the stage, as its hospital signed it; or as for training."""
    if (origin := plan.origin(request.task.stage)) is not None:
        _check_signed(request.origin, origin, request.weights, None, plan, pin)


def _check_first(request: TrainRequest, plan: RunPlan) -> None:
    if digest := plan.settings.run.start_digest:
        if model_digest(request.weights) != digest or request.origin is not None:
            raise MessageError(
                f"the first model is not the one of SHA-256 {digest[:16]}, with which the run begins: refused"
            )
        return
    drawn = first_weights(plan.settings)
    same = request.weights.keys() == drawn.keys() and all(
        torch.equal(request.weights[name], value) for name, value in drawn.items()
    )
    if not same or request.origin is not None:
        raise MessageError(
            f"the first model is not the one that seed {plan.settings.run.seed} draws: refused; where nobody changed "
            "it, coordinator and hospital run other versions of torch"
        )


def _check_signed(
    signed: SignedModel | None, origin: Origin, weights: Weights, state: State | None, plan: RunPlan, pin: Pin
) -> None:
    """`state` is None where only the model came."""
    where = f"the model that {origin.center} trained at stage {origin.stage + 1} of run {origin.run[:8]}"
    if signed is None:
        raise TrustError(*_both(f"{where} came without its signature: refused"))
    claims = signed.claims
    said = Origin(claims.protocol, claims.run, claims.stage, claims.center)
    if said != origin:
        raise TrustError(
            *_both(
                f"{where} was asked for, but what came is signed as that of {said.center} at stage {said.stage + 1} of "
                f"run {said.run[:8]}: refused"
            )
        )
    identity = Identity.parse(plan.identities[origin.center])
    pin(identity)
    signed.check(identity)
    if claims.model != model_digest(weights) or (state is not None and claims.state != digest_of(state)):
        raise TrustError(*_both(f"{where} was changed since it was signed: refused"))


def _both(problem: str) -> tuple[str, str]:
    """The same for the hospital and for the coordinator: it names nothing of the hospital's."""
    return problem, problem

"""A model is trained on, and tested, only where the hospital that the course names has signed it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from client.governance.pinned_keys import Peers
from shared.config.settings import Settings
from shared.errors import MessageError, SettingsError, TrustError
from shared.model.model_file import model_bytes
from shared.model.weights import Weights, model_digest
from shared.paths import MODEL
from shared.protocol.document import Ancestor
from shared.protocol.lineage import check_tested_model, check_training_model, first_weights, trained_claims
from shared.protocol.plan import Origin, RunPlan, number_of, plan_of, plan_of_run
from shared.trust.identity import Keys
from shared.trust.signed_model import SignedModel
from shared.wire.messages import EvaluateRequest, TrainRequest
from tests.support.approved import protocol_of, signed_by

KEYS = {center: Keys.generate(center) for center in ("milan", "ucsf", "amu")}
PIN = Peers.of({center: str(keys.identity) for center, keys in KEYS.items()}, "a test").check


@pytest.fixture
def plan(run_config: dict[str, Any]) -> RunPlan:
    return plan_of(protocol_of(run_config, KEYS), 0, run_config)


@pytest.fixture
def model(plan: RunPlan) -> Weights:
    return first_weights(plan.settings)


def flipped(weights: Weights) -> Weights:
    """The model with the lowest bit of one number changed."""
    changed = {name: value.clone() for name, value in weights.items()}
    name = next(name for name, value in changed.items() if value.numel() > 1)
    number = changed[name].view(-1)[:1].view(torch.int32)
    number ^= 1
    return changed


def training(plan: RunPlan, stage: int, weights: Weights, signed: SignedModel | None, **state: Weights) -> TrainRequest:
    return TrainRequest(plan.train_task(stage, plan.order[stage]), weights, (), state, signed)


def test_a_run_begins_with_the_model_that_its_seed_draws(plan: RunPlan, model: Weights) -> None:
    check_training_model(training(plan, 0, model, None), plan, PIN)
    other = replace(plan, settings=plan.settings.with_changes({"seed": 5}))
    for weights, signed in (
        (flipped(model), None),
        (first_weights(other.settings), None),
        (model, signed_by(KEYS["milan"], plan, 0, model)),
    ):
        with pytest.raises(MessageError, match="the first model is not the one that seed 0 draws"):
            check_training_model(training(plan, 0, weights, signed), plan, PIN)


def test_a_run_may_begin_with_a_model_that_its_protocol_names(run_config: dict[str, Any], model: Weights) -> None:
    given = {name: value + 1 for name, value in model.items()}
    begun = plan_of(protocol_of(run_config | {"start-digest": model_digest(given)}, KEYS), 0, run_config)
    check_training_model(training(begun, 0, given, None), begun, PIN)
    for weights, signed in (
        (flipped(given), None),
        (model, None),
        (given, signed_by(KEYS["milan"], begun, 0, given)),
    ):
        with pytest.raises(MessageError, match=f"is not the one of SHA-256 {model_digest(given)[:16]}"):
            check_training_model(training(begun, 0, weights, signed), begun, PIN)


def test_the_first_model_is_read_where_start_says_and_is_the_one_that_was_named(
    run_config: dict[str, Any], model: Weights, tmp_path: Path
) -> None:
    given = {name: value + 1 for name, value in model.items()}
    settings = Settings.from_run_config(run_config)
    (tmp_path / MODEL).write_bytes(model_bytes(given, settings))
    named = settings.with_changes({"start": str(tmp_path / MODEL), "start-digest": model_digest(given)})
    assert model_digest(first_weights(named)) == model_digest(given)
    with pytest.raises(SettingsError, match="but the run begins with start-digest = 'aaaa"):
        first_weights(named.with_changes({"start-digest": "a" * 64}))
    for changes in ({"start": "fresh"}, {"start": "pretrained"}, {"start-digest": ""}):
        with pytest.raises(SettingsError, match="start must be the path of the model that start-digest names"):
            first_weights(named.with_changes(changes))


def test_a_later_stage_begins_with_what_the_hospital_before_signed(plan: RunPlan, model: Weights) -> None:
    signed = signed_by(KEYS["milan"], plan, 0, model)
    check_training_model(training(plan, 1, model, signed), plan, PIN)
    check_tested_model(EvaluateRequest(plan.evaluate_task(0, "amu"), model, signed), plan, PIN)


WRONG: dict[str, tuple[Any, str]] = {
    "unsigned": (lambda plan, model: None, "came without its signature"),
    "signed by the wrong hospital": (
        lambda plan, model: signed_by(KEYS["ucsf"], plan, 0, model),
        "is signed as that of ucsf",
    ),
    "of another stage": (lambda plan, model: signed_by(KEYS["milan"], plan, 1, model), "at stage 2 of run"),
    "of another run": (
        lambda plan, model: signed_by(KEYS["milan"], replace(plan, run="c" * 32), 0, model),
        "of run cccccccc",
    ),
    "of another protocol": (
        lambda plan, model: signed_by(KEYS["milan"], replace(plan, protocol="d" * 64), 0, model),
        "is signed as that of milan",
    ),
    "of another model": (lambda plan, model: signed_by(KEYS["milan"], plan, 0, flipped(model)), "was changed since"),
    "by a key that poses as the hospital's": (
        lambda plan, model: signed_by(Keys.generate("milan"), plan, 0, model),
        "does not bear its signature",
    ),
    "with claims that were changed": (
        lambda plan, model: SignedModel(
            claims=signed_by(KEYS["milan"], plan, 0, model).claims,
            signature=signed_by(KEYS["milan"], plan, 0, flipped(model)).signature,
        ),
        "does not bear its signature",
    ),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_model_that_is_not_the_signed_one_is_refused(plan: RunPlan, model: Weights, how: str) -> None:
    make, said = WRONG[how]
    with pytest.raises(TrustError, match=said):
        check_training_model(training(plan, 1, model, make(plan, model)), plan, PIN)
    with pytest.raises(TrustError, match=said):
        check_tested_model(EvaluateRequest(plan.evaluate_task(0, "amu"), model, make(plan, model)), plan, PIN)


def test_what_goes_on_beside_the_model_is_signed_too(plan: RunPlan, model: Weights) -> None:
    signed = signed_by(KEYS["milan"], plan, 0, model, {"importance": model})
    check_training_model(training(plan, 1, model, signed, importance=model), plan, PIN)
    for state in ({}, {"importance": flipped(model)}, {"other": model}):
        with pytest.raises(TrustError, match="was changed since it was signed"):
            check_training_model(training(plan, 1, model, signed, **state), plan, PIN)


def test_a_key_that_is_no_longer_pinned_signs_no_model(plan: RunPlan, model: Weights) -> None:
    pin = Peers.of({"milan": Keys.generate("milan").identity.fingerprint}, "a test").check
    with pytest.raises(TrustError, match="the key of milan was swapped"):
        check_training_model(training(plan, 1, model, signed_by(KEYS["milan"], plan, 0, model)), plan, pin)


def test_a_run_that_goes_on_takes_earlier_models_from_the_run_before(plan: RunPlan, model: Weights) -> None:
    first, second = (Ancestor(protocol=p * 64, run=r * 32, stages=n) for p, r, n in (("a", "b", 1), ("c", "d", 2)))
    longer = replace(plan, lineage=(first, second))
    assert [longer.origin(stage) for stage in range(3)] == [
        Origin("a" * 64, "b" * 32, 0, "milan"),
        Origin("c" * 64, "d" * 32, 1, "ucsf"),
        Origin(plan.protocol, plan.run, 2, "amu"),
    ]
    assert longer.runs == (plan.run, "d" * 32, "b" * 32)
    before = replace(plan, protocol="c" * 64, run="d" * 32)
    check_training_model(training(longer, 2, model, signed_by(KEYS["ucsf"], before, 1, model)), longer, PIN)
    with pytest.raises(TrustError, match="was asked for, but what came is signed as that of ucsf"):
        check_training_model(training(longer, 2, model, signed_by(KEYS["ucsf"], plan, 1, model)), longer, PIN)


def test_an_average_is_nobody_s_to_sign(run_config: dict[str, Any]) -> None:
    rounds = plan_of(protocol_of(run_config | {"method": "fedavg"}, KEYS), 0, run_config)
    assert [rounds.origin(stage) for stage in range(len(rounds.course))] == [None, None]
    first = TrainRequest(rounds.train_task(0, "ucsf"), flipped(first_weights(rounds.settings)), ())
    with pytest.raises(MessageError, match="is not the one that seed"):
        check_training_model(first, rounds, PIN)


def test_a_model_s_parent_is_named(plan: RunPlan, model: Weights) -> None:
    signed = signed_by(KEYS["milan"], plan, 0, model)
    assert signed.claims.parent is None
    claims = trained_claims(training(plan, 1, model, signed), flipped(model), {})
    assert claims.parent == signed.claims.model != claims.model


def test_a_run_is_known_by_its_name_and_by_its_settings(run_config: dict[str, Any]) -> None:
    two = protocol_of(run_config, KEYS).model_copy(update={"runs": ({"seed": "1"}, {"seed": "2"})})
    plan = plan_of_run(two, two.run_name(1), run_config)
    assert plan.settings.run.seed == 2 and number_of(two, plan.settings) == 1
    with pytest.raises(MessageError, match="run 00000000 is none of the 2 that protocol"):
        plan_of_run(two, "0" * 32, run_config)
    with pytest.raises(SettingsError, match=r"has other settings \(.*seed = 7 here, 2 there"):
        number_of(two, plan.settings.with_changes({"seed": 7}))

"""Inspection: a train reply that breaks one rule is refused, and its center is named."""

import tomllib
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch

from server import reply_validation
from server.journal.records import mean_dice
from server.reply_validation import check_sealed, inspect_reply
from shared.clock import utc_now
from shared.config.settings import Settings
from shared.errors import CenterError, SealError
from shared.metrics.scores import mean_scores
from shared.model.weights import Weights
from shared.protocol.lineage import trained_claims
from shared.protocol.plan import RunPlan
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.replay.manifest import SealedContribution, Visit
from shared.replay.sealing import Terms, seal
from shared.trust.identity import Keys
from shared.trust.signed_model import SignedModel
from shared.wire.headers import CenterCard, TestFigures, TrainFigures, TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from tests.conftest import ROOT
from tests.support import sealed as crops
from tests.support.scored import case_score

SENT: Weights = {"down.weight": torch.zeros(2, 3), "up.bias": torch.zeros(4)}
MOST = 3
"""Subjects that may contribute."""


def exemplar(subject: str, center: str = "milan") -> Exemplar:
    image = np.random.default_rng(0).random((16, 16, 16), dtype=np.float32)
    return Exemplar.encode(image, image, center=center, subject=subject, contrast="FLAIR", spacing=4.0)


with (ROOT / "pyproject.toml").open("rb") as pyproject, (ROOT / "scenarios" / "smoke.toml").open("rb") as smoke:
    CONFIG = tomllib.load(pyproject)["tool"]["flwr"]["app"]["config"] | tomllib.load(smoke)
SETTINGS = Settings.from_run_config(CONFIG | {"memory-subjects": MOST})


def giving(*exemplars: Exemplar) -> TrainReply:
    """The reply with these exemplars."""
    return replace(REPLY, contribution=PlainContribution(exemplars))


GIVEN = (exemplar("a"), exemplar("b"))
REPLY = TrainReply(
    weights={name: value + 1 for name, value in SENT.items()},
    contribution=PlainContribution(GIVEN),
    figures=TrainFigures(steps=1, subjects=2, final_loss=0.5, seconds=1.0, compute_seconds=0.5),
)
TASK = TrainTask(run="0" * 32, stage=1, center="milan", contribute=True, budget=sum(e.payload.nbytes for e in GIVEN))

CARD = CenterCard(center="milan", training_subjects=2, test_subjects=2, contrasts=("FLAIR",), fingerprint="f")


def accept(reply: TrainReply, task: TrainTask = TASK, card: CenterCard = CARD, simulated: bool = True) -> None:
    plan = RunPlan(task.run, SETTINGS, ("milan", "ucsf"), {})
    inspect_reply(reply, TrainRequest(task, SENT, ()), plan, card, simulated)


def refusal(reply: TrainReply, task: TrainTask = TASK) -> str:
    with pytest.raises(CenterError, match=r"center milan sent .*: refused") as caught:
        accept(reply, task)
    return str(caught.value)


def model(**changed: torch.Tensor) -> TrainReply:
    """The reply with some parameters changed; `up__bias` is up.bias."""
    new = {name.replace("__", "."): value for name, value in changed.items()}
    return replace(REPLY, weights=REPLY.weights | new)


def test_what_was_asked_for_is_accepted() -> None:
    accept(REPLY)
    accept(replace(REPLY, contribution=None))
    silent = TASK.model_copy(update={"contribute": False, "budget": 0})
    accept(replace(REPLY, contribution=None), silent)
    with pytest.raises(CenterError):
        accept(REPLY, silent)


KEYS = Keys.generate("milan")
APPROVED = RunPlan(TASK.run, SETTINGS, ("milan", "ucsf"), {"milan": str(KEYS.identity)}, "a" * 64)
"""As a protocol has it that hospitals approved."""
ASKED = TrainRequest(TASK.model_copy(update={"protocol": APPROVED.protocol}), SENT, ())


def signed(request: TrainRequest = ASKED, keys: Keys = KEYS, **changed: torch.Tensor) -> TrainReply:
    """The reply, signed as the answer to a request and for the model with some parameters changed."""
    claims = trained_claims(request, model(**changed).weights, {})
    return replace(REPLY, signed=SignedModel.sign(claims, keys))


def test_a_model_that_its_hospital_signed_is_accepted() -> None:
    inspect_reply(signed(), ASKED, APPROVED, CARD, True)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (REPLY, "a model without its signature"),
        (signed(up__bias=torch.ones(4) * 2), "a model whose signature is for another one, or for another stage"),
        (
            signed(replace(ASKED, task=ASKED.task.model_copy(update={"stage": 0}))),
            "a model whose signature is for another one, or for another stage",
        ),
        (signed(keys=Keys.generate("milan")), "a model that is signed with another key than the protocol names"),
    ],
    ids=["none", "another model", "another stage", "another key"],
)
def test_a_model_that_the_next_hospital_would_refuse_for_its_signature(reply: TrainReply, said: str) -> None:
    with pytest.raises(CenterError, match=f"center milan sent {said}: refused"):
        inspect_reply(reply, ASKED, APPROVED, CARD, True)


def test_a_model_that_lacks_a_parameter() -> None:
    assert "up.bias" in refusal(replace(REPLY, weights={"down.weight": REPLY.weights["down.weight"]}))


def test_a_model_with_a_parameter_too_many() -> None:
    assert "extra.weight" in refusal(model(extra__weight=torch.zeros(1)))


@pytest.mark.parametrize("shape", [(5,), (1, 4), (2, 2), ()])
def test_a_parameter_of_another_shape(shape: tuple[int, ...]) -> None:
    said = refusal(model(up__bias=torch.zeros(shape)))
    assert f"up.bias of shape {shape} instead of (4,)" in said


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int32])
def test_a_parameter_of_another_type(dtype: torch.dtype) -> None:
    said = refusal(model(up__bias=torch.zeros(4, dtype=dtype)))
    assert "up.bias" in said
    assert str(dtype).removeprefix("torch.") in said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_parameter_that_is_not_finite(value: float) -> None:
    assert "NaN or infinity in up.bias" in refusal(model(up__bias=torch.tensor([0.0, 0.0, value, 0.0])))


def test_exemplars_that_nobody_asked_for() -> None:
    assert "not asked for" in refusal(REPLY, TASK.model_copy(update={"contribute": False}))


def test_exemplars_of_another_center() -> None:
    assert "exemplars of amu" in refusal(giving(exemplar("a"), exemplar("b", "amu")))


def test_two_exemplars_of_one_subject() -> None:
    said = refusal(giving(exemplar("a"), exemplar("a")))
    assert "2 exemplars, but one from each of at most 3 subjects" in said


def test_exemplars_of_too_many_subjects() -> None:
    four = tuple(exemplar(subject) for subject in "abcd")
    enough = TASK.model_copy(update={"budget": 10 * TASK.budget})
    assert "4 exemplars, but one from each of at most 3 subjects" in refusal(giving(*four), enough)
    accept(giving(*four[:MOST]), enough)


def test_exemplars_beyond_their_budget() -> None:
    said = refusal(REPLY, TASK.model_copy(update={"budget": TASK.budget - 1}))
    assert f"exemplars of {TASK.budget} bytes, but {TASK.budget - 1} were allowed" in said


# Test scores


def test_means_are_inspected_as_single_scores_are() -> None:
    case = case_score("a")
    mean = mean_scores([case, case.model_copy(update={"subject": "b"})])
    figures = TestFigures(center="milan", mean=mean, seconds=1.0)
    assert reply_validation.tests_problem(figures, "milan", CARD) == ""
    assert mean_dice(figures) == 0.5
    single = [case_score(str(i), dice=dice) for i, dice in enumerate((0.123, 0.456, 0.111))]
    told, kept = (
        TestFigures(center="milan", seconds=1.0, **how) for how in ({"cases": single}, {"mean": mean_scores(single)})
    )
    assert mean_dice(told) == mean_dice(kept) == 0.23
    assert "scores of center milan" in reply_validation.tests_problem(figures, "karo", CARD)
    few = CARD.model_copy(update={"test_subjects": 1})
    assert reply_validation.tests_problem(figures, "milan", few) == "scores of 2 subjects, but it has 1 to test on"


# Sealed contributions, which can be inspected without any key

NAMES = ("0" * 16, "1" * 16)
OWN, OTHER = Keys.generate("milan"), Keys.generate("karo")
KEYED = CARD.model_copy(update={"identity": str(OWN.identity)})
SEALING = TASK.model_copy(update={"budget": 10**6})


def giving_sealed(run: str = TASK.run, stage: int = 1, keys: Keys = OWN) -> TrainReply:
    terms = Terms(Visit(run=run, stage=stage, center="milan"), (OTHER.identity,), utc_now() + timedelta(days=1))
    given = seal(tuple(exemplar(name) for name in NAMES[:1]), keys, lambda identity: None, terms)
    return replace(REPLY, contribution=given)


def sealed_refusal(reply: TrainReply, task: TrainTask = SEALING, simulated: bool = False) -> str:
    with pytest.raises(CenterError, match=r"center milan sent .*: refused") as caught:
        accept(reply, task, KEYED, simulated)
    return str(caught.value)


def test_a_sealed_contribution_is_accepted_where_the_run_seals() -> None:
    accept(giving_sealed(), SEALING, KEYED, simulated=False)
    assert "sealed exemplars, but this run does not seal" in sealed_refusal(giving_sealed(), simulated=True)
    assert "exemplars that are not sealed" in sealed_refusal(REPLY)


def test_a_sealed_contribution_of_another_run_stage_or_key_is_refused() -> None:
    assert "was replayed or mixed up" in sealed_refusal(giving_sealed(run="1" * 32))
    assert "was replayed or mixed up" in sealed_refusal(giving_sealed(stage=0))
    assert "signed with another key" in sealed_refusal(giving_sealed(keys=Keys.generate("milan")))


def test_a_sealed_contribution_beyond_its_budget_or_unasked_is_refused() -> None:
    assert "10 are allowed" in sealed_refusal(giving_sealed(), SEALING.model_copy(update={"budget": 10}))
    assert "not asked for" in sealed_refusal(giving_sealed(), SEALING.model_copy(update={"contribute": False}))


def test_a_sealed_contribution_that_was_changed_is_refused() -> None:
    reply = giving_sealed()
    assert isinstance(reply.contribution, SealedContribution)
    payloads = {name: payload[::-1].copy() for name, payload in reply.contribution.payloads.items()}
    changed = replace(reply, contribution=replace(reply.contribution, payloads=payloads))
    assert "was changed on its way" in sealed_refusal(changed)


# What a sealed contribution may hold

SEALED = crops.contribution()
BYTES = sum(e.payload.nbytes for e in crops.EXEMPLARS)


def test_a_contribution_within_its_limits_is_taken() -> None:
    check_sealed(SEALED, crops.VISIT, crops.NOW, subjects=3, budget=BYTES)


def test_more_subjects_or_bytes_than_allowed_are_refused() -> None:
    with pytest.raises(SealError, match="milan sent exemplars of 3 subjects where 2 are allowed"):
        check_sealed(SEALED, crops.VISIT, crops.NOW, subjects=2, budget=BYTES)
    with pytest.raises(SealError, match=f"milan sent {BYTES} bytes"):
        check_sealed(SEALED, crops.VISIT, crops.NOW, subjects=3, budget=BYTES - 1)


@pytest.mark.parametrize(("field", "value"), [("run", "run-2"), ("stage", 3), ("center", "karo")])
def test_another_visit_s_contribution_is_refused(field: str, value: object) -> None:
    with pytest.raises(SealError, match="replayed or mixed up"):
        check_sealed(SEALED, crops.VISIT.model_copy(update={field: value}), crops.NOW, subjects=3, budget=BYTES)


def test_a_changed_contribution_is_refused() -> None:
    with pytest.raises(SealError, match="signature does not hold"):
        check_sealed(crops.resigned(SEALED, crops.KARO), crops.VISIT, crops.NOW, subjects=3, budget=BYTES)
    payloads = {c: p[::-1].copy() for c, p in SEALED.payloads.items()}
    with pytest.raises(SealError, match="was changed"):
        check_sealed(replace(SEALED, payloads=payloads), crops.VISIT, crops.NOW, subjects=3, budget=BYTES)

"""What a hospital reads of a protocol, what it refuses to approve, and what no message can change afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict

from client.governance.audit_log import AuditLog
from client.hospital.approval import ProtocolReading, approve, read_for
from client.hospital.assignment import Assignment, assigned
from client.hospital.config import Site
from client.hospital.enrolment_card import card_of
from shared.clock import utc_now
from shared.config.settings import Settings
from shared.errors import MessageError, PolicyError, SettingsError, TrustError
from shared.protocol.document import StudyProtocol
from shared.protocol.lineage import first_weights
from shared.protocol.plan import plan_of
from shared.trust.identity import Keys
from shared.wire.headers import TestFigures, TrainTask
from shared.wire.messages import EvaluateRequest, pack_evaluate_request
from shared.wire.records import Refused, unpack_header
from tests.support.approved import protocol_of, signed_by
from tests.support.hospital_messages import ask
from tests.support.joined import CENTERS, NODES, Study

Read = Callable[..., ProtocolReading]


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


@pytest.fixture
def read(study: Study) -> Read:
    """Mercy's reading of a protocol with some keys of the run-config changed (`_` for `-`)."""

    def read_it(**changes: Any) -> ProtocolReading:
        config = study.config | {key.replace("_", "-"): value for key, value in changes.items()}
        return read_for(Site.read(study.toml("mercy")), protocol_of(config, study.keys, "A study"), study.config)

    return read_it


def test_it_says_in_plain_words_what_is_asked(read: Read, study: Study) -> None:
    reading = read()
    told = "\n".join(reading.lines)
    assert reading.protocol.digest in told and "title: A study" in told
    assert "(method replay), seed 0: grace -> mercy -> elsewhere" in told
    assert "trained here: stage 2 of 3, 2 steps for each contrast, 2 patches of 64 mm a step, a network of 2" in told
    assert (
        "crops that come here: from grace, cubes of 64 mm, one each of at most 20 patients a hospital, sealed" in told
    )
    assert (
        "own crops that may leave: to elsewhere, cubes of 64 mm, one each of at most 10 patients, 10 MB, sealed" in told
    )
    assert "scores that leave: each test image's, by pseudonym, of the models of 3 stages" in told
    assert "messages at most: 1 training and 3 tests" in told


def test_a_model_that_was_trained_before_is_named_by_its_digest(read: Read) -> None:
    assert "begins with a model that was trained before" not in "\n".join(read().lines)
    said = "\n".join(read(start_digest="ab" * 32).lines)
    assert f"begins with a model that was trained before, of SHA-256 {'ab' * 32}" in said


def test_what_the_policy_keeps_is_said(read: Read, study: Study) -> None:
    study.write_site("mercy", share_exemplars=False, report_subject_scores=False)
    told = "\n".join(read().lines)
    assert "own crops that may leave: none (share-exemplars is false)" in told
    assert "scores that leave: means over the test patients" in told
    study.write_site("mercy", centers=["grace"])
    assert "own crops that may leave: none (the policy names none of those that follow)" in "\n".join(read().lines)
    assert "crops of patients' images: none come, none leave" in "\n".join(read(method="finetune").lines)
    assert "NOT sealed, so that the coordinator sees them" in "\n".join(read(sealing="off").lines)
    left = "what leaves then: the model and the importance of each of its parameters, signed"
    assert left in "\n".join(read(method="ewc").lines)


def test_one_that_only_tests_reads_that(read: Read, study: Study) -> None:
    study.write_site("mercy", role="evaluate")
    told = "\n".join(read(centers="grace,elsewhere", evaluators="mercy").lines)
    assert "trained here: nothing" in told and "messages at most: 0 trainings and 2 tests" in told


def test_a_protocol_that_this_hospital_may_not_work_by_is_refused(read: Read, study: Study) -> None:
    with pytest.raises(SettingsError, match="has no part for mercy: it is for grace, elsewhere"):
        read(centers="grace,elsewhere")
    with pytest.raises(PolicyError, match="allow-averaged-models = true"):
        read(method="fedavg", rounds=1)
    study.write_site("mercy", allow_averaged_models=True)
    assert read(method="fedavg", rounds=1).plans[0].settings.run.method == "fedavg"
    study.write_site("mercy", role="evaluate")
    with pytest.raises(PolicyError, match=r"a model is trained at mercy, but .* has role = 'evaluate'"):
        read()


def test_other_code_is_refused(study: Study) -> None:
    protocol = protocol_of(study.config, study.keys).model_copy(update={"code": "c" * 64})
    with pytest.raises(SettingsError, match=r"for other code \(fingerprint cccccccccccccccc\) than runs here"):
        read_for(Site.read(study.toml("mercy")), protocol, study.config)


def test_every_key_must_be_pinned_or_one_s_own(study: Study) -> None:
    site = Site.read(study.toml("mercy"))
    for center, said in (
        ("grace", "the key of grace was swapped"),
        ("mercy", "names another key of mercy than lies in"),
    ):
        protocol = protocol_of(study.config, {**study.keys, center: Keys.generate(center)})
        with pytest.raises(TrustError, match=said):
            read_for(site, protocol, study.config)
    study.write_site("mercy", pins={"elsewhere": ""})
    with pytest.raises(TrustError, match="no key of elsewhere is pinned"):
        read_for(Site.read(study.toml("mercy")), protocol_of(study.config, study.keys), study.config)


# What no message can change


@pytest.fixture
def approved(study: Study) -> StudyProtocol:
    site = Site.read(study.toml("mercy"))
    approve(read_for(site, protocol_of(study.config, study.keys), study.config), utc_now)
    return protocol_of(study.config, study.keys)


def at_mercy(study: Study, protocol: str, run: str, **config: Any) -> Assignment:
    changed = study.config | {key.replace("_", "-"): value for key, value in config.items()}
    context = Context(1, 7, {"hospital": str(study.toml("mercy"))}, RecordDict(), changed)
    return assigned(Site.read(study.toml("mercy")), protocol, (run,), context, utc_now)


def test_the_settings_are_the_approved_ones_whatever_the_run_config_says(study: Study, approved: StudyProtocol) -> None:
    lies = {
        "steps": 1,
        "batch_size": 1,
        "seed": 9,
        "spacing": 8.0,
        "features": 32,
        "test_fraction": 0.9,
        "lesion_share": 1.0,
    }
    work = at_mercy(study, approved.digest, approved.run_name(0), **lies, data_dir="/etc", cache_dir="/etc")
    honest = at_mercy(study, approved.digest, approved.run_name(0))
    assert work.settings == honest.settings and work.settings.data.cache_dir == ""
    assert work.plan is not None and work.runs == (approved.run_name(0),)


@pytest.mark.parametrize(
    ("protocol", "run", "said"),
    [
        ("", "", "has not approved protocol"),
        ("0" * 64, "", "has not approved protocol 00000000"),
        ("approved", "0" * 32, "run 00000000 is none of the 1 that protocol"),
    ],
)
def test_what_was_not_approved_is_refused_and_noted(
    study: Study, approved: StudyProtocol, protocol: str, run: str, said: str
) -> None:
    with pytest.raises((PolicyError, MessageError), match=said):
        at_mercy(study, approved.digest if protocol == "approved" else protocol, run or approved.run_name(0))
    last = AuditLog(study.root / "mercy" / "state" / "audit").entries()[-1]
    assert last.kind == "refused" and said in last.facts.reason


LIES: dict[str, Any] = {
    "stage": 0,
    "center": "grace",
    "pool": ("mercy", "grace"),
    "round": 0,
    "rounds": 3,
    "contribute": False,
    "budget": 10**9,
    "order": ("mercy", "grace", "elsewhere"),
    "identities": (),
    "run": "0" * 32,
    "protocol": "0" * 64,
}


@pytest.mark.parametrize("field", sorted(TrainTask.model_fields.keys() - {"dropped", "head"}))
def test_every_part_of_a_task_is_the_approved_one(study: Study, approved: StudyProtocol, field: str) -> None:
    work = at_mercy(study, approved.digest, approved.run_name(0))
    task = plan_of(approved, 0, study.config).train_task(1, "mercy")
    work.check_train(task)
    lie = {"round": 1, "rounds": 2} if field == "round" else {field: LIES[field]}
    with pytest.raises(MessageError, match=r"which the approved protocol .* does not say: refused"):
        work.check_train(task.model_copy(update=lie))


def test_a_test_that_the_course_does_not_have_is_refused(study: Study) -> None:
    config = study.config | {"tested-others": 0}
    protocol = protocol_of(config, study.keys)
    approve(read_for(Site.read(study.toml("mercy")), protocol, config), utc_now)
    work, plan = at_mercy(study, protocol.digest, protocol.run_name(0)), plan_of(protocol, 0, config)
    work.check_evaluate(plan.evaluate_task(1, "mercy"))
    with pytest.raises(MessageError, match="asked mercy to test the model of stage 1, which the approved protocol"):
        work.check_evaluate(plan.evaluate_task(0, "mercy"))
    with pytest.raises(MessageError, match="stage 9 was asked for, but the course has 3"):
        work.check_evaluate(plan.evaluate_task(2, "mercy").model_copy(update={"stage": 8}))


def test_a_hospital_computes_no_test_that_the_course_does_not_have(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its model is signed by the hospital that trained it."""

    def computed(*_: Any) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr("client.handlers.evaluate", computed)
    plan = study.plan(tested_others=0)
    weights = first_weights(plan.settings)
    request = EvaluateRequest(plan.evaluate_task(0, "mercy"), weights, signed_by(study.keys["grace"], plan, 0, weights))
    answer = ask(study.wire(tested_others=0), "evaluate", pack_evaluate_request(request), NODES["mercy"])
    with pytest.raises(Refused, match="asked mercy to test the model of stage 1, which the approved protocol"):
        unpack_header(answer, TestFigures)
    assert study.audit("mercy")[-1].kind == "refused"


def test_a_simulated_hospital_is_asked_whatever_its_message_says(run_config: dict[str, Any]) -> None:
    work = Assignment(Settings.from_run_config(run_config), ("0" * 32,))
    work.check_train(TrainTask(run="0" * 32, stage=7, center="milan", contribute=True))


def test_a_card_says_who_and_how_many(study: Study) -> None:
    card = card_of(Site.read(study.toml("mercy")), study.keys["mercy"].identity)
    assert (card.center, card.role, card.subjects) == ("mercy", "both", {"FLAIR": 5})
    assert CENTERS[1] in card.identity

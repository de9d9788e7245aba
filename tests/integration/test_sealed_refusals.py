"""What a hospital refuses of a sealed memory, each with its reason, before it trains on anything."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.common.serde import recorddict_to_proto

from shared.clock import Clock, utc_now
from shared.errors import CenterError, SettingsError
from shared.protocol.lineage import first_weights
from shared.protocol.plan import RunPlan, plan_of
from shared.replay.contribution import Contribution, PlainContribution
from shared.replay.exemplar import Exemplar
from shared.replay.manifest import SealedContribution, Visit
from shared.replay.sealing import Terms, seal
from shared.trust.identity import Keys
from shared.wire.messages import TrainReply, TrainRequest, pack_train_request, unpack_train_reply
from shared.wire.records import Refused
from tests.support.approved import signed_by
from tests.support.joined import NODES, SUBJECTS, Study, Wire, later
from tests.support.sealed import resigned

OTHER_RUN = "1" * 32


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def crop(seed: int, center: str = "grace") -> Exemplar:
    image = np.random.default_rng(seed).random((16, 16, 16), dtype=np.float32)
    subject = f"{seed:016x}"
    return Exemplar.encode(image, image, center=center, subject=subject, contrast="FLAIR", spacing=4.0)


def plan_of_study(study: Study, config: Mapping[str, Any] | None = None, swapped: Keys | None = None) -> RunPlan:
    """A run that all hospitals have approved; with a key in place of its center's, as if that had been pinned then."""
    keys = {**study.keys, **({swapped.center: swapped} if swapped else {})}
    protocol = study.protocol(config or study.config, "asked", keys)
    return plan_of(protocol, 0, config or study.config)


def sealed(
    study: Study,
    center: str = "grace",
    recipients: tuple[str, ...] = ("mercy", "elsewhere"),
    run: str = "",
    stage: int = 0,
    keys: Keys | None = None,
    to: Keys | None = None,
) -> SealedContribution:
    """What `center` would give at that stage."""
    identities = tuple(to.identity if to and to.center == c else study.keys[c].identity for c in recipients)
    visit = Visit(run=run or plan_of_study(study).run, stage=stage, center=center)
    terms = Terms(visit, identities, utc_now() + timedelta(days=30))
    return seal((crop(1, center), crop(2, center)), keys or study.keys[center], lambda identity: None, terms)


def ask(study: Study, wire: Wire, memory: tuple[Contribution, ...], swapped: Keys | None = None) -> RecordDict:
    """The train message of the second stage, at mercy, and its answer."""
    plan = plan_of_study(study, wire.run_config, swapped)
    weights = first_weights(plan.settings)
    origin = signed_by(study.keys["grace"], plan, 0, weights)
    content = pack_train_request(TrainRequest(plan.train_task(1, "mercy"), weights, memory, {}, origin))
    (key,) = wire.push_messages([Message(content, NODES["mercy"], "train")])
    (reply,) = wire.pull_messages([key])
    return reply.content


def refusal(study: Study, *memory: Contribution, clock: Clock = utc_now, swapped: Keys | None = None) -> str:
    """Why mercy does not train; it is in its audit log too, and no path is told."""
    content = ask(study, study.wire(clock), memory, swapped)
    with pytest.raises(Refused) as caught:
        unpack_train_reply(content)
    assert str(study.root).encode() not in recorddict_to_proto(content).SerializeToString()
    entry = study.audit("mercy")[-1]
    run = plan_of_study(study, swapped=swapped).run
    assert (entry.kind, entry.facts.message, entry.facts.run) == ("refused", "train request", run)
    assert entry.facts.reason == str(caught.value)
    assert not list((study.root / "mercy" / "state").glob("visits/*/*/step-*"))
    return str(caught.value)


def accepted(study: Study, *memory: Contribution) -> TrainReply:
    return unpack_train_reply(ask(study, study.wire(), memory))


def test_what_was_sealed_for_this_hospital_is_trained_on(study: Study) -> None:
    accepted(study, sealed(study))
    told = [(e.kind, e.facts.message) for e in study.audit("mercy") if e.kind != "approved"]
    assert told == [("received", "train request"), ("sent", "trained model"), ("sent", "exemplars")]


def test_a_tampered_ciphertext(study: Study) -> None:
    given = sealed(study)
    name, payload = next(iter(given.payloads.items()))
    changed = payload.copy()
    changed[-1] ^= 1
    said = refusal(study, replace(given, payloads={**given.payloads, name: changed}))
    assert "was changed on its way (its checksum differs)" in said


def test_a_tampered_manifest(study: Study) -> None:
    given = sealed(study)
    claims = given.manifest.claims.model_copy(update={"expires": given.manifest.claims.expires + 1})
    changed = replace(given, manifest=given.manifest.model_copy(update={"claims": claims}))
    assert "its signature does not hold" in refusal(study, changed)


def test_a_contribution_of_another_run_or_stage(study: Study) -> None:
    assert "was replayed or mixed up" in refusal(study, sealed(study, run=OTHER_RUN))
    assert "is for stage 1, not 0" in refusal(study, sealed(study, stage=1))
    assert "elsewhere, which was not visited in this run" in refusal(
        study, sealed(study, "elsewhere", ("mercy",), stage=0)
    )


def test_a_contribution_twice(study: Study) -> None:
    given = sealed(study)
    assert "grace, which was not visited in this run or came before" in refusal(study, given, given)


def test_a_contribution_for_another_center_is_passed_over_unopened(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = accepted(study, sealed(study, recipients=("elsewhere",)))
    without = accepted(study)
    assert all(np.array_equal(reply.weights[name], without.weights[name]) for name in reply.weights)
    reason = "the contribution of grace is for elsewhere, grace, not for mercy"
    assert f"mercy: {reason}: passed over, unopened" in capsys.readouterr().out
    refused = [e.facts.reason for e in study.audit("mercy") if e.kind == "refused"]
    assert refused == [reason]


def test_an_expired_contribution(study: Study) -> None:
    assert "the contribution of grace expired on" in refusal(study, sealed(study), clock=later(31))


def test_a_signer_whose_key_is_not_pinned(study: Study) -> None:
    study.write_site("mercy", pins={"grace": ""})
    assert "no key of grace is pinned here, and it shows" in refusal(study, sealed(study))


def test_a_signer_whose_key_was_swapped(study: Study) -> None:
    mallory = Keys.generate("grace")
    said = refusal(study, sealed(study, keys=mallory))
    assert "the key of grace was swapped" in said
    assert mallory.identity.fingerprint in said and study.keys["grace"].identity.fingerprint in said
    # Nor does the right key's name help a signature that another one made.
    assert "its signature does not hold" in refusal(study, resigned(sealed(study), mallory))


def test_what_was_sealed_for_another_key_of_this_hospital(study: Study) -> None:
    said = refusal(study, sealed(study, to=Keys.generate("mercy")))
    assert "the key was swapped or is an old one" in said


def test_a_recipient_s_key_that_the_coordinator_swapped_is_noticed_before_the_training(study: Study) -> None:
    mallory = Keys.generate("elsewhere")
    assert "the key of elsewhere was swapped" in refusal(study, swapped=mallory)


def test_a_recipient_that_is_not_pinned(study: Study) -> None:
    study.write_site("mercy", pins={"elsewhere": ""})
    assert "no key of elsewhere is pinned here" in refusal(study)


def test_a_hospital_without_keys_learns_how_to_make_them(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    (study.root / "mercy" / "state" / "keys").rename(study.root / "away")
    assert refusal(study) == "mercy has made no keys yet"
    assert "wardround hospital keys" in capsys.readouterr().out


def test_keys_that_others_can_read_are_not_used_and_no_path_is_told(study: Study) -> None:
    wire = study.wire()
    (study.root / "mercy" / "state" / "keys" / "signing.pem").chmod(0o644)
    with pytest.raises(Refused, match="a key at the hospital cannot be used; its client's log says which and why"):
        unpack_train_reply(ask(study, wire, ()))


def test_an_audit_log_that_was_cut_lets_nothing_leave(study: Study) -> None:
    accepted(study)
    log = study.root / "mercy" / "state" / "audit" / "audit.jsonl"
    log.write_bytes(log.read_bytes()[:-10])
    with pytest.raises(Refused, match=r"a record of the hospital .* cannot be relied on; its client's log says more"):
        unpack_train_reply(ask(study, study.wire(), ()))


def test_a_hospital_toml_that_is_wrong_tells_no_path(study: Study) -> None:
    study.toml("mercy").write_text("center = 7")
    content = ask(study, study.wire(), ())
    with pytest.raises(Refused, match=r"its hospital\.toml is wrong; its client's log says where"):
        unpack_train_reply(content)
    assert str(study.root).encode() not in recorddict_to_proto(content).SerializeToString()


def test_exemplars_that_should_have_been_sealed(study: Study) -> None:
    study.write_site("mercy", allow_unsealed=True)
    said = refusal(study, PlainContribution((crop(1),)))
    assert "the exemplars of grace came unsealed in a run that seals" in said


def test_unsealed_exemplars_where_the_policy_does_not_allow_them(study: Study) -> None:
    study.config["sealing"] = "off"
    assert "this hospital's policy has no allow-unsealed" in refusal(study, PlainContribution((crop(1),)))
    assert "sealed exemplars in a run that does not seal" in refusal(study, sealed(study))


def test_exemplars_that_do_not_fit_the_run_are_refused_once_they_are_open(study: Study) -> None:
    study.config["contrasts"] = "T2w,FLAIR"
    image = np.zeros((8, 8, 8), dtype=np.float32)
    small = Exemplar.encode(image, image, center="grace", subject="0" * 16, contrast="FLAIR", spacing=4.0)
    terms = Terms(
        Visit(run=plan_of_study(study).run, stage=0, center="grace"),
        (study.keys["mercy"].identity,),
        utc_now() + timedelta(days=1),
    )
    given = seal((small,), study.keys["grace"], study.pin, terms)
    assert "voxels at 4 mm instead of" in refusal(study, given)


# What the policy forbids


def test_a_hospital_that_only_tests_does_not_train(study: Study) -> None:
    study.write_site("mercy", role="evaluate")
    assert "has the role evaluate, and it was asked to train" in refusal(study)
    with pytest.raises(CenterError, match="center mercy is to train, but its policy lets it test only"):
        study.run(study.wire())


def test_a_hospital_that_only_trains_does_not_test(study: Study) -> None:
    study.write_site("mercy", role="train")
    results = study.run(study.wire())
    assert [row[1] for row in results.R] == [None, None, None]
    assert {
        (cell.center, "has the role train, and it was asked to evaluate" in cell.reason) for cell in results.missing
    } == {("mercy", True)}


def contributed(study: Study, **policy: Any) -> Contribution | None:
    study.write_site("mercy", **policy)
    return accepted(study).contribution


def test_a_contribution_is_sealed_for_those_to_come_alone(study: Study) -> None:
    given = contributed(study)
    assert isinstance(given, SealedContribution)
    assert given.recipients == ("elsewhere", "mercy")
    assert len(given.subjects) == 3
    (entry,) = study.audited("mercy", "sent", "exemplars")
    assert (entry.facts.centers, entry.facts.size) == (("elsewhere",), given.nbytes)
    assert set(entry.facts.checksums) == set(given.payloads)
    assert study.called("mercy", str(entry.facts.run), entry.facts.subjects) == set(given.subjects)


@pytest.mark.parametrize(
    ("policy", "exemplars"),
    [
        ({"share_exemplars": False}, 0),
        ({"centers": ["grace"]}, 0),
        ({"subjects": 2}, 2),
        ({"megabytes": 0.001}, 0),
        ({"never": [f"sub-mercy{name}" for name in SUBJECTS]}, 0),
    ],
    ids=["share nothing", "not for that center", "fewer subjects", "over budget", "never"],
)
def test_what_the_policy_forbids_stays(study: Study, policy: dict[str, Any], exemplars: int) -> None:
    given = contributed(study, **policy)
    assert (len(given.subjects) if given else 0) == exemplars
    assert len(study.audited("mercy", "sent", "exemplars")) == bool(exemplars)


def test_who_has_not_consented_stays_also_in_a_reply_that_was_kept(study: Study) -> None:
    table = study.root / "mercy" / "images" / "participants.tsv"

    def consent(*names: str) -> Contribution | None:
        table.write_text("participant_id\tshare\n" + "".join(f"sub-mercy{name}\tyes\n" for name in names))
        return contributed(study, consent_column="share")

    given = consent(*SUBJECTS)
    assert given is not None and len(given.subjects) == 3
    left = [consent(*(name for name in SUBJECTS if name != one)) for one in SUBJECTS]
    assert sorted(len(part.subjects) for part in left if part) == [2, 2, 2, 3, 3], "three of the five train"
    assert consent() is None


def test_a_policy_that_became_stricter_holds_for_a_reply_that_was_kept(study: Study) -> None:
    assert contributed(study) is not None
    assert contributed(study, centers=["grace"]) is None
    assert contributed(study) is not None
    assert contributed(study, share_exemplars=False) is None
    assert len(study.audited("mercy", "sent", "exemplars")) == 2


# Who a node is


def test_a_node_under_a_wrong_name_is_refused(study: Study) -> None:
    wire = study.wire()
    wire.names[NODES["mercy"]] = "elsewhere"
    with pytest.raises(CenterError, match=r"enrolled as elsewhere says that it is center mercy: .*: refused"):
        study.run(wire)


def test_unsealed_exemplars_need_every_policy(study: Study) -> None:
    study.write_site("grace", allow_unsealed=True)
    with pytest.raises(SettingsError, match="sealing = 'off' is not what the policies of mercy, elsewhere allow"):
        study.run(study.wire(sealing="off"))

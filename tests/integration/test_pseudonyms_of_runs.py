"""What leaves names subjects anew in each run, and a withdrawal finds its subject in all of them."""

import re
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error

from client.governance.pseudonyms import outside_name
from server.journal.journal import Journal
from shared.errors import CenterError
from shared.protocol.document import Ancestor
from shared.protocol.lineage import first_weights
from shared.protocol.plan import RunPlan, plan_of
from shared.stage_archive import open_visit
from shared.wire.headers import CenterCard, Question, RollCall
from shared.wire.messages import TrainRequest, pack_train_request, unpack_train_reply
from shared.wire.records import pack_question, unpack_header
from tests.support.approved import approve, protocol_of, signed_by
from tests.support.hospital_messages import ask
from tests.support.joined import CENTERS, NODES, SUBJECTS, Study, Wire

RUNS = ("one", "another")
HIDDEN = re.compile(rb'"([0-9a-f]{16})"')
"""What looks like a pseudonym; all that is not a tensor or a crop travels as JSON."""


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def everything(wires: list[Wire]) -> bytes:
    return b"\n".join(wire.everything for wire in wires)


def test_two_runs_share_no_pseudonym_and_one_withdrawal_drops_its_subject_from_both(study: Study) -> None:
    wires: dict[str, list[Wire]] = {}
    for name in RUNS:
        broken = study.wire()
        broken.errors = {(NODES["mercy"], "train", 0): Error(2, "killed")}
        with pytest.raises(CenterError, match="killed"):
            study.run(broken, name)
        wires[name] = [broken]
    entries = study.audited("grace", "sent", "exemplars")
    runs = [str(entry.facts.run) for entry in entries]
    assert len(set(runs)) == 2 and len({entry.facts.subjects for entry in entries}) == 1, "of the same patients"
    gone = next(name for name in SUBJECTS if study.known("grace", name) <= set(entries[0].facts.subjects))
    study.withdraw("grace", gone)

    for name, run in zip(RUNS, runs, strict=True):
        folder = study.root / name
        shared = study.called("grace", run, entries[0].facts.subjects)
        dropped = study.called("grace", run, study.known("grace", gone))
        assert set(Journal.open(folder).memory()[0].subjects) == shared and dropped < shared
        wires[name].append(wire := study.wire())
        results = study.run(wire, name, resume=True)
        assert results.withdrawn == {"grace": 1} and set(Journal.open(folder).withdrawn["grace"]) == dropped
        assert set(Journal.open(folder).memory()[0].subjects) == shared - dropped
        tested = {score.subject for score in results.test_scores if score.center == "grace"}
        assert len(tested) == 2 and tested == study.called("grace", run, study.known("grace", *SUBJECTS)) - shared
    confirmed = study.audited("grace", "withdrawn", "dropped by the coordinator")
    assert [entry.facts.run for entry in confirmed] == runs
    assert {entry.facts.subjects for entry in confirmed} == {tuple(study.known("grace", gone))}

    passed = {name: set(HIDDEN.findall(everything(sent))) for name, sent in wires.items()}
    for name, run in zip(RUNS, runs, strict=True):
        names = {one.encode() for c in CENTERS for one in study.called(c, run, study.known(c, *SUBJECTS))}
        # Nobody's crops of the last hospital leave, and so no name of those whom it trains on.
        assert len(passed[name] & names) == 5 + 5 + 2
    assert not passed[RUNS[0]] & passed[RUNS[1]]
    known = {one.encode() for c in CENTERS for one in study.known(c, *SUBJECTS)}
    assert not any(one in everything(sent) for sent in wires.values() for one in known)


def test_scores_stand_in_the_order_of_their_names_in_the_run(study: Study) -> None:
    results = {name: study.run(study.wire(), name) for name in RUNS}
    for run in results.values():
        for stage in range(3):
            for center in CENTERS:
                told = [one.subject for one in run.test_scores if (one.stage, one.center) == (stage, center)]
                assert len(told) == 2 and told == sorted(told)
    one, another = results.values()
    assert one.R == another.R
    assert not {score.subject for score in one.test_scores} & {score.subject for score in another.test_scores}


def going_on(study: Study, *parents: RunPlan) -> RunPlan:
    """A run of all that goes on from these, the oldest first."""
    config = {**study.config, "centers": "mercy,grace,elsewhere"}
    lineage = tuple(Ancestor(protocol=one.protocol, run=one.run, stages=len(one.order)) for one in parents)
    protocol = protocol_of(config, study.keys, "longer", lineage)
    for center in CENTERS:
        approve(study.root / center / "state", center, protocol)
    return plan_of(protocol, 0, config)


def test_a_run_that_goes_on_from_another_keeps_its_names(study: Study) -> None:
    parent = study.plan("parent", centers="mercy")
    plan = going_on(study, parent)
    weights = first_weights(plan.settings)
    signed = signed_by(study.keys["mercy"], parent, 0, weights)
    request = TrainRequest(plan.train_task(1, "grace"), weights, (), {}, signed)
    reply = unpack_train_reply(ask(study.wire(), "train", pack_train_request(request), NODES["grace"]))
    (sent,) = study.audited("grace", "sent", "exemplars")
    assert sent.facts.run == plan.run and reply.contribution is not None
    assert set(reply.contribution.subjects) == study.called("grace", parent.run, sent.facts.subjects)

    gone = next(name for name in SUBJECTS if study.known("grace", name) <= set(sent.facts.subjects))
    study.withdraw("grace", gone)
    dropped = study.called("grace", parent.run, study.known("grace", gone))
    (kept,) = (study.root / "grace" / "state" / "visits").glob("*/*/reply")
    left = open_visit(kept).contribution()
    assert left is not None and set(left.subjects) == set(reply.contribution.subjects) - dropped
    assert set(card_of(study, "grace", plan).withdrawn) == dropped


def test_crops_that_left_in_a_parent_are_found_in_what_goes_on_from_it(study: Study) -> None:
    oldest = study.plan("oldest", centers="mercy,grace")
    message = pack_train_request(TrainRequest(oldest.train_task(0, "mercy"), first_weights(oldest.settings), ()))
    given = unpack_train_reply(ask(study.wire(), "train", message, NODES["mercy"])).contribution
    (sent,) = study.audited("mercy", "sent", "exemplars")
    assert given is not None and set(given.subjects) == study.called("mercy", oldest.run, sent.facts.subjects)
    longest, other = going_on(study, oldest), study.plan("other", centers="mercy,grace")

    gone = next(name for name in SUBJECTS if study.known("mercy", name) <= set(sent.facts.subjects))
    study.withdraw("mercy", gone)
    named = study.called("mercy", oldest.run, study.known("mercy", gone))
    assert named < set(given.subjects)
    assert set(card_of(study, "mercy", longest).withdrawn) == named == set(card_of(study, "mercy", oldest).withdrawn)
    assert card_of(study, "mercy", other).withdrawn == (), "of which it gave no crop"


def test_the_oldest_of_several_parents_gives_the_names(study: Study) -> None:
    oldest, parent = study.plan("oldest", centers="mercy"), study.plan("parent", centers="mercy,grace")
    longest = going_on(study, oldest, parent)
    assert longest.runs[1:] == (parent.run, oldest.run)
    # Of the same division, by the names.
    told = [card_of(study, "mercy", plan).fingerprint for plan in (oldest, parent, longest)]
    assert told[0] == told[2] != told[1]


def card_of(study: Study, center: str, plan: RunPlan) -> CenterCard:
    """What a hospital says at the roll call of a run."""
    question = pack_question(Question(protocol=plan.protocol, runs=plan.runs))
    (card,) = unpack_header(ask(study.wire(), "query.roll_call", question, NODES[center]), RollCall).cards
    return card


def test_nothing_at_a_roll_call_is_the_same_in_two_runs_but_what_the_data_are_like(study: Study) -> None:
    one, another = (card_of(study, "mercy", study.plan(title)) for title in RUNS)
    assert one.fingerprint != another.fingerprint
    loose = {"fingerprint": "", "log": None}
    assert one.model_copy(update=loose) == another.model_copy(update=loose)


def test_names_depend_on_key_run_and_subject_alone() -> None:
    made = [
        outside_name(key, run, known) for key in (b"a", b"b") for run in ("0" * 32, "1" * 32) for known in ("c", "d")
    ]
    assert len(set(made)) == 8 and all(re.fullmatch("[0-9a-f]{16}", one) for one in made)
    assert outside_name(b"a", "0" * 32, "c") == made[0]

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
from shared.wire.headers import Question, RollCall
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


def going_on(study: Study, parent: RunPlan) -> RunPlan:
    """The protocol of a run of all that goes on from mercy's."""
    config = {**study.config, "centers": "mercy,grace,elsewhere"}
    protocol = protocol_of(
        config, study.keys, "longer", (Ancestor(protocol=parent.protocol, run=parent.run, stages=1),)
    )
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
    question = pack_question(Question(protocol=plan.protocol, runs=plan.runs))
    (card,) = unpack_header(ask(study.wire(), "query.roll_call", question, NODES["grace"]), RollCall).cards
    assert set(card.withdrawn) == dropped


def test_names_depend_on_key_run_and_subject_alone() -> None:
    made = [
        outside_name(key, run, known) for key in (b"a", b"b") for run in ("0" * 32, "1" * 32) for known in ("c", "d")
    ]
    assert len(set(made)) == 8 and all(re.fullmatch("[0-9a-f]{16}", one) for one in made)
    assert outside_name(b"a", "0" * 32, "c") == made[0]

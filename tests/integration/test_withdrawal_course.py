"""A subject is withdrawn while a run lasts: it is used no more, dropped, and both sides say so."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error

from server.journal.journal import Journal
from shared.errors import CenterError
from shared.wire.messages import TrainRequest, unpack_train_request
from tests.support.joined import NODES, SUBJECTS, Study, Wire, bytes_below


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def asked(wire: Wire) -> list[TrainRequest]:
    return [unpack_train_request(m.content) for m in wire.sent if m.metadata.message_type == "train"]


def test_a_withdrawn_subject_leaves_the_memory_at_the_next_hand_off(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    wire = study.wire()
    shared: set[str] = set()

    def withdraw_meanwhile(request: TrainRequest) -> TrainRequest:
        """While mercy has its visit, grace withdraws one whose exemplar mercy has just got."""
        if request.task.center == "mercy":
            (given,) = request.memory
            shared.update(given.subjects)
            study.withdraw("grace", *SUBJECTS[:2])
        return request

    wire.change = withdraw_meanwhile
    results = study.run(wire)
    gone = study.called("grace", results.history.run, study.withdrawn("grace"))
    dropped = shared & gone
    assert len(gone) == 2 and dropped, "of the three that were shared, one at least"

    # The next hospital gets the rest, of which the signature still holds.
    grace, mercy = asked(wire)[2].memory
    assert set(grace.subjects) == shared - gone and len(mercy.subjects) == 3
    assert (
        f"grace withdrew {len(dropped)} subjects: {len(dropped)} of their exemplars leave the memory"
        in capsys.readouterr().out
    )

    # It is in no file of the coordinator's any more, and its list says why.
    journal = Journal.open(study.root / "run")
    assert set(journal.withdrawn["grace"]) == dropped, "of nobody else it hears"
    assert set(journal.memory()[0].subjects) == shared - gone
    ciphertexts = [p.tobytes() for p in asked(wire)[1].memory[0].without(shared - gone).payloads.values()]
    assert len(ciphertexts) == len(dropped)
    assert not any(c in bytes_below(study.root / "run" / "journal") for c in ciphertexts)
    assert results.withdrawn == {"grace": len(dropped)}
    assert results.stages[0].memory_exemplars == 3, "as it was then"

    # And the hospital hears that it was done, once.
    (entry,) = study.audited("grace", "withdrawn", "dropped by the coordinator")
    assert study.called("grace", results.history.run, entry.facts.subjects) == dropped
    assert len(study.audited("mercy", "withdrawn", "dropped by the coordinator")) == 0


def test_a_withdrawal_while_the_run_is_interrupted_holds_when_it_goes_on(study: Study) -> None:
    broken = study.wire()
    broken.errors = {(NODES["mercy"], "train", 0): Error(2, "killed")}
    with pytest.raises(CenterError, match="killed"):
        study.run(broken)
    shared = set(Journal.open(study.root / "run").memory()[0].subjects)
    study.withdraw("grace", *SUBJECTS)
    for name in ("mercy", "elsewhere"):  # what grace cannot do is to withdraw another's
        study.withdraw(name, SUBJECTS[0])
    wire = study.wire()
    run = study.run(wire, resume=True).history.run
    second, third = asked(wire)
    assert shared and second.memory == ()
    assert [given.center for given in third.memory] == ["mercy"]
    assert set(third.memory[0].subjects) <= study.called("mercy", run, study.known("mercy", *SUBJECTS))
    assert not set(third.memory[0].subjects) & study.called("mercy", run, study.withdrawn("mercy"))

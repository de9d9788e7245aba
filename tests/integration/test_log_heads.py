"""The coordinator keeps where each hospital's audit log ended, and a log that was put back is noticed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error

from server.journal.journal import Journal
from shared.errors import CenterError
from shared.protocol.document import read_protocol
from tests.support.approved import approve
from tests.support.joined import CENTERS, NODES, Study


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    """A run that was interrupted before mercy trained."""
    study = Study.made(tmp_path, run_config)
    broken = study.wire()
    broken.errors = {(NODES["mercy"], "train", 0): Error(2, "killed")}
    with pytest.raises(CenterError, match="killed"):
        study.run(broken)
    return study


def resume(study: Study) -> None:
    wire = study.wire()
    wire.errors = {(NODES["mercy"], "train", 0): Error(2, "killed again")}
    study.run(wire, resume=True)


def heads(study: Study) -> dict[str, tuple[int, str]]:
    return {center: (head.count, head.hash) for center, head in Journal.open(study.root / "run").heads.items()}


def test_the_journal_keeps_where_each_log_ended_at_the_last_roll_call(study: Study) -> None:
    first = heads(study)
    assert set(first) == set(CENTERS)
    for center, (count, digest) in first.items():
        entry = study.audit(center)[count - 1]
        assert (entry.hash, entry.facts.message) == (digest, "roll call")
    with pytest.raises(CenterError, match="killed again"):
        resume(study)
    assert all(count > first[center][0] for center, (count, _) in heads(study).items())


@pytest.mark.parametrize("how", ["emptied", "an older one"])
def test_a_hospital_whose_log_was_put_back_refuses_and_says_why(study: Study, how: str) -> None:
    audit = study.root / "grace" / "state" / "audit"
    older = study.root / "older"
    shutil.copytree(audit, older)
    with pytest.raises(CenterError, match="killed again"):
        resume(study)
    if how == "emptied":  # with all that says that there was one
        state = study.root / "grace" / "state"
        shutil.move(state / "keys", study.root / "keys")
        shutil.rmtree(state)
        state.mkdir()
        shutil.move(study.root / "keys", state / "keys")
        approve(state, "grace", read_protocol(study.root / "run.protocol.json"))
    else:
        shutil.rmtree(audit)
        shutil.copytree(older, audit)
    with pytest.raises(CenterError, match=r"the audit log of grace has no entry \d+ as this run knows it") as caught:
        resume(study)
    assert str(study.root / "grace") not in str(caught.value).split("go on with")[0]
    assert study.audit("grace")[-1].kind == "refused"


def test_a_log_that_goes_on_is_taken_as_it_is(study: Study) -> None:
    study.withdraw("grace", "abernathy")
    with pytest.raises(CenterError, match="killed again"):
        resume(study)

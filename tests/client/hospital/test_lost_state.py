"""A hospital that lost a record answers nothing, and says to its own log which one and what to do."""

from pathlib import Path
from typing import Any

import pytest

from shared.wire.headers import RollCall
from shared.wire.messages import unpack_train_reply
from shared.wire.records import Refused, unpack_header
from tests.support.hospital_messages import ask
from tests.support.joined import NODES, SUBJECTS, Study

FILES = ("audit/audit.jsonl", "audit/audit.head", "withdrawals.json", "pseudonyms/grace.key")


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def called(study: Study) -> RollCall:
    return unpack_header(ask(study.wire(), "query.roll_call", study.question(), NODES["grace"]), RollCall)


def used(study: Study) -> int:
    """How many subjects grace trains and tests on."""
    (card,) = called(study).cards
    return card.training_subjects + card.test_subjects


@pytest.mark.parametrize("name", FILES)
def test_a_hospital_that_lost_a_record_answers_nothing(
    study: Study, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    study.withdraw("grace", SUBJECTS[0])
    assert used(study) == 4
    (study.root / "grace" / "state" / name).rename(study.root / "aside")
    for _ in range(2):
        with pytest.raises(Refused, match=r"a record of the hospital .* cannot be relied on"):
            called(study)
        request = study.training()
        with pytest.raises(Refused, match=r"a record of the hospital .* cannot be relied on"):
            unpack_train_reply(ask(study.wire(), "train", request, NODES["grace"]))
    told = capsys.readouterr().out
    assert f"{name} of " in told and "was lost" in told and "restore the state folder from its backup" in told


def test_with_both_files_of_the_audit_log_moved_aside_no_new_one_begins(study: Study) -> None:
    """As the message for a damaged log once advised: by that every subject that was ever shared was forgotten."""
    called(study)
    for name in FILES[:2]:
        (study.root / "grace" / "state" / name).rename(study.root / Path(name).name)
    with pytest.raises(Refused, match="a record of the hospital"):
        called(study)
    assert not (study.root / "grace" / "state" / FILES[0]).exists()


def test_who_withdrew_by_the_audit_log_alone_is_withdrawn(study: Study) -> None:
    """As where an older list was put back."""
    state = study.root / "grace" / "state"
    called(study)
    older = (state / "withdrawals.json").read_bytes()
    study.withdraw("grace", SUBJECTS[0])
    (state / "withdrawals.json").write_bytes(older)
    assert study.withdrawn("grace") == set()
    assert used(study) == 4

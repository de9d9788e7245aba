"""The coordinator keeps where each hospital's audit log ended, and a log that was put back is noticed."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error, Message

from client.hospital.trust import Custody
from server.journal.journal import Journal
from shared.errors import CenterError
from shared.protocol.document import read_protocol
from shared.wire.headers import LogHead
from tests.support.approved import approve
from tests.support.joined import CENTERS, NODES, Study, Wire


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


def test_the_journal_keeps_where_each_log_ended_with_its_last_reply(study: Study) -> None:
    first = heads(study)
    assert set(first) == set(CENTERS)
    for center, (count, digest) in first.items():
        entry = study.audit(center)[-1]
        assert (entry.hash, entry.facts.message, count) == (
            digest,
            "test scores of each image",
            len(study.audit(center)),
        )
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


# Between two stages


@dataclass
class PutBack:
    """Mercy's log as it was before the first stage was tested is put back once the second one begins, or is tested."""

    study: Study
    at: str
    """Of the second stage: train or evaluate."""

    @property
    def log(self) -> Path:
        return self.study.root / "mercy" / "state" / "audit"

    @property
    def whole(self) -> Path:
        """The log as it was when it was put back."""
        return self.study.root / "whole"

    def wire(self) -> Wire:
        wire = self.study.wire()
        handle = wire._handle

        def handled(message: Message) -> Message:
            kind, node = message.metadata.message_type, message.metadata.dst_node_id
            older = self.study.root / "older"
            if (kind, node) == ("train", NODES["grace"]):
                shutil.copytree(self.log, older)
            trained = bool(self.study.audited("mercy", "sent", "trained model"))
            if (
                node == NODES["mercy"]
                and kind == self.at
                and trained == (kind == "evaluate")
                and not self.whole.exists()
            ):
                shutil.copytree(self.log, self.whole)
                shutil.rmtree(self.log)
                shutil.copytree(older, self.log)
            return handle(message)

        vars(wire)["_handle"] = handled
        return wire

    def mend(self) -> None:
        shutil.rmtree(self.log)
        shutil.copytree(self.whole, self.log)


@pytest.fixture
def fresh(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def test_a_log_that_is_put_back_between_two_stages_is_found_at_the_next(fresh: Study) -> None:
    put_back = PutBack(fresh, "train")
    with pytest.raises(
        CenterError, match=r"center mercy did not train: the audit log of mercy has no entry \d+ as"
    ) as e:
        fresh.run(put_back.wire())
    assert "its hospital restores the log" in str(e.value)
    refused = fresh.audit("mercy")[-1]
    assert (refused.kind, refused.facts.message) == ("refused", "train request")
    put_back.mend()
    assert len(fresh.run(fresh.wire(), resume=True).stages) == 3


def test_a_log_that_is_put_back_before_a_test_leaves_its_cell_open(fresh: Study) -> None:
    fresh.run(PutBack(fresh, "evaluate").wire())
    journal = Journal.open(fresh.root / "run")
    for missing in (journal.row(1).missing, journal.row(2).missing):
        assert set(missing) == {"mercy"} and "the audit log of mercy has no entry" in missing["mercy"]


def test_the_coordinator_finds_a_shorter_log_where_a_hospital_does_not_look(
    fresh: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Custody, "check_log", lambda *_: None)
    fresh.run(PutBack(fresh, "evaluate").wire())
    said = r"center mercy replied from an audit log that ends with entry (\d+), where this run knows entry (\d+) of it"
    found = re.search(said, Journal.open(fresh.root / "run").row(1).missing["mercy"])
    assert found and int(found[1]) < int(found[2])


@pytest.mark.parametrize("method", ["replay", "fedavg"])
def test_a_finished_run_knows_where_each_log_ended(fresh: Study, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    for center in CENTERS:
        fresh.write_site(center, allow_averaged_models=True)
    heard: list[str] = []
    add_heads = Journal.add_heads

    def listen(self: Journal, heads: Mapping[str, LogHead | None]) -> None:
        heard.extend(heads)
        add_heads(self, heads)

    monkeypatch.setattr(Journal, "add_heads", listen)
    fresh.run(fresh.wire(method=method, rounds=2))
    messages = 3 + 9 if method == "replay" else 2 * 3 + 3
    assert len(heard) == len(CENTERS) + messages, "at the roll call, and with every reply"
    assert heads(fresh) == {center: (len(log := fresh.audit(center)), log[-1].hash) for center in CENTERS}

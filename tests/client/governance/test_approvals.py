"""What a hospital approved, in its state folder: kept, listed, ended, and not relied on where it was changed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from client.governance.approvals import Approvals
from client.governance.audit_log import AuditLog
from shared.errors import PolicyError, RecordError, SettingsError
from shared.protocol.document import StudyProtocol
from shared.trust.identity import Keys
from tests.support.approved import protocol_of

KEYS = {center: Keys.generate(center) for center in ("milan", "ucsf", "amu")}


def clock() -> datetime:
    return datetime(2030, 5, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def protocols(run_config: dict[str, Any]) -> tuple[StudyProtocol, StudyProtocol]:
    first, second = (protocol_of(run_config, KEYS, title) for title in ("first", "second"))
    return first, second


def test_what_was_approved_is_found_until_it_is_revoked(
    tmp_path: Path, protocols: tuple[StudyProtocol, StudyProtocol]
) -> None:
    approvals, (first, second) = Approvals(tmp_path, "milan", clock), protocols
    with pytest.raises(PolicyError, match=f"has not approved protocol {first.digest[:8]}: it gets the file"):
        approvals.find(first.digest)
    approvals.approve(first)
    approvals.approve(second)
    assert Approvals(tmp_path, "milan", clock).find(first.digest) == first
    assert approvals.revoke(first.digest[:12]) == first
    with pytest.raises(PolicyError, match=f"has revoked protocol {first.digest[:8]} on 2030-05-01"):
        approvals.find(first.digest)
    assert approvals.find(second.digest) == second
    assert {(one.protocol.title, bool(one.revoked)) for one in approvals.all()} == {("first", True), ("second", False)}
    entries = AuditLog(tmp_path / "audit").entries()
    assert [(e.kind, e.facts.checksums) for e in entries] == [
        ("approved", (first.digest,)),
        ("approved", (second.digest,)),
        ("revoked", (first.digest,)),
    ]


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_what_nobody_approved_is_not_found(tmp_path: Path, digest: str) -> None:
    with pytest.raises(PolicyError, match="this hospital has not approved protocol"):
        Approvals(tmp_path, "milan", clock).find(digest)


def test_a_beginning_must_name_one_protocol(tmp_path: Path, protocols: tuple[StudyProtocol, StudyProtocol]) -> None:
    approvals = Approvals(tmp_path, "milan", clock)
    for protocol in protocols:
        approvals.approve(protocol)
    for begins in ("", "none"):
        with pytest.raises(SettingsError, match="give more of the digest"):
            approvals.revoke(begins)
    assert not any(one.revoked for one in approvals.all())


@pytest.mark.parametrize("how", ["other", "cut", "another protocol"])
def test_a_file_that_was_changed_approves_nothing(
    tmp_path: Path, protocols: tuple[StudyProtocol, StudyProtocol], how: str
) -> None:
    approvals, (first, second) = Approvals(tmp_path, "milan", clock), protocols
    approvals.approve(first)
    approvals.approve(second)
    path, other = (tmp_path / "protocols" / f"{one.digest}.json" for one in protocols)
    content = {"other": b"{}", "cut": path.read_bytes()[:-20], "another protocol": other.read_bytes()}[how]
    path.write_bytes(content)
    with pytest.raises(RecordError, match="nothing is done by it; delete the file and approve the protocol again"):
        approvals.find(first.digest)


def test_what_cannot_be_written_is_not_approved(tmp_path: Path, protocols: tuple[StudyProtocol, StudyProtocol]) -> None:
    approvals, (first, second) = Approvals(tmp_path, "milan", clock), protocols
    approvals.approve(second)
    (tmp_path / "protocols" / f"{first.digest}.json").mkdir()
    with pytest.raises(RecordError, match="nothing was approved or revoked"):
        approvals.approve(first)

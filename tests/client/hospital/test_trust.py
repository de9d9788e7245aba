"""What a hospital decides by when it is asked for something."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.governance.audit_log import AuditLog
from client.governance.pinned_keys import Peers
from client.governance.policy import Policy, Role
from client.hospital.trust import Custody
from shared.errors import PolicyError
from shared.wire.headers import TrainTask

TASK = TrainTask(run="0" * 32, stage=0, center="milan", contribute=False)


def custody_with(policy: Policy, folder: Path) -> Custody:
    def clock() -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    peers = Peers({}, {}, "a test")
    return Custody(
        center="milan",
        policy=policy,
        peers=peers,
        keys=None,
        audit=AuditLog(folder, clock),
        tasks=None,
        sealed=False,
        clock=clock,
        simulated=False,
    )


@pytest.mark.parametrize(
    ("role", "trains", "tests"), [("train", True, False), ("evaluate", False, True), ("both", True, True)]
)
def test_a_center_does_only_what_its_role_says(role: str, trains: bool, tests: bool, tmp_path: Path) -> None:
    custody = custody_with(Policy.of({"role": role}, "x"), tmp_path / "audit")
    asked: tuple[tuple[Role, bool], ...] = (("train", trains), ("evaluate", tests))
    for task, may in asked:
        reached = False
        if may:
            with custody.asked(task, TASK):
                reached = True
        else:
            with (
                pytest.raises(PolicyError, match=f"role {role}, and it was asked to {task}"),
                custody.asked(task, TASK),
            ):
                reached = True
        assert reached == may
    assert custody.audit is not None
    refused = [entry.facts.message for entry in custody.audit.entries() if entry.kind == "refused"]
    assert refused == [f"{task} request" for task, may in asked if not may], "each refusal is written down"

"""What a hospital decides by when it is asked for something."""

import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from client.governance.pinned_keys import Peers
from client.governance.policy import Policy, Role
from client.hospital.center import Hospital
from client.hospital.trust import EXEMPLARS, Custody, Left
from shared.config.settings import Settings
from shared.errors import PolicyError
from shared.methods import METHODS
from shared.wire.headers import TrainTask
from tests.conftest import ROOT, Configured

PAPER = tomllib.loads((ROOT / "scenarios" / "paper.toml").read_text())
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


def policy_by(**floors: int) -> Policy:
    return Policy.of({"role": "both"} | {key.replace("_", "-"): value for key, value in floors.items()}, "x")


HOSPITAL = Hospital("milan", (), (), 2.0, True, Path("x"), Path("x"), b"key", training_subjects=6, training_images=6)
HOSPITAL = replace(HOSPITAL, training_contrasts=1)


def untrained(custody: Custody, settings: Settings, rounds: int = 1) -> str:
    try:
        custody.check_training(HOSPITAL, settings, rounds)
    except PolicyError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("scenario", [*({"method": method} for method in METHODS), PAPER], ids=[*METHODS, "paper"])
def test_the_floors_let_the_scenarios_pass(tmp_path: Path, scenario: dict[str, Any]) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        config = tomllib.load(file)["tool"]["flwr"]["app"]["config"]
    settings = Settings.from_run_config(config | scenario)
    custody = custody_with(Policy.of({"role": "both"}, "x"), tmp_path / "audit")
    assert custody.shown(HOSPITAL, settings).untrained == ""


@pytest.mark.parametrize(
    ("floors", "said"),
    [
        ({"least_steps": 9}, "8 steps where least-steps = 9"),
        ({"least_batch": 3}, "2 patches of its own a step where least-batch = 3"),
        ({"least_subjects": 7}, "6 subjects where least-subjects = 7"),
    ],
)
def test_a_training_below_a_floor_is_refused_and_told_beforehand(
    tmp_path: Path, configured: Configured, floors: dict[str, int], said: str
) -> None:
    settings = configured(steps=8, batch_size=4, method="replay")
    lax = {"least_steps": 8, "least_batch": 2, "least_subjects": 6}
    assert untrained(custody_with(policy_by(**lax), tmp_path / "lax"), settings) == ""
    custody = custody_with(policy_by(**lax | floors), tmp_path / "audit")
    assert f"policy lets no model train so: {said}: the coordinator asks" in untrained(custody, settings)
    assert custody.shown(HOSPITAL, settings).untrained == said


def test_steps_are_those_of_one_round_and_of_each_contrast_and_epoch(tmp_path: Path, configured: Configured) -> None:
    custody = custody_with(policy_by(least_steps=5, least_batch=1), tmp_path / "audit")
    assert "4 steps" in untrained(custody, configured(steps=8), rounds=2)
    assert "4 steps" in custody.shown(HOSPITAL, configured(steps=8, method="fedavg", rounds=2)).untrained
    epochs = {"steps": 0, "schedule": "step", "batch_size": 4}
    assert "4 steps" in untrained(custody, configured(**epochs, epochs=2))  # of two batches
    assert untrained(custody, configured(**epochs, epochs=3)) == ""


def test_what_left_of_a_subject_is_counted_once_over_all_runs(tmp_path: Path) -> None:
    custody = custody_with(Policy(), tmp_path / "audit")
    one, other = ("a" * 64, "b" * 64)
    facts = Facts(message=EXEMPLARS, run="0" * 32, checksums=(one, other), size=20, subjects=("a" * 16, "b" * 16))
    custody.note("sent", facts)
    custody.note("sent", facts)  # again, from disk
    custody.note("sent", Facts(message=EXEMPLARS, run="1" * 32, checksums=(one,), size=5, subjects=("a" * 16,)))
    custody.note("refused", Facts(message=EXEMPLARS, checksums=(one,), size=7, subjects=("c" * 16,)))
    assert custody.sent_before() == {"a" * 16: Left(2, 15), "b" * 16: Left(1, 10)}


def test_of_those_withdrawn_the_coordinator_hears_whose_crop_it_had_in_this_run_or_its_parents(tmp_path: Path) -> None:
    custody = custody_with(Policy(), tmp_path / "audit")
    in_this, in_parent, in_another, in_none = (name * 16 for name in "abcd")
    for run, subject in (("0" * 32, in_this), ("1" * 32, in_parent), ("2" * 32, in_another)):
        custody.note("sent", Facts(message=EXEMPLARS, run=run, checksums=("e" * 64,), size=1, subjects=(subject,)))
    withdrawn = frozenset({in_this, in_parent, in_another, in_none})
    named = {known: name * 16 for known, name in zip(sorted(withdrawn), "3210", strict=True)}
    hospital = replace(HOSPITAL, runs=("0" * 32, "1" * 32), withdrawn=withdrawn, outside=named)
    assert custody.to_drop(hospital) == ("2" * 16, "3" * 16), "as the run calls those in it and in its parent"
    assert custody.to_drop(replace(hospital, withdrawn=frozenset({in_another}))) == ()

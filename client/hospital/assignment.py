"""What a hospital is to do when a message comes: in simulation what it says, deployed what was approved.

A deployed hospital derives every task from the protocol that it approved, and compares: a message can ask for nothing
else. Neither settings nor names of runs are taken from it.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flwr.app import Context

from client.governance.approvals import Approvals
from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from client.governance.records import AUDIT, Records
from client.hospital.config import Site
from shared.clock import Clock
from shared.config.settings import Settings
from shared.errors import MessageError, PolicyError, RecordError, SettingsError, WardroundError
from shared.protocol.plan import RunPlan, plan_of_run
from shared.wire.headers import TOLD, EvaluateTask, TrainTask

OURS: Mapping[str, str | bool] = {"data-dir": "", "cache-dir": "", "output-dir": "", "protocol": "", "resume": False}
"""Circumstances that are no coordinator's to name, as a deployed hospital has them."""


@dataclass(frozen=True)
class Assignment:
    """The settings of a run here, and what follows from them."""

    settings: Settings
    runs: tuple[str, ...]
    """The run's name, and those of the runs that it goes on from."""
    plan: RunPlan | None = None
    """None in simulation, where nothing is approved."""
    site: Site | None = None
    """The hospital that is deployed here; None in simulation."""
    root: str = ""
    """The oldest of its runs, by which all of them name subjects in what leaves; empty in simulation."""

    def check_train(self, task: TrainTask) -> None:
        """See that the protocol has this task. Raises `MessageError`."""
        if self.plan is None:
            return
        stage = self.plan.stage(task.stage)
        if task.center not in stage.centers:
            raise MessageError(
                f"the coordinator asked {task.center} to train at stage {task.stage + 1}, {self._unsaid}"
            )
        expected = self.plan.train_task(task.stage, task.center)
        asked = [name for name in TrainTask.model_fields if name not in TOLD]
        if differing := [name for name in asked if getattr(task, name) != getattr(expected, name)]:
            raise MessageError(f"the coordinator asked for another {' and '.join(differing)}, {self._unsaid}")

    def check_evaluate(self, task: EvaluateTask) -> None:
        """See that the protocol has this task. Raises `MessageError`."""
        if self.plan is not None and task.center not in self.plan.stage(task.stage).tests:
            raise MessageError(
                f"the coordinator asked {task.center} to test the model of stage {task.stage + 1}, {self._unsaid}"
            )

    @property
    def _unsaid(self) -> str:
        digest = self.plan.protocol[:8] if self.plan else ""
        return f"which the approved protocol {digest} does not say: refused"


def assigned(site: Site, protocol: str, runs: tuple[str, ...], context: Context, clock: Clock) -> Assignment:
    """What a deployed hospital approved of the run that a message names; a refusal is noted in the audit log.

    Raises `PolicyError` where it has not approved the protocol, `MessageError`, `SettingsError`, `RecordError`.
    """
    Records(site.state, site.center)
    try:
        approved = Approvals(site.state, site.center, clock).find(protocol)
        circumstances: dict[str, Any] = {**context.run_config, **OURS}
        if not runs:
            raise MessageError("the coordinator named no run: refused")
        plan = plan_of_run(approved, runs[0], circumstances)
    except (PolicyError, MessageError) as error:
        _note_refused(site, clock, error)
        raise
    except SettingsError as error:
        raise SettingsError(f"{error}; does the coordinator run another version of Wardround?") from None
    return Assignment(plan.settings, plan.runs, plan, site, plan.runs[-1])


def _note_refused(site: Site, clock: Clock, error: WardroundError) -> None:
    with suppress(RecordError):  # the refusal stands, whether it can be noted or not
        AuditLog(site.state / AUDIT, clock).append("refused", Facts(message="request", reason=error.public))

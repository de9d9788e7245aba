"""What follows from a run's settings, order and identities: each stage's task, and whose model must come with it.

The coordinator asks by this plan, and a hospital that approved the protocol derives the same one and compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shared.config.settings import Settings
from shared.course import Stage, plan_course
from shared.errors import MessageError, SettingsError
from shared.protocol.document import Ancestor, StudyProtocol, Value
from shared.replay.memory import center_budget
from shared.wire.headers import EvaluateTask, LogHead, TrainTask


@dataclass(frozen=True)
class Origin:
    """Where a model must come from."""

    protocol: str
    run: str
    stage: int
    center: str


@dataclass(frozen=True)
class RunPlan:
    """One run, as both sides derive it."""

    run: str
    settings: Settings
    order: tuple[str, ...]
    identities: Mapping[str, str]
    """Name and public keys of the centers that have some."""
    protocol: str = ""
    """Digest of the protocol; empty in simulation."""
    lineage: tuple[Ancestor, ...] = ()

    @cached_property
    def course(self) -> tuple[Stage, ...]:
        """The stages."""
        return plan_course(self.order, self.settings.run)

    @property
    def runs(self) -> tuple[str, ...]:
        """The run's name, and those of the runs that it goes on from, the latest first."""
        return (self.run, *(ancestor.run for ancestor in reversed(self.lineage)))

    def stage(self, index: int) -> Stage:
        """A stage of the course. Raises `MessageError`."""
        if index >= len(self.course):
            raise MessageError(f"stage {index + 1} was asked for, but the course has {len(self.course)}")
        return self.course[index]

    def train_task(
        self, index: int, center: str, dropped: tuple[str, ...] = (), head: LogHead | None = None
    ) -> TrainTask:
        """What `center` is asked for at a stage; `dropped` and `head` are what it is told with it."""
        stage = self.stage(index)
        asked: dict[str, Any] = (
            {"round": index, "rounds": stage.rounds}
            if stage.apart
            else {
                "pool": stage.pool,
                "budget": center_budget(self.settings.memory.memory_megabytes, len(self.order)),
                "order": self.order,
                "identities": tuple(filter(None, map(self.identities.get, self.order[index + 1 :]))),
            }
        )
        return TrainTask(
            protocol=self.protocol,
            run=self.run,
            stage=index,
            center=center,
            contribute=stage.replay,
            dropped=dropped,
            head=head,
            **asked,
        )

    def evaluate_task(
        self, index: int, center: str, dropped: tuple[str, ...] = (), head: LogHead | None = None
    ) -> EvaluateTask:
        """What `center` is asked for when it is to test the model after a stage; the rest is as in `train_task`."""
        return EvaluateTask(
            protocol=self.protocol, run=self.run, stage=index, center=center, dropped=dropped, head=head
        )

    def origin(self, index: int) -> Origin | None:
        """Who must have trained, and signed, the model after a stage; None where it is an average."""
        stage = self.stage(index)
        if stage.apart:
            return None
        for ancestor in self.lineage:
            if index < ancestor.stages:
                return Origin(ancestor.protocol, ancestor.run, index, stage.center)
        return Origin(self.protocol, self.run, index, stage.center)


def plan_of(protocol: StudyProtocol, number: int, circumstances: Mapping[str, Value]) -> RunPlan:
    """The plan of a protocol's run `number`. Raises `SettingsError`."""
    settings = protocol.settings_of(number, circumstances)
    return RunPlan(
        run=protocol.run_name(number),
        settings=settings,
        order=settings.run.centers,
        identities=protocol.identities,
        protocol=protocol.digest,
        lineage=protocol.lineage,
    )


def plan_of_run(protocol: StudyProtocol, run: str, circumstances: Mapping[str, Value]) -> RunPlan:
    """The plan of the protocol's run that is called so. Raises `MessageError` where it has none."""
    for number in range(len(protocol.runs)):
        if protocol.run_name(number) == run:
            return plan_of(protocol, number, circumstances)
    raise MessageError(f"run {run[:8]} is none of the {len(protocol.runs)} that protocol {protocol.digest[:8]} lists")


def number_of(protocol: StudyProtocol, settings: Settings) -> int:
    """Which of the protocol's runs has these settings. Raises `SettingsError` where none has."""
    differing: list[str] = []
    for number in range(len(protocol.runs)):
        differing = settings.changes_of_science(protocol.settings_of(number, settings.to_run_config()))
        if not differing:
            return number
    raise SettingsError(
        f"protocol {protocol.digest[:8]} has other settings ({'; '.join(differing[:5])}): what is to change must be "
        "proposed, and approved, anew"
    )

"""Visiting the centers one after another: Flower's Strategy whose `start` is the loop.

Flower's own `Strategy.start` goes on with the old model when a node failed. Here a round is
one stage, at one center, and a failed center ends the run by its name.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from server.course import Stage
from server.dispatch import exchange
from server.inspection import inspect_reply
from server.roster import Roster
from shared.errors import CenterError, MessageError
from shared.memory import ReplayMemory, center_budget
from shared.messages import (
    EvaluateRequest,
    EvaluateTask,
    TestFigures,
    TrainFigures,
    TrainRequest,
    TrainTask,
    pack_evaluate_request,
    pack_train_request,
    unpack_header,
    unpack_train_reply,
)
from shared.network import Weights, carry_over, initial_weights
from shared.progress import say
from shared.seeds import derive_seed
from shared.settings import Settings


@dataclass(frozen=True)
class StageRecord:
    """All that is known of a finished stage."""

    stage: Stage
    weights: Weights
    memory: ReplayMemory
    """As handed on after the stage."""
    figures: TrainFigures
    tests: dict[str, TestFigures]
    """What each center's test gave, in order of the visits; a center whose test failed is not there."""
    missing: dict[str, str]
    """The reason for each center whose test failed."""
    evaluating_seconds: float
    transit_seconds: float

    @property
    def row(self) -> dict[str, float]:
        """The stage's row of R: mean test Dice by center, as far as it is known."""
        return {center: mean_dice(figures) for center, figures in self.tests.items()}


def mean_dice(figures: TestFigures) -> float:
    """A cell of R: the mean test Dice at one center."""
    return fmean(case.dice for case in figures.cases)


class Visits(Strategy):
    """Train at one center after another, and test at all of them after each."""

    def __init__(
        self,
        settings: Settings,
        roster: Roster,
        course: tuple[Stage, ...],
        order: tuple[str, ...],
        on_stage: Callable[[StageRecord], None] = lambda record: None,
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._course = course
        self._order = order
        self._on_stage = on_stage
        self._ttl = settings.run.message_hours * 3600
        self._fresh: Weights = {}
        self._sent: Weights = {}
        self._memory = ReplayMemory()
        self._figures: TrainFigures | None = None
        self._tests: dict[str, TestFigures] = {}
        self._missing: dict[str, str] = {}

    def start(self, grid: Grid, initial_arrays: ArrayRecord | None = None, **_: Any) -> Result:  # type: ignore[override]
        """Work off the course and return Flower's result, with a round for each stage.

        `initial_arrays` takes the place of the seeded initial network. Raises `CenterError`
        with the name of a center that failed to train. A failed test is a missing cell of R.
        """
        if initial_arrays is None:
            seed = derive_seed(self._settings.run.seed, "network")
            initial_arrays = ArrayRecord(initial_weights(self._settings.network, seed))
        self._fresh = dict(initial_arrays.to_torch_state_dict())
        self.summary()
        result = Result()
        result.arrays = initial_arrays
        for stage in self._course:
            round_ = stage.index + 1
            begun = time.monotonic()
            messages = self.configure_train(round_, result.arrays, ConfigRecord(), grid)
            replies = exchange(grid, messages, [f"center {stage.center}"], self._ttl)
            result.arrays, result.train_metrics_clientapp[round_] = self.aggregate_train(round_, replies)
            trained = time.monotonic()
            messages = self.configure_evaluate(round_, result.arrays, ConfigRecord(), grid)
            replies = exchange(grid, messages, self._order, self._ttl, on_failure=self._miss)
            result.evaluate_metrics_clientapp[round_] = self.aggregate_evaluate(round_, replies)
            self._finish(stage, result.arrays, trained - begun, time.monotonic() - trained)
        return result

    def summary(self) -> None:
        """Say what will be done."""
        run = self._settings.run
        say(f"{run.method}, seed {run.seed}, {run.order} order: {' -> '.join(self._order)}")

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The one train message of a stage: model, memory and task, to the center's node."""
        settings = self._settings
        stage = self._course[server_round - 1]
        say(f"stage {server_round}/{len(self._course)}: training at {_where(stage)}")
        self._sent = self._fresh
        if stage.start == "carried":
            seed = derive_seed(settings.run.seed, "decoder", stage.index)
            carried = dict(arrays.to_torch_state_dict())
            self._sent = carry_over(carried, settings.run.carry, settings.network, seed)
        memory = self._memory if stage.replay else ReplayMemory()
        content = pack_train_request(TrainRequest(self._task(stage), self._sent, memory))
        return [Message(content, self._roster.nodes[stage.center], "train", ttl=self._ttl)]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        """The model of the stage's one reply; its contribution joins the memory."""
        stage = self._course[server_round - 1]
        (message,) = replies
        try:
            reply = unpack_train_reply(message.content)
        except MessageError as error:
            raise CenterError(f"center {stage.center} did not train: {error}") from None
        inspect_reply(reply, self._task(stage), self._sent, self._settings.memory.memory_subjects)
        self._figures = reply.figures
        if stage.replay:
            self._memory = self._memory.with_contribution(stage.center, reply.contribution)
        return ArrayRecord(reply.weights), MetricRecord({"loss": reply.figures.final_loss})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """A test message with the model to every center."""
        weights = dict(arrays.to_torch_state_dict())
        self._tests, self._missing = {}, {}
        for center in self._order:
            task = EvaluateTask(stage=server_round - 1, center=center)
            content = pack_evaluate_request(EvaluateRequest(task, weights))
            # Flower hands the group of a message on to its reply: so a refusal is known by its center.
            yield Message(content, self._roster.nodes[center], "evaluate", ttl=self._ttl, group_id=center)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord:
        """The stage's row of R, as far as the centers answered. Raises `CenterError` where none did."""
        for message in replies:
            center = message.metadata.group_id
            try:
                figures = unpack_header(message.content, TestFigures)
            except MessageError as error:
                self._miss(center, f"did not test: {error}")
                continue
            if figures.center == center:
                self._tests[center] = figures
        for center in self._order:
            if center not in self._tests and center not in self._missing:
                self._miss(center, "sent no test scores: look at its client's log")
        if not self._tests:
            reasons = "; ".join(f"center {center} {reason}" for center, reason in self._missing.items())
            raise CenterError(f"no center could test the model: {reasons}")
        return MetricRecord({center: mean_dice(figures) for center, figures in self._tests.items()})

    def _miss(self, center: str, reason: str) -> None:
        """Note, aloud, that a cell of R stays empty."""
        say(f"no score: center {center} {reason}")
        self._missing[center] = reason

    def _task(self, stage: Stage) -> TrainTask:
        return TrainTask(
            stage=stage.index,
            center=stage.center,
            pool=stage.pool,
            steps_factor=stage.steps_factor,
            contribute=stage.replay,
            budget=center_budget(self._settings.memory.memory_megabytes, len(self._order)),
        )

    def _finish(self, stage: Stage, arrays: ArrayRecord, training: float, evaluating: float) -> None:
        """Hand the finished stage on, and say what it reached."""
        figures = self._figures
        if figures is None:
            raise CenterError(f"center {stage.center} sent no figures of its training")
        record = StageRecord(
            stage=stage,
            weights=dict(arrays.to_torch_state_dict()),
            memory=self._memory,
            figures=figures,
            tests={center: self._tests[center] for center in self._order if center in self._tests},
            missing=self._missing,
            evaluating_seconds=evaluating,
            transit_seconds=max(0.0, training - figures.seconds),
        )
        self._on_stage(record)
        computing = figures.compute_seconds / max(figures.seconds, 1e-9)
        say(
            f"stage {stage.index + 1}/{len(self._course)}: {figures.steps} steps, loss {figures.final_loss:.3f}, "
            f"{figures.seconds:.0f} s training ({computing:.0%} of it computing), "
            f"{evaluating:.0f} s testing, memory {len(self._memory.exemplars)} exemplars, "
            f"{self._memory.nbytes / 1e6:.1f} MB\n"
            f"Dice: {'  '.join(f'{center} {dice:.2f}' for center, dice in record.row.items())}"
        )


def _where(stage: Stage) -> str:
    return "all centers together" if stage.pool else stage.center

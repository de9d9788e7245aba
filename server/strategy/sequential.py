"""Visiting the centers one after another: Flower's Strategy whose `start` is the loop.

Flower's own `Strategy.start` goes on with the old model when a node failed. Here a round is
one stage, at one center, and a failed center ends the run by its name. Whatever a round
reaches is in the journal before the next step begins; what is there already is not done again.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from server.exchange import Count, Failure, Patience, exchange
from server.journal.journal import Journal
from server.journal.records import mean_dice
from server.replay import hand_on
from server.reply_validation import inspect_reply, tests_problem
from server.roster import Roster
from server.tracking import OFF, Tracking
from shared.clock import utc_now
from shared.config.settings import Settings
from shared.course import Stage
from shared.errors import CenterError, MessageError
from shared.log import say
from shared.metrics.transfer import collapsed_stages
from shared.model.weights import Weights
from shared.protocol.lineage import first_weights
from shared.protocol.plan import RunPlan
from shared.replay.contribution import Contribution
from shared.text import counted
from shared.wire.headers import LogHead, TestFigures
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    pack_evaluate_request,
    pack_train_request,
    unpack_train_reply,
)
from shared.wire.records import unpack_header


class Visits(Strategy):
    """Train at one center after another, and test after each: at all of them, or at a sample."""

    def __init__(
        self,
        settings: Settings,
        roster: Roster,
        course: tuple[Stage, ...],
        journal: Journal,
        tracking: Tracking = OFF,
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._course = course
        self._journal = journal
        self._tracking = tracking
        self._ttl = settings.run.message_hours * 3600
        self._fresh: Weights = {}
        self._memory: tuple[Contribution, ...] = ()
        self._request: TrainRequest | None = None
        self._reply: TrainReply | None = None
        self._missing: dict[str, str] = {}

    def start(self, grid: Grid, initial_arrays: ArrayRecord | None = None, **_: Any) -> Result:  # type: ignore[override]
        """Work off what the journal lacks of the course; return Flower's result, with a round for each stage.

        `initial_arrays` takes the place of the run's own first model, which is asked for only where a stage that is
        left begins with it. Raises `CenterError` with the name of a center that failed to train. A failed test is a
        missing cell of R.
        """
        if initial_arrays is None:
            left = self._course[self._journal.trained :]
            first = any(stage.start == "initial" for stage in left)
            initial_arrays = ArrayRecord(first_weights(self._settings) if first else {})
        self._fresh = dict(initial_arrays.to_torch_state_dict())
        self._hear_withdrawals()
        self._memory = self._journal.memory()
        self.summary()
        result = Result()
        result.arrays = initial_arrays
        for stage in self._course:
            round_ = stage.index + 1
            known = stage.index < self._journal.trained
            if known:
                result.arrays = ArrayRecord(self._journal.weights(stage.index))
            else:
                result.arrays = self._train(grid, round_, stage, result.arrays)
            loss = self._journal.figures(stage.index).final_loss
            result.train_metrics_clientapp[round_] = MetricRecord({"loss": loss})
            if self._journal.untested(stage):
                self._test(grid, round_, stage, result.arrays)
            records = self._journal.records(self._course)[:round_]
            if stage.tested:
                result.evaluate_metrics_clientapp[round_] = MetricRecord({**records[-1].row})
            # Those that were known before, too: a run that goes on is tracked anew.
            self._tracking.stage(records)
        return result

    def summary(self) -> None:
        """Say what will be done."""
        run = self._settings.run
        say(f"{run.method}, seed {run.seed}, {run.order} order: {' -> '.join(self._journal.order)}")
        if run.evaluators:
            say(f"tested only, never trained on: {', '.join(run.evaluators)}")

    def _train(self, grid: Grid, round_: int, stage: Stage, arrays: ArrayRecord) -> ArrayRecord:
        begun = time.monotonic()
        count = Count()
        messages = count.sent(self.configure_train(round_, arrays, ConfigRecord(), grid))
        replies = exchange(
            grid, messages, [stage.center], self._ttl, patience=self._patience(grid), on_failure=_no_training
        )
        trained, _ = self.aggregate_train(round_, count.received(replies))
        if self._request is None or self._reply is None:
            raise CenterError(f"center {stage.center} sent no reply: look at its client's log")
        seconds = max(0.0, time.monotonic() - begun - self._reply.figures.seconds)
        self._journal.add_visit(self._request, self._reply, self._settings, count.transit(seconds))
        return trained

    def _test(self, grid: Grid, round_: int, stage: Stage, arrays: ArrayRecord) -> None:
        begun = time.monotonic()
        count = Count()
        messages = list(count.sent(self.configure_evaluate(round_, arrays, ConfigRecord(), grid)))
        names = [message.metadata.group_id for message in messages]
        say(f"{stage.kind} {round_}/{len(self._course)}: testing at {', '.join(names)}")
        replies = exchange(grid, messages, names, self._ttl, patience=self._patience(grid), on_failure=self._not_tested)
        self.aggregate_evaluate(round_, count.received(replies))
        self._journal.end_tests(stage.index, self._missing, time.monotonic() - begun, count.moved)
        self._say_reached(stage)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The one train message of a stage: model, memory and task, to the center's node."""
        stage = self._course[server_round - 1]
        say(f"stage {server_round}/{len(self._course)}: training at {stage.where}")
        carried = stage.start == "carried"
        sent = dict(arrays.to_torch_state_dict()) if carried else self._fresh
        origin = self._journal.signed(stage.index - 1) if carried else None
        memory = self._handed_on(stage) if stage.replay else ()
        task = self._plan.train_task(stage.index, stage.center, *self._told(stage.center))
        self._request = TrainRequest(task, sent, memory, self._journal.state(), origin)
        content = pack_train_request(self._request)
        return [Message(content, self._roster.nodes[stage.center], "train", ttl=self._ttl)]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        """The model of the stage's one reply; its contribution joins the memory."""
        stage = self._course[server_round - 1]
        (message,) = replies
        try:
            reply = unpack_train_reply(message.content)
        except MessageError as error:
            raise CenterError(f"center {stage.center} did not train: {error}") from None
        if self._request is None:
            raise CenterError(f"center {stage.center} replied, but was not asked")
        card = self._roster.cards[stage.center]
        inspect_reply(reply, self._request, self._plan, card, self._roster.simulated)
        self._journal.add_heads({stage.center: reply.figures.log})
        self._reply = reply
        if reply.contribution is not None:
            self._memory = (*self._memory, reply.contribution)
        self._withdraw(stage.center, reply.figures.withdrawn)
        return ArrayRecord(reply.weights), MetricRecord({"loss": reply.figures.final_loss})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """A test message with the model to every center that is to test it and has not."""
        stage = self._course[server_round - 1]
        weights = dict(arrays.to_torch_state_dict())
        self._missing = {}
        for center in self._journal.untested(stage):
            if center in self._settings.run.evaluators and not self._meet(grid, center):
                self._miss(center, "was not there to test")
                continue
            if center not in self._roster.nodes:
                self._miss(center, "did not come to the roll call")
                continue
            if not (card := self._roster.cards[center]).test_subjects:
                self._miss(center, f"has no subject to test on ({card.untested})")
                continue
            if card.withholds:
                self._miss(center, card.withholds)
                continue
            task = self._plan.evaluate_task(stage.index, center, *self._told(center))
            request = EvaluateRequest(task, weights, self._journal.signed(stage.index))
            content = pack_evaluate_request(request, arrays)
            # Flower hands the group of a message on to its reply: so a refusal is known by its center.
            yield Message(content, self._roster.nodes[center], "evaluate", ttl=self._ttl, group_id=center)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord:
        """The stage's row of R, as far as the centers answered. Raises `CenterError` where none did."""
        stage = self._course[server_round - 1]
        for message in replies:
            center = message.metadata.group_id
            try:
                figures = unpack_header(message.content, TestFigures)
            except MessageError as error:
                self._miss(center, f"did not test: {error}")
                continue
            if problem := tests_problem(figures, center, self._roster.cards[center]):
                self._miss(center, f"sent {problem}: refused; look at its client's log")
                continue
            try:
                self._journal.add_heads({center: figures.log})
            except CenterError as error:
                self._miss(center, f"did not test: {error}")
                continue
            self._journal.add_tests(stage.index, figures)
            self._withdraw(center, figures.withdrawn)
        for center in self._journal.untested(stage):
            if center not in self._missing:
                self._miss(center, "sent no test scores: look at its client's log")
        tests = self._journal.row(stage.index).tests
        if not tests.keys() - set(self._settings.run.evaluators):
            reasons = "; ".join(f"center {center} {reason}" for center, reason in self._missing.items())
            raise CenterError(f"no center could test the model: {reasons}")
        return MetricRecord({center: mean_dice(figures) for center, figures in tests.items()})

    def _meet(self, grid: Grid, evaluator: str) -> bool:
        """Whether an evaluator is there: as since the roll call, or come, or come back, since. Nobody waits for it."""
        run, known = self._settings.run, evaluator in self._roster.cards
        if self._roster.find(grid, run, evaluator, run.wait_seconds) is None:
            return False
        if not known:
            self._roster.check(self._journal, run)
            if evaluator in self._roster.cards:
                say(f"evaluator {evaluator} has come")
                self._withdraw(evaluator, self._roster.cards[evaluator].withdrawn)
        return evaluator in self._roster.nodes

    def _not_tested(self, failure: Failure) -> None:
        self._miss(failure.name, failure.reason)

    def _miss(self, center: str, reason: str) -> None:
        """Note, aloud, that a cell of R stays empty."""
        say(f"no score: center {center} {reason}")
        self._missing[center] = reason

    def _patience(self, grid: Grid) -> Patience:
        run = self._settings.run
        seconds = run.patience_minutes * 60
        shorter = dict.fromkeys(run.evaluators, min(seconds, run.wait_seconds))
        return Patience(seconds, lambda center, node: self._roster.find(grid, run, center), shorter)

    def _handed_on(self, stage: Stage) -> tuple[Contribution, ...]:
        """The memory as the stage's center gets it."""
        self._journal.forget_expired(now := utc_now())
        handed = hand_on(self._memory, stage.center, self._journal.withdrawn, now)
        kept_back = sorted({c.center for c in self._memory} - {c.center for c in handed} - {stage.center})
        if kept_back:
            say(f"not for {stage.center} to open, expired or withdrawn: what {', '.join(kept_back)} gave")
        return handed

    def _hear_withdrawals(self) -> None:
        for center, card in self._roster.cards.items():
            self._withdraw(center, card.withdrawn)

    def _withdraw(self, center: str, subjects: Iterable[str]) -> None:
        """Note, aloud, whose exemplars a center has withdrawn; they are handed on no more."""
        if new := self._journal.add_withdrawn(center, tuple(subjects)):
            dropped = sum(s in new for c in self._memory if c.center == center for s in c.subjects)
            say(f"{center} withdrew {len(new)} subjects: {dropped} of their exemplars leave the memory")

    def _told(self, center: str) -> tuple[tuple[str, ...], LogHead | None]:
        """What a task tells its center: whose withdrawals were heard, and where its audit log ended."""
        return tuple(self._journal.withdrawn.get(center, ())), self._journal.heads.get(center)

    @property
    def _plan(self) -> RunPlan:
        # In simulation by what the centers say of themselves now: one may have come since the run began.
        return self._journal.plan(self._settings, self._roster.identities)

    def _say_reached(self, stage: Stage) -> None:
        """Say what a finished stage reached."""
        record = self._journal.records(self._course)[stage.index]
        figures = record.figures
        evaluators = self._settings.run.evaluators
        own = {center: dice for center, dice in record.row.items() if center not in evaluators}
        never = {center: dice for center, dice in record.row.items() if center in evaluators}
        computing = figures.compute_seconds / max(figures.seconds, 1e-9)
        say(
            f"{stage.kind} {stage.index + 1}/{len(self._course)}: {figures.steps} steps, "
            f"loss {figures.final_loss:.3f}, {figures.seconds:.0f} s training ({computing:.0%} of it computing), "
            f"{record.evaluating_seconds:.0f} s testing, memory {record.memory_exemplars} exemplars, "
            f"{record.memory_bytes / 1e6:.1f} MB\n"
            f"Dice: {_scores(own)}" + (f"  | never trained on: {_scores(never)}" if never else "")
        )
        if figures.restarts:
            say(f"{stage.kind} {stage.index + 1} began again {counted(figures.restarts, 'time')}: it had collapsed")
        if collapsed_stages([[*own.values()]]):
            say(f"COLLAPSED: after {stage.kind} {stage.index + 1} the model finds next to nothing at any tested center")


def _scores(dice: Mapping[str, float]) -> str:
    return "  ".join(f"{center} {value:.2f}" for center, value in dice.items())


def _no_training(failure: Failure) -> None:
    raise CenterError(f"center {failure.name} {failure.reason}")

"""Federated averaging: all centers train from one model at once, and the average goes on.

McMahan et al. 2017 with every center in every round; the averaging is Flower's own `FedAvg`,
weighted by the subjects that each center trained on. What a center answered is in the journal
before the next answer is looked at, and so is the average before the next round begins.
"""

import time
from collections import Counter
from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from server.exchange import Count, Failure, exchange
from server.reply_validation import figures_problem, inspect_reply
from server.strategy.sequential import Visits
from shared.course import Stage
from shared.errors import CenterError, MessageError
from shared.log import say
from shared.stage_archive import KeptVisit
from shared.wire.headers import TrainFigures
from shared.wire.messages import TrainReply, TrainRequest, pack_train_request, unpack_train_reply


class Rounds(Visits):
    """Train at all centers, average, and go on; test at all of them after the last round."""

    _requests: dict[str, TrainRequest]
    _parts: dict[str, KeptVisit]
    _failures: list[str]
    _averaging = FedAvg()

    def _train(self, grid: Grid, round_: int, stage: Stage, arrays: ArrayRecord) -> ArrayRecord:
        begun = time.monotonic()
        count = Count()
        messages = list(count.sent(self.configure_train(round_, arrays, ConfigRecord(), grid)))
        names = [message.metadata.group_id for message in messages]
        replies = exchange(
            grid, messages, names, self._ttl, patience=self._patience(grid), on_failure=self._not_trained
        )
        averaged, metrics = self.aggregate_train(round_, count.received(replies))
        parts = {center: self._parts[center].visit.figures for center in stage.apart}
        figures = figures_together(parts, float(str(metrics["loss"])))
        seconds = max(0.0, time.monotonic() - begun - max(part.seconds for part in parts.values()))
        reply = TrainReply(dict(averaged.to_torch_state_dict()), None, figures)
        self._journal.add_visit(self._requests[stage.center], reply, self._settings, count.transit(seconds), parts)
        say(
            f"round {round_}/{stage.rounds}: {figures.steps} steps, loss {figures.final_loss:.3f}, "
            f"{figures.seconds:.0f} s training in all"
        )
        return averaged

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """A train message with the same model to every center whose answer is not in the journal."""
        stage = self._course[server_round - 1]
        weights = dict(arrays.to_torch_state_dict())
        plan = self._plan
        self._requests = {
            center: TrainRequest(plan.train_task(stage.index, center, *self._told(center)), weights, ())
            for center in stage.apart
        }
        found = {center: self._journal.part(request) for center, request in self._requests.items()}
        self._parts = {center: kept for center, kept in found.items() if kept is not None}
        self._failures = []
        waiting = [center for center in stage.apart if center not in self._parts]
        if waiting:
            say(f"round {server_round}/{stage.rounds}: training at {', '.join(waiting)}")
        for center in waiting:
            content = pack_train_request(self._requests[center], arrays)
            # Flower hands the group of a message on to its reply: so it is known by its center.
            yield Message(content, self._roster.nodes[center], "train", ttl=self._ttl, group_id=center)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        """The average of all centers' models, and of their losses.

        All answers are waited for and kept before a center that failed ends the run: so they are
        there when it goes on. Raises `CenterError` with the names of those that failed.
        """
        for message in replies:
            try:
                self._take(message)
            except CenterError as error:
                self._failures.append(str(error))
        stage = self._course[server_round - 1]
        if self._failures:
            raise CenterError("; ".join(self._failures))
        if silent := [center for center in stage.apart if center not in self._parts]:
            raise CenterError(f"center {silent[0]} sent no reply: look at its client's log")
        # In the order of the centers, not of their answers, since sums of floats depend on it.
        averaged, metrics = self._averaging.aggregate_train(
            server_round, [self._as_flower_has_it(center) for center in stage.apart]
        )
        if averaged is None or metrics is None:
            raise CenterError("no center's model could be averaged")
        return averaged, metrics

    def _take(self, message: Message) -> None:
        """Keep a center's answer. Raises `CenterError` where it is not what was asked for."""
        center = message.metadata.group_id
        try:
            reply = unpack_train_reply(message.content)
        except MessageError as error:
            raise CenterError(f"center {center} did not train: {error}") from None
        request, card = self._requests[center], self._roster.cards[center]
        inspect_reply(reply, request, self._plan, card, self._roster.simulated)
        if problem := figures_problem(reply.figures, card):
            raise CenterError(f"center {center} sent {problem}: refused; look at its client's log")
        self._journal.add_heads({center: reply.figures.log})
        self._parts[center] = self._journal.add_part(request, reply, self._settings)
        self._withdraw(center, reply.figures.withdrawn)

    def _as_flower_has_it(self, center: str) -> Message:
        """A center's answer as the one model and the one set of figures that `FedAvg` averages."""
        kept = self._parts[center]
        figures = kept.visit.figures
        metrics = MetricRecord({self._averaging.weighted_by_key: figures.subjects, "loss": figures.final_loss})
        content = RecordDict({"model": ArrayRecord(kept.weights()), "figures": metrics})
        return Message(content, self._roster.nodes[center], "train")

    def _not_trained(self, failure: Failure) -> None:
        self._failures.append(f"center {failure.name} {failure.reason}")


def figures_together(parts: dict[str, TrainFigures], loss: float) -> TrainFigures:
    """What a round cost all centers together; `loss` is its average."""
    figures = list(parts.values())
    return TrainFigures(
        steps=sum(part.steps for part in figures),
        subjects=sum(part.subjects for part in figures),
        final_loss=loss,
        seconds=sum(part.seconds for part in figures),
        compute_seconds=sum(part.compute_seconds for part in figures),
        set_aside=dict(sum((Counter(part.set_aside) for part in figures), Counter())),
    )

"""Courses over three hospitals that are written down here, without data or training."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Result

from server.app import STRATEGIES
from server.journal.journal import Journal
from server.journal.records import StageRecord
from server.roster import Roster
from server.strategy.sequential import Visits
from server.tracking import OFF, Tracking
from shared.config.settings import Settings
from shared.course import Stage, plan_course
from shared.model.weights import Weights
from shared.protocol.plan import RunPlan
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar, Extra
from shared.wire.headers import CenterCard, TestFigures, TrainFigures
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    pack_train_reply,
    unpack_evaluate_request,
    unpack_train_request,
)
from shared.wire.records import pack_header
from tests.support.fakes import FakeGrid
from tests.support.scored import case_score

CENTERS = ("ucsf", "amu", "milan")
NODES = {center: 101 + i for i, center in enumerate(CENTERS)}

DICE = [[0.6, 0.2, 0.1], [0.5, 0.7, 0.3], [0.4, 0.65, 0.8]]
"""What the hospitals report: by stage, then by center in the order of the visits."""

Train = Callable[[TrainRequest], RecordDict]
Test = Callable[[EvaluateRequest], RecordDict]


def exemplars(center: str, carries: Collection[Extra] = ()) -> tuple[Exemplar, ...]:
    """The two crops that a center contributes."""
    made = []
    for k in range(2):
        image = np.full((16, 16, 16), CENTERS.index(center) + k / 2, dtype=np.float32)
        label = image.clip(0, 1)
        one = Exemplar.encode(image, label, center=center, subject=f"s{k}", contrast="FLAIR", spacing=4.0)
        made.append(reduce(lambda exemplar, extra: exemplar.carrying(extra, label), carries, one))
    return tuple(made)


def trained(
    request: TrainRequest, parts: Collection[str] = (), carries: Collection[Extra] = (), **changes: Any
) -> RecordDict:
    """Add one to every weight, contribute where that is asked, and hand on these parts of a state."""
    figures = {"steps": 8, "subjects": 2, "final_loss": 0.25, "seconds": 1.0, "compute_seconds": 0.5}
    return pack_train_reply(
        TrainReply(
            weights={name: value + 1 for name, value in request.weights.items()},
            contribution=PlainContribution(exemplars(request.task.center, carries))
            if request.task.contribute
            else None,
            figures=TrainFigures.model_validate(figures | changes),
            state={part: state_after(request, part) for part in parts},
        )
    )


def state_after(request: TrainRequest, part: str) -> Weights:
    """One more for every parameter with every center."""
    before = request.state.get(part) or {name: torch.zeros_like(value) for name, value in request.weights.items()}
    return {name: value + 1 for name, value in before.items()}


def scored(request: EvaluateRequest) -> RecordDict:
    """Two cases whose mean Dice is the one in `DICE`."""
    dice = DICE[request.task.stage][CENTERS.index(request.task.center)]
    cases = tuple(case_score(subject=f"t{k}", dice=dice + part) for k, part in enumerate((-0.1, 0.1)))
    return pack_header(TestFigures(center=request.task.center, cases=cases, seconds=0.5))


def hospitals(train: Train = trained, test: Test = scored) -> ClientApp:
    app = ClientApp()

    @app.train()
    def _(message: Message, context: Context) -> Message:
        return Message(train(unpack_train_request(message.content)), reply_to=message)

    @app.evaluate()
    def _(message: Message, context: Context) -> Message:
        return Message(test(unpack_evaluate_request(message.content)), reply_to=message)

    return app


@dataclass
class Journey:
    """A course, the messages that it sent, and the stages that it finished."""

    settings: Settings
    grid: FakeGrid
    folder: Path
    journals: list[Journal] = field(default_factory=list)
    untested: dict[str, str] = field(default_factory=dict)
    """Why a center has no subject to test on."""

    def start(self, initial: ArrayRecord | None = None, tracking: Tracking = OFF) -> Result:
        """From the start, or from where the journal is."""
        cards = {
            c: CenterCard(
                center=c,
                training_subjects=2,
                test_subjects=0 if c in self.untested else 2,
                contrasts=("FLAIR",),
                fingerprint="f",
                untested=self.untested.get(c, ""),
            )
            for c in CENTERS
        }
        roster = Roster(dict(NODES), cards, simulated=True)
        if self.journals:
            self.journals.append(Journal.open(self.folder))
        else:
            self.journals.append(Journal.create(self.folder, RunPlan(uuid4().hex, self.settings, CENTERS, {}), cards))
        strategy = STRATEGIES.get(self.settings.run.spec.course, Visits)
        return strategy(self.settings, roster, self.course, self.journals[-1], tracking).start(self.grid, initial)

    @property
    def course(self) -> tuple[Stage, ...]:
        return plan_course(CENTERS, self.settings.run)

    @property
    def records(self) -> list[StageRecord]:
        """The stages that were tested to their end, as the journal on disk has them."""
        journal = Journal.open(self.folder)
        records = journal.records(self.course)
        return [record for record in records if record.stage.tested and not journal.untested(record.stage)]

    def weights(self, index: int) -> Weights:
        return Journal.open(self.folder).weights(index)

    @property
    def asked(self) -> list[TrainRequest]:
        """The train requests, as sent."""
        return [unpack_train_request(m.content) for m in self.grid.sent if m.metadata.message_type == "train"]

    @property
    def visits(self) -> list[tuple[str, int]]:
        """Kind and node of every message, as sent."""
        return [(m.metadata.message_type, m.metadata.dst_node_id) for m in self.grid.sent]


Setup = Callable[..., Journey]


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


SUBJECTS = {"ucsf": 2, "amu": 1, "milan": 1}
MOVES = {"ucsf": 1.0, "amu": 2.0, "milan": 8.0}
AVERAGE = 3.0
"""(2 x 1 + 1 x 2 + 1 x 8) / 4: how far the average moves in a round."""
LOSSES = {"ucsf": 0.5, "amu": 0.25, "milan": 0.75}


def moved(request: TrainRequest, **figures: Any) -> RecordDict:
    """Each center moves every weight by a number of its own."""
    center = request.task.center
    # `trained` adds one.
    start = {name: value + (MOVES[center] - 1) for name, value in request.weights.items()}
    known = {"subjects": SUBJECTS[center], "final_loss": LOSSES[center]}
    return trained(replace(request, weights=start), **(known | figures))

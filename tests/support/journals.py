"""Journals of runs over three centers, of which each stage says what a test expects."""

import json
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from server.journal.journal import Journal
from server.results import versions, write_results
from shared.config.settings import NetworkSettings, Settings
from shared.course import plan_course
from shared.model.network import initial_weights
from shared.model.weights import Weights
from shared.protocol.plan import RunPlan
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.results import RunResults, read_results
from shared.stage_archive import Moved, Transit
from shared.wire.headers import CenterCard, TestFigures, TrainFigures, TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from tests.support.scored import case_score

ORDER = ("ucsf", "amu", "milan")
TRANSIT = Transit(seconds=0.25, sent_bytes=400, received_bytes=200)
DICE = [[0.6, 0.2, 0.1], [0.5, 0.7, 0.3], [0.4, 0.65, 0.8]]


def of_method(settings: Settings, method: str) -> Settings:
    return settings.model_copy(update={"run": settings.run.model_copy(update={"method": method})})


def figures_of() -> TrainFigures:
    return TrainFigures(
        steps=8,
        subjects=2,
        final_loss=0.25,
        seconds=3.0,
        compute_seconds=2.0,
        set_aside={"cannot be read": 1},
    )


def crop(center: str) -> Exemplar:
    image = np.full((4, 4, 4), ORDER.index(center), dtype=np.float32)
    return Exemplar.encode(image, image.clip(0, 1), center=center, subject="s", contrast="FLAIR", spacing=4.0)


def journal_of(folder: Path, settings: Settings, without: tuple[int, str] | None = None) -> Journal:
    """The journal of a finished run: two test cases a center that was asked, one exemplar a stage."""
    cards = {
        c: CenterCard(center=c, training_subjects=2, test_subjects=2, contrasts=("T2w",), fingerprint="f")
        for c in ORDER
    }
    journal = Journal.create(folder, RunPlan(uuid4().hex, settings, ORDER, {}), cards)
    course = plan_course(ORDER, settings.run)
    journal.add_attempt(5, journal.where(course), versions())
    for stage in course:
        weights = weights_of(settings.network, stage.index)
        task = TrainTask(run=journal.facts.run, stage=stage.index, center=stage.center, contribute=True)
        reply = TrainReply(weights, PlainContribution((crop(stage.center),)), figures_of())
        journal.add_visit(TrainRequest(task, weights, ()), reply, settings, TRANSIT)
        for center, dice in zip(ORDER, DICE[stage.index], strict=True):
            if center in stage.tests and (stage.index, center) != without:
                cases = tuple(case_score(f"t{k}", "T2w", dice=dice + part) for k, part in enumerate((-0.1, 0.1)))
                journal.add_tests(stage.index, TestFigures(center=center, cases=cases, seconds=0.5))
        missing = {without[1]: "was switched off"} if without and without[0] == stage.index else {}
        journal.end_tests(stage.index, missing, 1.5, Moved(sent_bytes=900, received_bytes=30))
    journal.end_attempt()
    return journal


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def written(folder: Path, settings: Settings, **how: Any) -> RunResults:
    write_results(folder, settings, plan_course(ORDER, settings.run), journal_of(folder, settings, **how))
    json.loads((folder / "results.json").read_text(), parse_constant=no_constant)
    return read_results(folder)


@cache
def weights_of(network: NetworkSettings, index: int) -> Weights:
    """The model of a stage, which follows from its number; nobody may change it."""
    return initial_weights(network, index)


def visit_of(journal: Journal, settings: Settings) -> tuple[TrainRequest, TrainReply]:
    """The training that comes next: its model follows from its number."""
    index = journal.trained
    weights = weights_of(settings.network, index)
    center = journal.order[index % len(journal.order)]
    task = TrainTask(run=journal.facts.run, stage=index, center=center, contribute=True)
    return TrainRequest(task, weights, ()), TrainReply(weights, PlainContribution((crop(center),)), figures_of())


def scores_of(index: int, center: str) -> TestFigures:
    """Scores that tell from which stage and center they are."""
    dice = (1 + index + 0.1 * ORDER.index(center)) / 1000
    case = case_score("t0", "T2w", dice=dice)
    return TestFigures(center=center, cases=(case,), seconds=0.5)


def content(journal: Journal) -> dict[str, Any]:
    """All that a journal says, arrays by their bytes."""
    course = plan_course(journal.order, Settings.from_run_config(journal.facts.settings).run)
    return {
        "facts": journal.facts,
        "attempts": journal.attempts,
        "records": journal.records(course),
        "rows": [journal.row(index) for index in range(journal.trained)],
        "weights": [
            {name: (str(value.dtype), value.numpy().tobytes()) for name, value in journal.weights(index).items()}
            for index in range(journal.trained)
        ],
        "memory": [(c.document, {k: v.tobytes() for k, v in c.payloads.items()}) for c in journal.memory()],
    }


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path: Path, at: int = -20) -> None:
    """Change one bit."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def untested(journal: Journal) -> list[tuple[str, ...]]:
    """Of each stage."""
    run = Settings.from_run_config(journal.facts.settings).run
    return [journal.untested(stage) for stage in plan_course(journal.order, run)]


def card(center: str, fingerprint: str = "f") -> CenterCard:
    return CenterCard(center=center, training_subjects=2, test_subjects=2, contrasts=("T2w",), fingerprint=fingerprint)

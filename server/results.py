"""The results folder: results.json, matrix.csv and the model."""

import csv
import io
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from safetensors.torch import load_file

from server.journal.journal import Journal
from server.journal.records import Attempt, StageRecord
from shared.config.groups import RunSettings
from shared.config.settings import Settings
from shared.course import Stage
from shared.errors import ResultsError
from shared.files import write_whole
from shared.metrics.transfer import (
    backward_transfer,
    backward_transfer_of_learnt,
    backward_transfer_over_k,
    backward_transfer_per_center,
    forgetting,
    learning_accuracy,
    mean_known,
)
from shared.model.model_file import model_bytes
from shared.paths import MODEL, RESULTS
from shared.result_notes import collapsed_lines, restarted_lines
from shared.results import (
    CenterScores,
    ExtendedRun,
    ImageScores,
    Interruption,
    MissingTest,
    RoundResult,
    RunAttempt,
    RunHistory,
    RunResults,
    StageResult,
    TrainedCenter,
    centers_not_learnt,
    passed_over,
)
from shared.wire.headers import CenterCard, TestFigures

PACKAGES = ("wardround", "flwr", "torch", "monai", "nibabel", "numpy")


def write_results(folder: Path, settings: Settings, course: tuple[Stage, ...], journal: Journal) -> RunResults:
    """Write all that the journal of a finished run says. Raises `ResultsError` where the disk refuses.

    `results.json` comes last: where it is, all is there. Returns what is in it.
    """
    records = journal.records(course)
    withdrawn = {center: len(subjects) for center, subjects in journal.withdrawn.items()}
    results = summarise(settings, journal.order, records, history(journal), withdrawn, journal.facts.cards)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["trained_at", *journal.order])
    writer.writerows([_row_name(r), *_row(r, journal.order)] for r in records if r.stage.tested)
    try:
        for record in records if settings.run.spec.fresh else []:
            (folder / "models").mkdir(exist_ok=True)
            _write_model(record, journal, folder / "models" / f"{record.stage.center}.safetensors", settings)
        _write_model(records[-1], journal, folder / MODEL, settings)
        write_whole(folder / "matrix.csv", table.getvalue().encode())
        write_whole(folder / RESULTS, results.to_json())
    except OSError as error:
        reason = error.strerror or error
        raise ResultsError(f"results cannot be written to {folder} ({reason}): free or choose another disk") from None
    return results


def history(journal: Journal) -> RunHistory:
    """How a run came about: the run that it extends, when it was started, and each time it was interrupted."""
    facts, attempts = journal.facts, journal.attempts
    return RunHistory(
        run=facts.run,
        extends=ExtendedRun(**facts.parent.model_dump()) if facts.parent else None,
        attempts=tuple(RunAttempt(**attempt.model_dump()) for attempt in attempts),
        interruptions=tuple(
            Interruption(
                at=after.begins,
                stopped=before.ended,
                reason=before.reason or "ended without a word: killed, or its machine went down",
                resumed=after.started,
            )
            for before, after in pairwise(attempts)
            if not _finished(before)
        ),
    )


def versions() -> dict[str, str]:
    """The versions of all that computes."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _finished(attempt: Attempt) -> bool:
    return attempt.ended is not None and attempt.reason is None


def _write_model(record: StageRecord, journal: Journal, path: Path, settings: Settings) -> None:
    weights = load_file(journal.model_file(record.stage.index))
    tests = {center: figures for center, figures in record.tests.items() if center in journal.order}
    write_whole(path, model_bytes(weights, settings, dice_by_contrast(tests, journal.facts.cards)))


def dice_by_contrast(tests: Mapping[str, TestFigures], cards: Mapping[str, CenterCard]) -> dict[str, float]:
    """Mean Dice over the test images of each contrast.

    A center that keeps the scores of single images counts where all its test images are of one contrast.
    """
    found: dict[str, list[float]] = {}
    for center, figures in tests.items():
        for case in figures.cases:
            found.setdefault(case.contrast, []).append(case.dice)
        known = cards[center].test_contrasts if center in cards else ()
        if figures.mean is not None and len(known) == 1:
            found.setdefault(known[0], []).extend([figures.mean.means["dice"]] * figures.mean.images)
    return {contrast: fmean(dice) for contrast, dice in found.items()}


def summarise(
    settings: Settings,
    order: tuple[str, ...],
    records: list[StageRecord],
    history: RunHistory,
    withdrawn: Mapping[str, int],
    cards: Mapping[str, CenterCard],
) -> RunResults:
    """What is to stand in `results.json`; NaN is None."""
    stages = _by_row(records)
    rows = [parts[-1] for parts in stages]
    matrix = [_row(record, order) for record in rows]
    sequential = len(matrix) == len(order) and not settings.run.spec.fresh
    evaluators = settings.run.evaluators
    elsewhere = [_row(record, evaluators) for record in rows]
    spared = sum(len(order) - len(record.asked & set(order)) for record in rows)
    change = backward_transfer_per_center(matrix) if sequential else ()
    found = RunResults(
        method=settings.run.method,
        order=order,
        seed=settings.run.seed,
        R=tuple(map(tuple, matrix)),
        acc=fmean(cell for cell in matrix[-1] if cell is not None),
        evaluators=evaluators,
        R_evaluators=tuple(map(tuple, elsewhere)),
        acc_evaluators=_number(mean_known(elsewhere[-1])),
        learning_accuracy=_number(learning_accuracy(matrix)) if len(matrix) == len(order) else None,
        bwt=_number(backward_transfer(matrix)) if sequential else None,
        bwt_per_center={c: _number(v) for c, v in zip(order, change, strict=False)} if sequential else None,
        bwt_over_k=_number(backward_transfer_over_k(matrix)) if sequential else None,
        # The best of a few earlier scores is lower than the best of all: it would look like less forgetting.
        bwt_of_learnt=_number(backward_transfer_of_learnt(matrix)) if sequential else None,
        forgetting=_number(forgetting(matrix)) if sequential and not spared else None,
        not_learnt=centers_not_learnt(matrix, order),
        not_asked=spared,
        missing=tuple(
            MissingTest(stage=stage, center=center, reason=reason)
            for stage, record in enumerate(rows)
            for center, reason in record.missing.items()
        ),
        settings=settings.to_run_config() | {"resume": False},
        versions=versions(),
        stages=tuple(_stage(stage, parts) for stage, parts in enumerate(stages)),
        test_scores=tuple(
            ImageScores(stage=stage, center=center, **case.model_dump())
            for stage, record in enumerate(rows)
            for center, figures in record.tests.items()
            for case in figures.cases
        ),
        mean_scores=tuple(
            CenterScores(stage=stage, center=center, subjects=mean.subjects, images=mean.images, **mean.means)
            for stage, record in enumerate(rows)
            for center, figures in record.tests.items()
            if (mean := figures.mean) is not None
        ),
        notes=tuple(_notes(settings.run, order, records, spared)),
        history=history,
        passed_over=passed_over({center: cards[center] for center in (*order, *evaluators) if center in cards}),
        withdrawn=dict(withdrawn),
    )
    return found.model_copy(update={"notes": (*found.notes, *collapsed_lines(found), *restarted_lines(found))})


def _notes(run: RunSettings, order: tuple[str, ...], records: list[StageRecord], spared: int) -> list[str]:
    asked = (*order, *run.evaluators)
    notes = [f"per-subject scores not reported by {center}" for center in asked if _keeps(center, records)]
    if spared:
        notes.append(
            f"{spared} cells of R were not asked for (tested-others): they are null, and forgetting, which needs all "
            "cells below the diagonal, is not given"
        )
    return notes


def _keeps(center: str, records: list[StageRecord]) -> bool:
    """Whether a center reported means alone."""
    return any(center in record.tests and record.tests[center].mean is not None for record in records)


def _by_row(records: list[StageRecord]) -> list[list[StageRecord]]:
    """The records of each row of R: one, or all rounds up to the one that was tested."""
    rows: list[list[StageRecord]] = [[]]
    for record in records:
        rows[-1].append(record)
        if record.stage.tested:
            rows.append([])
    return [parts for parts in rows if parts]


def _stage(row: int, parts: list[StageRecord]) -> StageResult:
    """A stage as one row of R has it; with rounds, their sum, and what each of them did."""
    record = parts[-1]
    figures = record.figures
    return StageResult(
        stage=row,
        center=_row_name(record),
        steps=sum(part.figures.steps for part in parts),
        restarts=sum(part.figures.restarts for part in parts),
        final_loss=_number(figures.final_loss),
        training_subjects=figures.subjects,
        training_seconds=round(sum(part.figures.seconds for part in parts), 3),
        compute_seconds=round(sum(part.figures.compute_seconds for part in parts), 3),
        evaluating_seconds=round(record.evaluating_seconds, 3),
        transit_seconds=round(sum(part.transit.seconds for part in parts), 3),
        sent_bytes=sum(part.transit.sent_bytes for part in parts),
        received_bytes=sum(part.transit.received_bytes for part in parts),
        tests_asked=len(record.asked),
        tests_sent_bytes=record.tests_moved.sent_bytes,
        tests_received_bytes=record.tests_moved.received_bytes,
        memory_exemplars=record.memory_exemplars,
        memory_bytes=record.memory_bytes,
        state_bytes=record.state_bytes,
        set_aside=figures.set_aside,
        test_set_aside={center: tested.set_aside for center, tested in record.tests.items() if tested.set_aside},
        rounds=tuple(_round(part) for part in parts if part.parts),
    )


def _round(record: StageRecord) -> RoundResult:
    """What a round did, in all and at each center."""
    return RoundResult(
        round=record.stage.index,
        transit_seconds=round(record.transit.seconds, 3),
        sent_bytes=record.transit.sent_bytes,
        received_bytes=record.transit.received_bytes,
        final_loss=_number(record.figures.final_loss),
        centers={
            center: TrainedCenter(
                steps=figures.steps,
                final_loss=_number(figures.final_loss),
                training_subjects=figures.subjects,
                training_seconds=round(figures.seconds, 3),
                compute_seconds=round(figures.compute_seconds, 3),
            )
            for center, figures in record.parts.items()
        },
    )


def _row(record: StageRecord, order: tuple[str, ...]) -> list[float | None]:
    return [record.row.get(center) for center in order]


def _row_name(record: StageRecord) -> str:
    return "all" if record.stage.pool or record.stage.apart else record.stage.center


def _number(value: float) -> float | None:
    return None if value != value else float(value)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"

"""The coordinator's Flower ServerApp."""

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.journal.journal import Journal
from server.preflight import check_terms, check_tests
from server.results import versions, write_results
from server.roster import Roster, call_roll
from server.strategy.fedavg import Rounds
from server.strategy.sequential import Visits
from server.tracking import check_tracking, tracked
from shared.config.settings import Settings
from shared.course import check_pool, order_of_visits, plan_course
from shared.errors import ResultsError, WardroundError
from shared.files import work_privately
from shared.log import FINISHED, say
from shared.methods import Course
from shared.paths import check_fresh, claimed, results_folder
from shared.protocol.document import read_protocol
from shared.protocol.plan import RunPlan, number_of, plan_of
from shared.text import quoted
from shared.wire.headers import Question

STRATEGIES: Mapping[Course, type[Visits]] = {"rounds": Rounds}
"""Of the courses that do not visit one center after another."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Call the roll, work off the course, write the results; or go on where an earlier run stopped."""
    started = time.monotonic()
    work_privately()
    run_config: dict[str, Any] = dict(context.run_config)
    settings = Settings.from_run_config(run_config)
    check_tracking(settings)
    folder = results_folder(settings.run)
    say(f"results: {folder}")
    with claimed(folder):
        journal, roster = _resume(grid, settings, folder) if settings.run.resume else _begin(grid, settings, folder)
        course = plan_course(journal.order, settings.run)
        journal.add_attempt(context.run_id, journal.where(course), versions())
        try:
            with tracked(settings, folder) as tracking:
                strategy = STRATEGIES.get(settings.run.spec.course, Visits)
                strategy(settings, roster, course, journal, tracking).start(grid)
                journal.end_attempt()
                tracking.end(len(course), write_results(folder, settings, course, journal))
        except WardroundError as error:
            with suppress(ResultsError):  # the disk may be what failed
                journal.end_attempt(str(error))
            raise type(error)(f"{error}; once that is mended, go on with: wardround resume {quoted(folder)}") from None
        except BaseException as error:
            with suppress(ResultsError):
                journal.end_attempt(f"{type(error).__name__}: {error}")
            raise
    say(f"{FINISHED}{time.monotonic() - started:.0f} s: {folder / 'results.json'}")


def _begin(grid: Grid, settings: Settings, folder: Path) -> tuple[Journal, Roster]:
    """Call the roll of a new run and begin its journal."""
    check_fresh(folder)
    protocol = read_protocol(Path(settings.run.protocol)) if settings.run.protocol else None
    if protocol is None:
        run = uuid.uuid4().hex
        roster = call_roll(grid, settings.run, Question(runs=(run,)))
        check_pool(settings.run, roster.simulated)
        plan = RunPlan(run, settings, order_of_visits(roster.training_subjects, settings.run), roster.identities)
    else:
        plan = plan_of(protocol, number_of(protocol, settings), settings.to_run_config())
        roster = call_roll(grid, settings.run, Question(protocol=plan.protocol, runs=plan.runs))
    check_terms(settings, roster.cards, plan.course, roster.simulated, protocol.identities if protocol else {})
    check_tests(settings, roster.cards, plan.course)
    journal = Journal.create(folder, plan, roster.cards, protocol)
    journal.add_heads(roster.logs)
    return journal, roster


def _resume(grid: Grid, settings: Settings, folder: Path) -> tuple[Journal, Roster]:
    """Open the journal of an earlier run, and call those who are needed for what is left."""
    journal = Journal.open(folder)
    for damage in journal.damaged:
        say(f"damaged: {damage}")
    journal.check_settings(settings)
    course = plan_course(journal.order, settings.run)
    say(f"going on at {journal.where(course)}")
    if journal.attempts and journal.attempts[-1].versions != versions():
        say("other versions than before compute the rest: results.json lists both")
    needed = {center for stage in course[journal.trained :] for center in stage.centers}
    testing = {center for stage in course[: journal.trained] for center in journal.untested(stage)}
    if journal.trained < len(course):
        testing |= {*journal.order, *settings.run.evaluators}
    wanted = [center for center in (*journal.order, *settings.run.evaluators) if center in needed | testing]
    facts = journal.facts
    if (protocol := journal.protocol) is not None:
        question = Question(
            protocol=protocol.digest, runs=journal.plan(settings, protocol.identities).runs, heads=journal.heads
        )
    else:
        runs = (facts.run, facts.parent.run) if facts.parent else (facts.run,)
        question = Question(runs=runs, heads=journal.heads)
    roster = call_roll(grid, settings.run, question, wanted, needed)
    if needed:
        check_pool(settings.run, roster.simulated)
    left = course[journal.trained :]
    check_terms(settings, roster.cards, left, roster.simulated, protocol.identities if protocol else {})
    check_tests(settings, roster.cards, left)
    roster.check(journal, settings.run)
    journal.add_heads(roster.logs)
    return journal, roster

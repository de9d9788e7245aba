"""The coordinator's Flower ServerApp."""

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.course import check_pool, order_of_visits, plan_course
from server.journal.journal import Journal
from server.preflight import check_terms, check_tests
from server.results import versions, write_results
from server.roster import Roster, call_roll
from server.strategy.fedavg import Rounds
from server.strategy.sequential import Visits
from server.tracking import check_tracking, tracked
from shared.config.settings import Settings
from shared.errors import ResultsError, WardroundError
from shared.files import work_privately
from shared.log import say
from shared.methods import Course
from shared.paths import check_fresh, claimed, results_folder
from shared.text import quoted

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
    say(f"finished in {time.monotonic() - started:.0f} s: {folder / 'results.json'}")


def _begin(grid: Grid, settings: Settings, folder: Path) -> tuple[Journal, Roster]:
    """Call the roll of a new run and begin its journal."""
    check_fresh(folder)
    run = uuid.uuid4().hex
    roster = call_roll(grid, settings.run, (run,))
    check_pool(settings.run, roster.simulated)
    order = order_of_visits(roster.cards, settings.run)
    course = plan_course(order, settings.run)
    check_terms(settings, roster.cards, course, roster.simulated)
    check_tests(settings, roster.cards, course)
    journal = Journal.create(folder, settings, order, roster.cards, run)
    journal.add_heads(roster.cards)
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
    runs = (facts.run, facts.parent.run) if facts.parent else (facts.run,)
    roster = call_roll(grid, settings.run, runs, wanted, needed, journal.heads)
    if needed:
        check_pool(settings.run, roster.simulated)
    check_terms(settings, roster.cards, course[journal.trained :], roster.simulated)
    check_tests(settings, roster.cards, course[journal.trained :])
    roster.check(journal, settings.run)
    journal.add_heads(roster.cards)
    return journal, roster

"""The coordinator's Flower ServerApp."""

import time
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.course import check_pool, order_of_visits, plan_course
from server.results import write_results
from server.roster import call_roll
from server.strategy import StageRecord, Visits
from shared.places import results_folder
from shared.progress import say
from shared.settings import Settings

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Call the roll, work off the course, write the results."""
    started = time.monotonic()
    run_config: dict[str, Any] = dict(context.run_config)
    settings = Settings.from_run_config(run_config)
    folder = results_folder(settings.run)
    say(f"results: {folder}")
    roster = call_roll(grid, settings.run)
    check_pool(settings.run, roster.simulated)
    order = order_of_visits(roster.cards, settings.run)
    records: list[StageRecord] = []
    Visits(settings, roster, plan_course(order, settings.run), order, records.append).start(grid)
    write_results(folder, settings, order, records)
    say(f"finished in {time.monotonic() - started:.0f} s: {folder / 'results.json'}")

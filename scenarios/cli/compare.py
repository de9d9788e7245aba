"""The command `wardround compare`: methods x orders x seeds, and what they come to."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.cli.common import STOPPED, say
from scenarios.cli.report import write_report
from shared.clock import utc_now
from shared.cores import cores_here
from shared.errors import LaunchError, ResultsError, SettingsError
from shared.paths import LOCK, absolute, claimed, writable_folder
from shared.text import quoted

# What brings in numpy and rich takes a moment, which --help and other commands need not wait for.
if TYPE_CHECKING:
    from scenarios.study.plan import Wish

REPORT = {"report", "report.html"}
"""What the report adds to a study's folder."""


def compare(
    study: Annotated[
        Path | None,
        typer.Argument(metavar="[STUDY]", help="Study file, such as scenarios/studies/four.toml.", show_default=False),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Methods, separated by commas.  (default: single,finetune,replay,pooled)")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds: 0, 1, 2, ...  (default: 3)")] = None,
    orders: Annotated[
        str | None,
        typer.Option(
            metavar="N|random|descending",
            help="Centers by descending size, in N random orders, the same for all methods and seeds, or in one random "
            "order for each seed.  (default: descending)",
        ),
    ] = None,
    scenario: Annotated[Path | None, typer.Option(help="Run-config file of all runs.  (default: quickstart)")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("-c", metavar="KEY=VALUE", help="Change one key of the run-config of all runs; repeatable."),
    ] = None,
    jobs: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Number of runs at once, if memory allows; auto: also as many on a GPU as fit.  "
            "(default: one per core, or per GPU)",
        ),
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPUs of each hospital, in all runs.  (default: 1; with --jobs, cores divided by jobs)"
        ),
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs of each hospital.  (default: 1 where there is CUDA)")
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Run nothing: compare the matrices that the paper's authors published (dice_matrices.json).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The study's folder, new or one to go on with.  (default: a dated one under runs/)"),
    ] = None,
) -> None:
    """Compare methods over orders and seeds: run what is missing, and sum it up.

    STUDY is a study file, such as scenarios/studies/four.toml; an option overrides what the file says.

    Runs that are finished are kept, those that were interrupted go on, so that the same command,
    or only its --output, carries on with a study. A run that fails does not stop the others.
    With RAY_ADDRESS set, runs spread over the machines of that Ray cluster.
    """
    from scenarios.results.study import STUDY
    from scenarios.study.capacity import cpus_of_a_hospital, read_jobs
    from scenarios.study.plan import StudyPlan, Wish, new_plan
    from scenarios.study.run import Share, run_study
    from scenarios.study.run_folder import CELLS, LOGS, RUNS
    from scenarios.study.terminal import describe_study

    asked = read_jobs(jobs)
    wish = _wish(study, methods, seeds, orders, scenario, change or [], cpus)
    folder = absolute(output or Path("runs") / f"{datetime.now():%Y-%m-%d_%H%M%S}-study", "study folder")
    if published is not None:
        if wish != Wish():
            raise SettingsError("--published runs nothing: leave out what says what to run")
        _take(published, folder)
        return
    known = StudyPlan.load(folder)
    plan = known.grown(wish, folder) if known else new_plan(wish, cpus_of_a_hospital(asked, cores_here()), utc_now)
    plan.cells()  # says what is wrong with any of them before anything is written
    with claimed(writable_folder(folder, "study folder"), "study folder"):
        if known is None:
            _check_fresh(folder, {CELLS, RUNS, LOGS, STUDY, *REPORT} if (folder / CELLS).is_dir() else set())
        plan.save(folder)
        try:
            found = run_study(folder, plan, Share(asked, gpus), say)
        except KeyboardInterrupt:
            hint = f"go on with: wardround compare --output {quoted(folder)}"
            print(f"wardround: stopped; nothing is left running; {hint}", file=sys.stderr)
            raise typer.Exit(STOPPED) from None
    say("\n" + describe_study(found, folder))
    if found.runs:
        say(f"report  {write_report(folder)}")
    if found.missing:
        raise LaunchError(
            f"{len(found.missing)} of {len(found.missing) + len(found.runs)} runs are missing: "
            f"{', '.join(run.name for run in found.missing)}; their logs lie in {folder / LOGS}; "
            f"try them again with: wardround compare --output {quoted(folder)}"
        )


def _take(published: Path, folder: Path) -> None:
    """Make a study of the authors' matrices."""
    from scenarios.results.published import read_published
    from scenarios.results.study import STUDY, write_study
    from scenarios.study.terminal import describe_study

    found = read_published(published, utc_now)
    with claimed(writable_folder(folder, "study folder"), "study folder"):
        _check_fresh(folder, {STUDY, *REPORT})
        write_study(folder, found)
    say(describe_study(found, folder))
    say(f"report  {write_report(folder)}")


def _wish(
    study: Path | None,
    methods: str | None,
    seeds: int | None,
    orders: str | None,
    scenario: Path | None,
    changes: list[str],
    cpus: int | None,
) -> "Wish":
    """What the study file says, and the command line over it. Raises `SettingsError`."""
    from scenarios.study.config import read_study_file
    from scenarios.study.plan import Wish, read_orders

    said = read_study_file(study) if study else Wish()
    return Wish(
        methods=_words(methods) if methods is not None else said.methods,
        seeds=tuple(range(seeds)) if seeds is not None else said.seeds,
        orders=read_orders(orders) if orders is not None else said.orders,
        scenario=scenario or said.scenario,
        changes=(*said.changes, *changes),
        cpus=cpus or said.cpus,
        title=said.title,
    )


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise SettingsError("--methods names none: write for instance --methods finetune,replay")
    return words


def _check_fresh(folder: Path, ours: set[str]) -> None:
    """Raise `ResultsError` where a new study's folder holds anything but `ours`."""
    if other := sorted({path.name for path in folder.iterdir()} - {LOCK, *ours}):
        raise ResultsError(f"{folder} holds something else ({', '.join(other[:3])}): choose a new folder for --output")

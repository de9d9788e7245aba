"""The command `wardround`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenarios.cli import bench, compare, coordinator, join, model, simulate
from scenarios.cli.common import STOPPED, say
from scenarios.cli.hospital import hospital
from scenarios.cli.report import report
from scenarios.deployment.coordinator import CONNECTION, Coordinator
from scenarios.run_config import app_folder, changed_settings, load_settings
from scenarios.runner.launch_record import HowLaunched
from scenarios.runner.local import Launch, launch
from scenarios.runner.remote import run_on
from scenarios.runner.summary import describe
from server.tracking import check_tracking
from shared.config.settings import Settings
from shared.errors import CenterError, LaunchError, ResultsError, SettingsError, WardroundError
from shared.files import work_privately
from shared.log import FINISHED, MARK
from shared.methods import METHODS
from shared.paths import JOURNAL, RESULTS, check_fresh, claimed, results_folder
from shared.results import read_results
from shared.text import counted, printable_lines, quoted

# What brings in torch and Flower takes seconds, which --help and other commands need not wait for.
if TYPE_CHECKING:
    from scenarios.runner.resume import Continuation

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Change = Annotated[
    list[str] | None, typer.Option("-c", metavar="KEY=VALUE", help="Change one key of the run-config; repeatable.")
]
RUN_HELP = f"""Run a scenario over simulated hospitals, follow it, and print the matrix at its end.

Each method has its scenario, and -c method=NAME takes: {", ".join(METHODS)}.
"""

Run = Annotated[Path, typer.Argument(metavar="DIR", help="The results folder of a run.", show_default=False)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log lines of Flower and Ray too.")]


@cli.callback()
def wardround() -> None:
    """Train one MS lesion segmentation model by letting it visit hospitals one after another."""


@cli.command(help=RUN_HELP)
def run(
    scenario: Annotated[
        Path | None, typer.Argument(help="Run-config file, such as scenarios/finetune.toml.  (default: quickstart)")
    ] = None,
    change: Change = None,
    output: Annotated[
        Path | None, typer.Option(help="New or empty folder for the results.  (default: a dated one under runs/)")
    ] = None,
    supernodes: Annotated[
        int | None,
        typer.Option(min=1, help="Number of simulated SuperNodes.  (default: one per hospital)"),
    ] = None,
    cpus: Annotated[
        int,
        typer.Option(min=1, help="CPUs of each hospital; another number rounds differently, so R differs a little."),
    ] = 2,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs of each hospital.  (default: 1 where there is CUDA)")
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPUs of all hospitals together: limits how many test at once.  (default: all)",
        ),
    ] = None,
    superlink: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Run on this SuperLink of Flower's configuration, over the hospitals that joined it, "
            "instead of simulating them.",
        ),
    ] = None,
    coordinator: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Run over the hospitals that joined the coordinator of this folder, instead of simulating them.",
        ),
    ] = None,
    protocol: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What the hospitals that joined have approved, in place of a scenario."),
    ] = None,
    number: Annotated[int, typer.Option(min=1, help="Which of the protocol's runs, where it has several.")] = 1,
    verbose: Verbose = False,
) -> None:
    """Run a scenario over simulated hospitals, follow it, and print the matrix at its end."""
    if coordinator is not None and superlink is not None:
        raise SettingsError("give --superlink or --coordinator, not both: each names the SuperLink to run on")
    deployed = coordinator is not None or superlink is not None
    if deployed != (protocol is not None):
        raise SettingsError(
            "hospitals that joined act on what they approved alone: propose it by 'wardround coordinator propose', and "
            "give --protocol FILE together with --coordinator FOLDER (or --superlink NAME)"
        )
    if protocol is None:
        settings = load_settings(scenario, change or [], output)
    else:
        if scenario is not None:
            raise SettingsError("a protocol takes the place of a scenario: give one of them")
        settings = _approved_settings(protocol, number, change or [], output)
    launched = HowLaunched(run_config={}, supernodes=supernodes, cpus=cpus, gpus=gpus, cores=cores, superlink=superlink)
    if coordinator is not None:
        launched = launched.model_copy(update=_connection(coordinator))
    _prepare(settings, launched)
    folder = results_folder(settings.run)
    launched = launched.model_copy(update={"run_config": settings.to_run_config() | {"output-dir": str(folder)}})
    with claimed(folder):
        check_fresh(folder)
        launched.save(folder)
    _follow(folder, settings, launched, verbose)
    say("\n" + describe(read_results(folder), folder))


@cli.command()
def resume(run: Run, change: Change = None, verbose: Verbose = False) -> None:
    """Go on with a run that was interrupted, at the stage where it stopped.

    A change of what the run computes is refused; how long to wait, where data lie, or the
    device may be changed with -c.
    """
    from scenarios.runner.resume import plan_resume

    going = plan_resume(run, change or [])
    for damage in going.damaged:
        say(f"damaged: {damage}")
    if going.remains:
        say(f"going on at {going.remains}")
        _go_on(going, verbose)
    else:
        say("this run is finished already")
    say("\n" + describe(read_results(going.folder), going.folder))


@cli.command()
def extend(
    run: Run,
    center: Annotated[str, typer.Option(help="The hospital that joins.")],
    output: Annotated[Path, typer.Option(help="New or empty folder for the results of the longer run.")],
    protocol: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What hospitals that joined have approved of the longer run."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Train a finished run's model at one more hospital, and test it at every hospital.

    The others do not train again. The models of earlier stages are tested at the new hospital,
    so that R grows by a whole row and column.
    """
    from scenarios.runner.resume import plan_extension
    from shared.protocol.document import read_protocol

    approved = None if protocol is None else read_protocol(protocol)
    going = plan_extension(run, center, output, _prepare, approved)
    _follow(going.folder, going.settings, going.launched, verbose)
    say("\n" + describe(read_results(going.folder), going.folder))


@cli.command()
def evaluate(
    run: Run,
    center: Annotated[str, typer.Option(help="The hospital whose test scores are missing.")],
    verbose: Verbose = False,
) -> None:
    """Ask a hospital again for the test scores that a finished run lacks."""
    from scenarios.runner.resume import plan_evaluation

    going = plan_evaluation(run, center)
    if going.remains:
        _go_on(going, verbose)
    else:
        say(f"no score of {center} is missing")
    results = read_results(going.folder)
    say("\n" + describe(results, going.folder))
    if still := [cell for cell in results.missing if cell.center == center]:
        raise CenterError(f"center {center} still lacks {len(still)} of its scores: it {still[0].reason}")


def _approved_settings(path: Path, number: int, changes: list[str], output: Path | None) -> Settings:
    """The settings of a protocol's run, with some circumstances changed. Raises `SettingsError`."""
    from shared.protocol.document import read_protocol

    path = path.absolute()
    protocol = read_protocol(path)
    if number > len(protocol.runs):
        raise SettingsError(f"{path} lists {counted(len(protocol.runs), 'run')}, and none is number {number}")
    ours = load_settings(None, [], output).with_changes({"protocol": str(path)})
    approved = protocol.settings_of(number - 1, ours.to_run_config())
    settings = changed_settings(approved.to_run_config(), changes)
    if changed := settings.changes_of_science(approved):
        raise SettingsError(
            f"{'; '.join(changed)}: that is not what the hospitals approved; propose another protocol, or change only "
            "how long to wait and where results lie"
        )
    return settings


def _go_on(going: "Continuation", verbose: bool) -> None:
    _prepare(going.settings, going.launched)
    _follow(going.folder, going.settings, going.launched, verbose)


def _connection(folder: Path) -> dict[str, str]:
    """How to reach a coordinator's SuperLink. Raises `SettingsError` or `ResultsError`."""
    ours = Coordinator(folder.absolute())
    _ = ours.address  # says where the folder is no coordinator's
    return {"superlink": CONNECTION, "coordinator": str(ours.folder)}


def _prepare(settings: Settings, launched: HowLaunched) -> None:
    """Make sure of what a simulation needs on this machine: hospitals' data, and what tracks the run."""
    if launched.superlink is None:
        from scenarios.simulation.hospitals import prepare_hospitals

        check_tracking(settings)
        prepare_hospitals(settings, say)


def _follow(folder: Path, settings: Settings, launched: HowLaunched, verbose: bool) -> None:
    """Run, pass on what the run says, and raise `LaunchError` where it did not come to its end."""
    run_config = settings.to_run_config() | {"output-dir": str(folder)}
    written = _written(folder)
    try:
        if launched.superlink is not None:
            home = Coordinator(Path(launched.coordinator)).home if launched.coordinator else None
            run_on(launched.superlink, app_folder(), run_config, lambda line: _pass_on(line, verbose), home)
        else:
            how = Launch(
                app=app_folder(),
                run_config=run_config,
                supernodes=launched.supernodes or len(settings.run.participants),
                cpus=min(launched.cpus, os.cpu_count() or 1),
                gpus=_gpus() if launched.gpus is None else launched.gpus,
                cores=launched.cores,
            )
            launch(how, lambda line: _pass_on(line, verbose), lambda line: line.startswith(MARK + FINISHED))
    except KeyboardInterrupt:
        left = "nothing is left running" if launched.superlink is None else "the run itself goes on"
        print(f"wardround: stopped; {left}{_how_to_resume(folder)}", file=sys.stderr)
        raise typer.Exit(STOPPED) from None
    except LaunchError as error:
        hint = "" if "wardround resume" in str(error) else _how_to_resume(folder)
        raise LaunchError(f"{error}{hint}") from None
    if _written(folder) == written:
        raise ResultsError(f"the run ended, but {folder / RESULTS} was not written: look at its log")


def _written(folder: Path) -> Any:
    """Changes when results are written."""
    path = folder / RESULTS
    return path.stat().st_ino if path.is_file() else None


def _how_to_resume(folder: Path) -> str:
    return f"; go on with: wardround resume {quoted(folder)}" if (folder / JOURNAL).is_dir() else ""


def _pass_on(line: str, verbose: bool) -> None:
    if line.startswith(MARK):
        say(line.removeprefix(MARK))
    elif verbose:
        say(line)


def _gpus() -> float:
    import torch  # takes seconds, which --help and a wrong key need not wait for

    return 1.0 if torch.cuda.is_available() else 0.0


for command in (
    *(compare.compare, report, model.segment, model.export),
    *(simulate.simulate, model.realism, bench.bench, model.ship),
):
    cli.command(context_settings={"allow_extra_args": command in model.BY_OPTIONS})(command)
for own in (join.init, join.join, join.unit):
    hospital.command()(own)
cli.add_typer(hospital, name="hospital")
cli.add_typer(coordinator.coordinator, name="coordinator")


def main() -> None:
    """Entry point: one line and exit code 1 for what Wardround found wrong."""
    work_privately()
    try:
        cli()
    except WardroundError as error:
        print(printable_lines(f"wardround: {error}"), file=sys.stderr)
        sys.exit(1)

"""The command `wardround`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from scenarios.hospitals import prepare_hospitals
from scenarios.launcher import Launch, launch
from scenarios.outcome import describe, read_results
from scenarios.plan import app_folder, load_settings
from shared.errors import WardroundError
from shared.places import results_folder
from shared.progress import MARK

STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@cli.callback()
def wardround() -> None:
    """Train one MS lesion segmentation model by letting it visit hospitals one after another."""


@cli.command()
def run(
    scenario: Annotated[
        Path | None, typer.Argument(help="Run-config file, such as scenarios/finetune.toml.  [default: quickstart]")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("-c", metavar="KEY=VALUE", help="Change one key of the run-config; repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="New or empty folder for the results.  [default: a dated one under runs/]")
    ] = None,
    supernodes: Annotated[
        int | None, typer.Option(min=1, help="Simulated SuperNodes.  [default: one a center]")
    ] = None,
    cpus: Annotated[
        int, typer.Option(min=1, help="CPUs of a hospital; another number rounds otherwise, so R differs a little.")
    ] = 2,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs of a hospital.  [default: 1 where CUDA is there]")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log lines of Flower and Ray too.")] = False,
) -> None:
    """Run a scenario over simulated hospitals, follow it, and print the matrix at its end."""
    settings = load_settings(scenario, change or [], output)
    prepare_hospitals(settings, say)
    folder = results_folder(settings.run)
    run_config = settings.to_run_config() | {"output-dir": str(folder)}
    try:
        launch(
            Launch(
                app=app_folder(),
                run_config=run_config,
                supernodes=supernodes or len(settings.run.centers),
                cpus=min(cpus, os.cpu_count() or 1),
                gpus=_gpus() if gpus is None else gpus,
            ),
            lambda line: _pass_on(line, verbose),
        )
    except KeyboardInterrupt:
        print("wardround: stopped; nothing is left running", file=sys.stderr)
        raise typer.Exit(STOPPED) from None
    say("\n" + describe(read_results(folder), folder))


def say(line: str) -> None:
    """Print one plain line at once."""
    print(line, flush=True)


def _pass_on(line: str, verbose: bool) -> None:
    if line.startswith(MARK):
        say(line.removeprefix(MARK))
    elif verbose:
        say(line)


def _gpus() -> float:
    import torch  # takes seconds, which --help and a wrong key need not wait for

    return 1.0 if torch.cuda.is_available() else 0.0


def main() -> None:
    """Entry point: one line and exit code 1 for what Wardround found wrong."""
    try:
        cli()
    except WardroundError as error:
        print(f"wardround: {error}", file=sys.stderr)
        sys.exit(1)

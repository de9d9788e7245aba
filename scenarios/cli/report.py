"""The command `wardround report`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.cli.common import say
from shared.errors import ResultsError
from shared.paths import writable_folder

# What brings in numpy takes a moment, which --help and other commands need not wait for.
if TYPE_CHECKING:
    from scenarios.results.study import Study


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="The folder of a study, or those of one or several runs.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder for the report.  (default: DIR, where there is one)")
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Show slices of data-dir's images too, which may be patients'.")
    ] = False,
) -> None:
    """Write a study's report: one HTML page, and its figures and tables as SVG, PNG and CSV."""
    if len(folders) > 1 and output is None:
        raise ResultsError("several runs need a folder for their report: give one by --output")
    home = folders[0] if len(folders) == 1 else Path()
    page = _write(_read(folders), home, output or home, images)
    say(f"report {page}")


def write_report(folder: Path) -> Path:
    """Write the report of a study, or of a run, into its own folder; the page's path. Raises `ResultsError`."""
    return _write(_read([folder]), folder, folder, images=False)


def _read(folders: list[Path]) -> "Study":
    from scenarios.results.runs import study_of_runs
    from scenarios.results.study import STUDY, read_study

    if len(folders) == 1 and (folders[0] / STUDY).is_file():
        return read_study(folders[0])
    return study_of_runs(folders, datetime.now(UTC).astimezone())


def _write(study: "Study", home: Path, output: Path, images: bool) -> Path:
    """The report of a study whose runs lie in `home`."""
    # These take seconds, which --help and a wrong folder need not wait for.
    from scenarios.report.examples import examples_of
    from scenarios.report.html_page import make_report, write_page

    writable_folder(output, "report folder")
    return write_page(make_report(study, home, examples_of(study, home, images)), output)

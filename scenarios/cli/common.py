"""What the commands have in common: plain lines, options, a progress bar."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.data.filenames import CONTRASTS
from shared.errors import ResultsError, SettingsError
from shared.files import write_whole
from shared.text import printable_lines

if TYPE_CHECKING:
    from client.hospital.config import Site

STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""

ALL_CONTRASTS = ",".join(CONTRASTS)
HospitalFile = Annotated[
    Path, typer.Argument(metavar="HOSPITAL_TOML", help="The hospital's own file, made by init.", show_default=False)
]
Contrasts = Annotated[str, typer.Option(help="The contrasts to use.")]


def read_contrasts(text: str) -> tuple[str, ...]:
    """The contrasts of a comma-separated list, each once. Raises `SettingsError`."""
    wanted = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not wanted or (unknown := [part for part in wanted if part not in CONTRASTS]):
        wrong = ", ".join(unknown) if wanted else "nothing"
        raise SettingsError(f"contrasts = {wrong}: choose from {', '.join(CONTRASTS)}")
    return wanted


def read_site(path: Path) -> "Site":
    """A `hospital.toml`. Raises `SettingsError` or `TrustError`."""
    from client.hospital.config import Site  # its readers of images take seconds, which --help need not wait for

    return Site.read(path)


def say(line: str) -> None:
    """Print a plain line, or lines, at once."""
    print(printable_lines(line), flush=True)


def on_terminal() -> bool:
    """Whether a person watches, who may be shown what moves."""
    from rich.console import Console  # takes a moment, which --help need not wait for

    return Console().is_terminal


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar on a terminal, and nothing elsewhere; it is told how many are done, and what comes now."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, now: bar.update(task, completed=done, description=now)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document where its user wants it. Raises `ResultsError` where the disk refuses."""
    try:
        write_whole(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror or error}): give another --json") from None

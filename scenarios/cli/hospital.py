"""The commands `wardround hospital`: what a hospital does with its own data."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.data.inventory import ANY_LABEL, LabelChoice
from client.data.layouts import Layout, take_inventory
from scenarios.cli.approval import add_approval_commands
from scenarios.cli.common import ALL_CONTRASTS, Contrasts, on_terminal, progress_bar, read_contrasts, say
from scenarios.cli.governance import add_trust_commands, show_what_would_leave
from scenarios.cli.prepare import prepare
from shared.errors import ResultsError, SettingsError, WardroundError
from shared.paths import private_output
from shared.text import counted

if TYPE_CHECKING:
    from client.data.inventory import Inventory
    from client.qc.case_check import CaseCheck
    from client.qc.dataset_check import DatasetCheck

SOME_SET_ASIDE, NONE_USABLE = 1, 2
"""Exit codes of the check; 0 is only for data of which nothing was set aside."""

MONTAGE, PAGE, RECORD = "montage.png", "check.html", "check.json"

hospital = typer.Typer(no_args_is_help=True, help="For a hospital: check your own data, and join a study.")
add_trust_commands(hospital)
add_approval_commands(hospital)
hospital.command()(prepare)


@hospital.callback()
def _hospital() -> None:
    """For a hospital: check your own data, and join a study."""


@hospital.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Data folder, JSON file of a Decathlon list, or hospital.toml.")],
    layout: Annotated[Layout | None, typer.Option(help="How the folder is laid out.  (default: detected)")] = None,
    contrasts: Contrasts = ALL_CONTRASTS,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write findings as JSON.")] = None,
    labels: Annotated[
        str,
        typer.Option(help="Which labels, where an image has several: a pipeline, a rater, an ending.", metavar="NAME"),
    ] = "",
    lesion_value: Annotated[
        float | None, typer.Option(help="Which value is lesion, in labels of several structures.", metavar="VALUE")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help=f"Write {PAGE}, {MONTAGE} and {RECORD} into this folder.", metavar="FOLDER")
    ] = None,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Accept patients without any lesion.")] = False,
) -> None:
    """Read all images and labels once, and say of each what is right or wrong and how to mend it.

    Nothing in FOLDER is changed. Where a hospital.toml is given, it says what is checked, and the check ends with
    what would leave the hospital. Exit code 0 where all is good, 1 where something was set aside, 2 where nothing
    can be used.
    """
    try:
        wanted = read_contrasts(contrasts)
        choice = LabelChoice(labels, lesion_value)
        site = None
        if folder.suffix == ".toml":
            from client.hospital.config import Site

            if choice != ANY_LABEL:
                raise SettingsError(
                    f"--labels and --lesion-value stand in {folder}: change labels and lesion-value there"
                )
            site = Site.read(folder)
            folder, layout, wanted, choice = (
                site.data.folder,
                site.data.layout,
                site.data.contrasts,
                site.data.choice,
            )
        verdict = _check(folder, layout, wanted, choice, allow_empty, json_file, output)
        if site is not None and verdict != "none usable":
            show_what_would_leave(site, output)
    except WardroundError as error:
        # Not 1, by which a script would believe that some of the data can be used.
        typer.echo(f"wardround: {error}", err=True)
        raise typer.Exit(NONE_USABLE) from None
    raise typer.Exit({"good": 0, "some set aside": SOME_SET_ASIDE}.get(verdict, NONE_USABLE))


def _check(
    folder: Path,
    layout: Layout | None,
    contrasts: tuple[str, ...],
    choice: LabelChoice,
    allow_empty: bool,
    json_file: Path | None,
    output: Path | None,
) -> str:
    """Check, report and write; returns the verdict."""
    if output is not None:
        # Before the reading, which may take long.
        private_output(output)
    inventory = take_inventory(folder, contrasts, layout, choice)
    say(f"{folder}: {inventory.layout}, {counted(len(inventory.cases), 'image')} with labels")
    dataset = _follow(inventory, allow_empty)
    _report(dataset)
    record = json.dumps(dataset.to_json(), indent=2) + "\n"
    if json_file is not None:
        _write(json_file, record)
    if output is None:
        say("add --output FOLDER for a page with a picture of every case")
    else:
        _draw(dataset, output)
        _write(output / RECORD, record)
        say(f"see {output / PAGE} and {output / MONTAGE}")
    return dataset.verdict.value


def _follow(inventory: "Inventory", allow_empty: bool) -> "DatasetCheck":
    """Check with a progress bar on a terminal, and a line a case elsewhere."""
    from client.qc.dataset_check import check_inventory

    if not on_terminal():
        return check_inventory(inventory, allow_empty, lambda done, total, one: say(f"{done}/{total} {_line(one)}"))
    with progress_bar("reading", len(inventory.cases)) as show:
        return check_inventory(inventory, allow_empty, lambda done, total, one: show(done, one.subject))


def _report(dataset: "DatasetCheck") -> None:
    from client.qc.dataset_check import DOUBTFUL

    for one in dataset.checked:
        # Of its subject it is said once, below.
        if findings := [finding for finding in one.findings if finding.code != DOUBTFUL]:
            say(f"\n{_line(one)}")
            for finding in findings:
                say(f"  {'problem' if finding.problem else 'warning'}: {finding}")
    _show_subjects(dataset)
    if dataset.notes:
        say("\npassed over")
        for note in dataset.notes:
            say(f"  {note}")
    say("\nsummary")
    rows = dataset.summary()
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        say(f"  {name:<{width}}  {text}")
    say(f"\nverdict: {dataset.verdict.value}: {dataset.conclusion()}")


def _show_subjects(dataset: "DatasetCheck") -> None:
    """Which images are whose, by which label, and whose name is in doubt."""
    rows = [("subject", "image", "label"), *dataset.files()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    say("")
    before = ""
    for subject, image, label in rows:
        shown = "" if subject == before else subject
        say(f"{shown:<{widths[0]}}  {image:<{widths[1]}}  {label or 'none'}")
        before = subject
    if dataset.doubts:
        say("\ndoubtful subjects")
        for doubt in dataset.doubts:
            say(f"  warning: {doubt.subject} {doubt.text}")


def _line(one: "CaseCheck") -> str:
    lesions = ""
    if one.measured is not None and one.measured.lesion_ml is not None:
        lesions = f", {one.measured.lesion_ml:.2f} ml in {counted(one.measured.lesion_count or 0, 'lesion')}"
    state = "set aside" if not one.ok else "warning" if one.warnings else "good"
    return " ".join(part for part in (one.subject, one.contrast) if part) + f": {state}{lesions}"


def _draw(dataset: "DatasetCheck", folder: Path) -> None:
    from client.qc.html_page import write_page
    from client.qc.montage import draw_montage  # matplotlib takes seconds, which --help need not wait for

    draw_montage(dataset.checked, folder / MONTAGE)
    write_page(dataset, folder / PAGE, datetime.now())


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror}): choose another place") from None

"""The command `wardround hospital prepare`: from a scanner's export to a data set that passes the check."""

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.cli.common import on_terminal, say
from shared.errors import ResultsError, SettingsError
from shared.files import NEW
from shared.text import counted, quoted

if TYPE_CHECKING:
    from client.preparation.prepare import Outcome
    from client.preparation.table import Row

TABLE, KEYS = "prepare.tsv", "keys.tsv"

NOT_ALL = 1
"""Exit code where the table waits for a person, or an image was not written."""

SHOWN = (0, 1, 2, 3, 4, 6, 8, 9)
"""Columns of the table that are shown on a terminal."""


def prepare(
    source: Annotated[Path, typer.Argument(help="Folder of a DICOM export, or of NIfTI files of any naming.")],
    output: Annotated[Path, typer.Option(metavar="BIDS", help="New folder for the data set.")],
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on with this table, which you have looked at.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take what was recognised, without asking.")] = False,
    labels: Annotated[
        str, typer.Option(metavar="FOLDER|ENDING", help="Where labels lie, or how their names end.")
    ] = "",
    lesion_value: Annotated[
        float | None, typer.Option(metavar="VALUE", help="Which value, or DICOM segment, is lesion.")
    ] = None,
    copy_header: Annotated[
        bool, typer.Option("--copy-header", help="A label of its image's shape lies where the image does.")
    ] = False,
    mask: Annotated[
        str, typer.Option(metavar="FOLDER|ENDING", help="Your own masks of the brain: where, or how they end.")
    ] = "",
    no_strip: Annotated[bool, typer.Option("--no-strip", help="Keep the head. It is NOT de-faced then.")] = False,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Which patient is which subject; kept to where it exists."),
    ] = None,
) -> None:
    """Make a data set of a DICOM export or of NIfTI files: names gone, skulls stripped, labels taken along.

    FLAIR and T2w are recognised and shown in a table, BIDS.prepare.tsv, which you confirm or correct. A T2w is
    registered to the FLAIR with which it shares a label. Who is who stands in BIDS.keys.tsv, beside the data set and
    never in it: keep it, and give it to nobody. SOURCE is not changed, nothing is overwritten or downloaded.
    """
    from client.preparation.candidates import find_candidates
    from client.preparation.extra import extra
    from client.preparation.labels import LabelReading
    from client.preparation.prepare import beside, check_output, write_dataset
    from client.preparation.session import Wanted
    from client.preparation.table import check_rows, read_table, rows_of, write_table

    for package in ("dcm2niix", "pydicom", "SimpleITK", "deepbet", "highdicom"):
        extra(package)  # said before anything is read
    keys, own = keys or beside(output, KEYS), beside(output, TABLE)
    check_output(output, keys)
    if table is None and own.exists():
        raise SettingsError(f"{own} is there from before: go on with it (--table {quoted(own)}), or delete it")
    # What is converted shows faces, and so lies in a folder of this user's alone until it is done with.
    with tempfile.TemporaryDirectory(prefix=NEW, dir=output.parent) as work:
        found = find_candidates(source, Path(work), labels, mask, say)
        for note in found.notes:
            say(f"passed over: {note}")
        if table is None:
            rows = rows_of(found, source)
            try:
                write_table(own, rows)
            except OSError as error:
                raise ResultsError(f"{own} cannot be written ({error.strerror}): choose another --output") from None
            if not yes:
                _show(rows)
                if not (on_terminal() and typer.confirm("\nGo on with these?")):
                    say(f"\nnothing is made yet: look at {own}, correct it where it is wrong, and go on with")
                    say(f"  {_command()} --table {quoted(own)}")
                    raise typer.Exit(NOT_ALL)
        else:
            rows = read_table(table, found)
        try:
            check_rows(rows)
        except SettingsError as error:
            where = quoted(table or own)
            raise SettingsError(f"{error}\nmend {where}, and go on with --table {where}") from None
        wanted = Wanted(source, LabelReading(lesion_value, copy_header), strip=not no_strip)
        _report(write_dataset(rows, output, keys, wanted, say), output, keys)


def _command() -> str:
    """The command as it was given, to go on with."""
    return shlex.join(["wardround", *sys.argv[1:]])


def _show(rows: "Sequence[Row]") -> None:
    from client.preparation.table import COLUMNS, lines_of

    cells = [[line[i] for i in SHOWN] for line in (COLUMNS, *lines_of(rows))]
    widths = [max(len(line[i]) for line in cells) for i in range(len(SHOWN))]
    for line in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _report(outcome: "Outcome", output: Path, keys: Path) -> None:
    written = counted(outcome.written, "image")
    say(f"\n{written} of {counted(outcome.subjects, 'subject')} written: {output}")
    say(f"who is who: {keys} (for nobody outside the hospital)")
    if outcome.with_face:
        say(f"warning: {counted(outcome.with_face, 'image')} with the head, NOT de-faced: strip before you share them")
    if outcome.without_label:
        say(f"warning: {counted(outcome.without_label, 'image')} without a lesion label: no study can train on them")
    say(f"now check it: wardround hospital check {quoted(output)}")
    if outcome.refused:
        typer.echo(f"wardround: {counted(len(outcome.refused), 'image')} not written:", err=True)
        for reason in outcome.refused:
            typer.echo(f"  {reason}", err=True)
        raise typer.Exit(NOT_ALL)

"""From a confirmed table to a data set that is whole or not there."""

import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.preparation.extra import version_of
from client.preparation.key_table import KeyTable
from client.preparation.session import PreparedImage, Wanted, prepare_session
from client.preparation.table import Row, check_rows
from client.preparation.write_bids import write_descriptions, write_image
from shared.errors import DataError, ResultsError, SettingsError
from shared.files import folder_whole

TOOLS = ("dcm2niix", "SimpleITK", "deepbet", "highdicom")

Report = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    written: int
    subjects: int
    refused: tuple[str, ...]
    """Images that were not written, and why: with the source's names, for the hospital's eyes."""
    with_face: int
    """Images that show the head."""
    without_label: int


def beside(output: Path, ending: str) -> Path:
    """A private file beside the data set, never in it."""
    return output.with_name(f"{output.name}.{ending}")


def check_output(output: Path, keys: Path) -> None:
    """Raise `SettingsError` where the data set could not be written, or the key table would lie in it."""
    if output.is_symlink() or (output.exists() and not (output.is_dir() and not any(output.iterdir()))):
        raise SettingsError(f"{output} exists, and nothing is overwritten: give a new or empty --output")
    if not output.parent.is_dir():
        raise SettingsError(f"{output} cannot be made (no folder {output.parent}): make that folder first")
    if keys.resolve().is_relative_to(output.resolve()):
        raise SettingsError(f"{keys} leads back to patients, and may not lie in {output}: give another --keys")


def write_dataset(rows: Sequence[Row], output: Path, keys: Path, wanted: Wanted, say: Report) -> Outcome:
    """Prepare every image to be taken and write the data set and the key table.

    Images that cannot be written are named in the outcome. Raises `SettingsError` where the table leaves something to
    decide, `DataError` where no image can be written, `ResultsError` where the disk refuses; then nothing is written.
    """
    check_rows(rows)
    visits: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.take:
            visits.setdefault((row.patient, row.visit), []).append(row)
    table = KeyTable.read(keys)
    table.add(visits, random.Random(secrets.randbits(128)))
    several = len({patient for patient, _ in table.sessions}) < len(table.sessions)
    written: list[PreparedImage] = []
    refused: list[str] = []
    subjects: set[str] = set()
    try:
        if output.is_dir():
            output.rmdir()
        with folder_whole(output) as new:
            # In the order of the pseudonyms, so that dates of files say nothing of the patients' order.
            for visit in sorted(visits, key=lambda one: (table.subjects[one[0]], table.sessions[one])):
                subject, session = table.subjects[visit[0]], table.sessions[visit] if several else None
                good, bad = prepare_session(visits[visit], wanted)
                for one in good:
                    image = write_image(new, subject, session, one)
                    subjects.add(subject)
                    written.append(one)
                    say(f"{image.name}: {'; '.join(_said(one))}")
                for row, error in bad:
                    refused.append(f"{row.candidate.source} ({row.contrast}): {error}")
                    say(f"not written: {refused[-1]}")
            if not written:
                raise DataError("no image could be written:\n  " + "\n  ".join(refused))
            write_descriptions(new, sorted(subjects), [version_of(tool) for tool in TOOLS])
            table.write(keys)
    except OSError as error:
        raise ResultsError(
            f"{output} cannot be written ({error.strerror or error}): free or choose another disk"
        ) from None
    return Outcome(
        written=len(written),
        subjects=len(subjects),
        refused=tuple(refused),
        with_face=sum(one.whole_head for one in written),
        without_label=sum(one.label is None for one in written),
    )


def _said(one: PreparedImage) -> list[str]:
    """The steps in words."""
    return [
        str(step["step"]) + "".join(f", {name} {value}" for name, value in step.items() if name not in ("step", "tool"))
        for step in one.steps
    ] or ["taken as it was"]

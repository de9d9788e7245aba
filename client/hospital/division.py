"""Who trains and who tests, as a run has begun with it.

The division is drawn once a run, from the subjects that can be used then, and kept in the hospital's state folder.
A file that is lost or mended later changes nothing in it: otherwise a subject might be tested that was trained on.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.data.inventory import Case
from shared.errors import DamagedError, RecordError
from shared.files import read_document, write_document

KEPT_DAYS = 400.0
"""After so long without a message of its run, a division is forgotten."""


@dataclass(frozen=True)
class Division:
    """The cases to train on and those to test on; no subject is in both."""

    training: tuple[Case, ...]
    test: tuple[Case, ...]

    def as_found(self, cases: Iterable[Case], folder: Path) -> "Division":
        """The same, each case with its files as they are found now, where it is; else with those that it had."""
        now = {_name(case, folder): case for case in cases}
        return Division(
            tuple(now.get(_name(case, folder), case) for case in self.training),
            tuple(now.get(_name(case, folder), case) for case in self.test),
        )


def keep_division(state: Path, center: str, runs: Sequence[str], division: Division, folder: Path) -> None:
    """Keep the division of the first of `runs`, and of which runs it goes on from; `folder` is that of the data.

    Raises `RecordError` where the disk refuses.
    """
    path = _path(state, center, runs[0])
    sides = {"training": division.training, "test": division.test}
    body: dict[str, Any] = {side: [_to_json(case, folder) for case in cases] for side, cases in sides.items()}
    body["runs"] = list(kept_runs(state, center, runs))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_document(path, body)
        for old in path.parent.glob("*.json"):
            if time.time() - old.stat().st_mtime > KEPT_DAYS * 86400:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(
            f"state folder {state} cannot be written ({error.strerror or error}): free the disk or mend its rights"
        ) from None


def kept_division(state: Path, center: str, runs: Sequence[str], folder: Path) -> Division | None:
    """The division that the first of `runs` that has one has begun with, or nothing.

    Raises `RecordError` where it is damaged, for another one must not take its place.
    """
    for run in runs:
        path = _path(state, center, run)
        try:
            body = read_document(path)
            path.touch()
            return Division(*(tuple(_to_case(entry, folder) for entry in body[side]) for side in ("training", "test")))
        except FileNotFoundError:
            continue
        except (OSError, DamagedError, KeyError, TypeError, ValueError) as error:
            raise RecordError(
                f"{path}, who trains and who tests in a run, cannot be read ({error}): restore it, or start a new run"
            ) from None
    return None


def kept_runs(state: Path, center: str, runs: Sequence[str]) -> tuple[str, ...]:
    """The first of `runs` and those that it goes on from, as was said when its division was kept; else as it is now."""
    try:
        return tuple(map(str, read_document(_path(state, center, runs[0]))["runs"])) if runs else ()
    except (OSError, DamagedError, KeyError):
        return tuple(runs)


def earlier_names(state: Path, center: str, images: Collection[str], folder: Path) -> set[str]:
    """The subjects that any of these images (by their paths below the data folder) were taken for in kept divisions."""
    names: set[str] = set()
    for path in (state / "divisions").glob(f"{center}-*.json"):
        division = kept_division(state, center, (path.stem.removeprefix(f"{center}-"),), folder)
        if division is not None:
            cases = (*division.training, *division.test)
            names |= {case.subject for case in cases if inside(case.image, folder) in images}
    return names


def earlier_images(state: Path, center: str, names: Collection[str], folder: Path) -> set[Path]:
    """The images, deleted ones too, that kept divisions know of these subjects."""
    images: set[Path] = set()
    for path in (state / "divisions").glob(f"{center}-*.json"):
        division = kept_division(state, center, (path.stem.removeprefix(f"{center}-"),), folder)
        if division is not None:
            images |= {case.image for case in (*division.training, *division.test) if case.subject in names}
    return images


def _path(state: Path, center: str, run: str) -> Path:
    return state / "divisions" / f"{center}-{run}.json"


def _name(case: Case, folder: Path) -> tuple[str, str, str]:
    return case.subject, case.contrast, inside(case.image, folder)


def inside(path: Path, folder: Path) -> str:
    """A path below the data folder, so that the folder may move."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _to_json(case: Case, folder: Path) -> dict[str, Any]:
    return {
        "subject": case.subject,
        "contrast": case.contrast,
        "image": inside(case.image, folder),
        "label": inside(case.label, folder),
        "lesion_value": case.lesion_value,
    }


def _to_case(entry: dict[str, Any], folder: Path) -> Case:
    return Case(
        entry["subject"],
        entry["contrast"],
        folder / entry["image"],
        folder / entry["label"],
        entry["lesion_value"],
    )

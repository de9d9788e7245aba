"""Prepared volumes on disk, so that each later message only opens them.

A volume is prepared once and its arrays are memory-mapped from the cache folder.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from client.data.duplicates import fingerprint
from client.data.inventory import Case
from client.data.nifti import unreachable
from client.data.preprocessing import Volume, prepare_reading
from client.data.reading import read_case
from client.data.rules import Finding, Part, RefusedError, refusal
from shared.errors import DataError

VERSION = 3
"""Of the preparation; a change makes every cached volume stale."""

PASSING = ("unreadable", "unexpected")
"""Problems that the files' size and time do not tell: asked again each time."""

VERDICT, GRID = "verdict.json", "grid.json"
PARTS = ("image.npy", "label.npy", "truth.npy")


@dataclass(frozen=True)
class CaseVerdict:
    """What reading a case once has shown."""

    fingerprint: str
    """Of the image's voxels (`client/data/duplicates.py`)."""
    refused: Finding | None = None
    """Why it cannot be used; None where it can."""
    empty: Finding | None = None
    """The problem of its label, where that marks no lesion; a run may let it in all the same."""

    def under(self, allow_empty: bool) -> "CaseVerdict":
        """The verdict where labels without lesion are let in, or not."""
        return self if allow_empty or self.refused is not None else replace(self, refused=self.empty)


def judge(case: Case, spacing: float, cache: Path, allow_empty: bool = False) -> CaseVerdict:
    """Whether a case can be used. Files are read, and their volume prepared, where the cache does not know them yet.

    Raises `DataError` where the cache folder cannot be written.
    """
    try:
        folder = _folder(case, spacing, cache)
    except RefusedError as error:
        return CaseVerdict("", error.finding)
    return _verdict(folder, case, spacing).under(allow_empty)


def forget_images(cache: Path, images: Collection[Path]) -> None:
    """Delete the prepared volumes of these images, at any spacing, and those that do not say of which they are.

    What was found out about their files stays. Raises `DataError` where the disk refuses.
    """
    theirs = {_digest(image) for image in images}
    for folder in (cache / "volumes").glob("*"):
        parts = [path for name in (*PARTS, GRID) if (path := folder / name).exists()]
        if not parts or ((whose := _whose(folder)) and whose not in theirs):
            continue
        _delete(folder)


def forget_spacings(cache: Path, spacing: float) -> None:
    """Of the prepared volumes keep those of `spacing`, and of the other that was used last: each is a whole copy.

    A run that comes back to another one has its volumes made again. Raises `DataError` where the disk refuses.
    """
    used: dict[object, float] = {}
    folders = [(folder, _spacing_of(folder)) for folder in (cache / "volumes").glob("*") if (folder / GRID).exists()]
    for folder, found in folders:
        used[found] = max(used.get(found, 0.0), folder.stat().st_mtime)
    others = sorted(used.keys() - {spacing}, key=lambda found: used[found])
    for folder, found in folders:
        if found in others[:-1]:
            _delete(folder)


def _spacing_of(folder: Path) -> object:
    try:
        return json.loads((folder / GRID).read_text())["spacing"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _delete(folder: Path) -> None:
    try:
        for name in (*PARTS, GRID):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"prepared images in {folder} cannot be deleted ({error.strerror}): let this user write them"
        ) from None


def _digest(image: Path) -> str:
    return hashlib.sha256(str(image.absolute()).encode()).hexdigest()


def _whose(folder: Path) -> str:
    """The digest of the path of the image that a volume is of; empty where it does not say."""
    try:
        return str(json.loads((folder / GRID).read_text())["image"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def open_volume(case: Case, spacing: float, cache: Path, allow_empty: bool = False) -> Volume:
    """The prepared volume of a case, made where the cache does not have it yet.

    Raises `DataError` where the image or its label cannot be used; `allow_empty` lets in labels without lesion.
    """
    folder = _folder(case, spacing, cache)
    verdict = _verdict(folder, case, spacing)
    _raise_where_refused(case, verdict.under(allow_empty))
    try:
        return _load(folder, verdict)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        verdict = _make(folder, case, spacing)
        _raise_where_refused(case, verdict.under(allow_empty))
        return _load(folder, verdict)


def refusal_of(case: Case, finding: Finding) -> RefusedError:
    """The error for a case that cannot be used for this problem: it names the file that the problem is about."""
    return refusal(case.label if finding.part == "label" else case.image, finding)


def _raise_where_refused(case: Case, verdict: CaseVerdict) -> None:
    if verdict.refused is not None:
        raise refusal_of(case, verdict.refused)


def _verdict(folder: Path, case: Case, spacing: float) -> CaseVerdict:
    """The verdict on a case, which is read where the cache does not have one. Raises `DataError`."""
    try:
        kept = json.loads((folder / VERDICT).read_text())
        refused, empty = (Finding(**kept[name]) if kept[name] else None for name in ("refused", "empty"))
        return CaseVerdict(kept["fingerprint"], refused, empty)
    except (OSError, ValueError, KeyError, TypeError):
        # Not there yet, or damaged.
        return _make(folder, case, spacing)


def _make(folder: Path, case: Case, spacing: float) -> CaseVerdict:
    shutil.rmtree(folder, ignore_errors=True)
    # Kept with any label, for a run may allow empty ones and the next one not.
    reading = read_case(case, allow_empty=True)
    volume, refused = None, None
    try:
        volume = prepare_reading(reading, spacing)
    except RefusedError as error:
        refused = error.finding
    verdict = CaseVerdict(fingerprint(reading), refused, reading.empty)
    if refused is None or refused.code not in PASSING:
        _store(verdict, volume, folder, {"image": _digest(case.image), "spacing": spacing})
    return verdict


def _load(folder: Path, verdict: CaseVerdict) -> Volume:
    os.utime(folder)  # used, as `forget_spacings` asks
    grid = json.loads((folder / GRID).read_text())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "label", "truth")}
    return Volume(
        **arrays,
        affine=np.array(grid["affine"]),
        own_affine=np.array(grid["own_affine"]),
        air=grid["air"],
        warnings=tuple(Finding(**warning) for warning in grid["warnings"]),
        empty=verdict.empty,
    )


def _folder(case: Case, spacing: float, cache: Path) -> Path:
    """A folder whose name changes with the files' contents (by size and time), the spacing and the code.

    Raises `RefusedError` where a file is not there.
    """
    parts: list[object] = [VERSION, spacing, case.lesion_value]
    files: tuple[tuple[Path, Part], ...] = ((case.image, "image"), (case.label, "label"))
    for path, part in files:
        try:
            status = path.stat()
        except OSError as error:
            raise refusal(path, unreachable(path, part, error)) from None
        parts += [path.absolute(), status.st_size, status.st_mtime_ns]
    return cache / "volumes" / hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _store(verdict: CaseVerdict, volume: Volume | None, folder: Path, about: dict[str, str | float]) -> None:
    """Write a verdict and its volume whole or not at all; of two writers at once the first one stays."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-", ignore_cleanup_errors=True) as name:
            new = Path(name) / "volume"
            new.mkdir()
            if volume is not None:
                _write_volume(volume, new, about)
            (new / VERDICT).write_text(json.dumps(asdict(verdict)))
            try:
                new.rename(folder)
            except OSError:
                # Another writer was first, or an earlier one was interrupted.
                if not (folder / VERDICT).is_file():
                    folder.rename(Path(name) / "old")
                    new.rename(folder)
    except OSError as error:
        if not (folder / VERDICT).is_file():
            reason = f"cache folder {folder.parent} cannot be written ({error.strerror})"
            raise DataError(f"{reason}: set cache-dir") from None


def _write_volume(volume: Volume, folder: Path, about: dict[str, str | float]) -> None:
    for part in PARTS:
        np.save(folder / part, getattr(volume, part.removesuffix(".npy")))
    grid = {
        **about,
        "affine": volume.affine.tolist(),
        "own_affine": volume.own_affine.tolist(),
        "air": volume.air,
        "warnings": [asdict(warning) for warning in volume.warnings],
    }
    (folder / GRID).write_text(json.dumps(grid))

"""Prepared volumes on disk, so that each later message only opens them.

A volume is prepared once and its arrays are memory-mapped from the cache folder.
"""

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from client.data.inventory import Case
from client.data.nifti import unreachable
from client.data.preprocessing import Volume, prepare
from client.data.rules import Finding, Part, refusal
from shared.errors import DataError

VERSION = 3
"""Of the preparation; a change makes every cached volume stale."""


def open_volume(case: Case, spacing: float, cache: Path, allow_empty: bool = False) -> Volume:
    """The prepared volume of a case, made where the cache does not have it yet.

    Raises `DataError` where the image or its label cannot be used; `allow_empty` lets in labels without lesion.
    """
    folder = cache / "volumes" / _key(case, spacing)
    try:
        volume = _load(folder)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        # Not there yet, or damaged.
        shutil.rmtree(folder, ignore_errors=True)
        # Kept with any label, for a run may allow empty ones and the next one not.
        _store(prepare(case, spacing, allow_empty=True), folder)
        volume = _load(folder)
    if not allow_empty and volume.empty is not None:
        raise refusal(case.label, volume.empty)
    return volume


def _load(folder: Path) -> Volume:
    grid = json.loads((folder / "grid.json").read_text())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "label", "truth")}
    return Volume(
        **arrays,
        affine=np.array(grid["affine"]),
        own_affine=np.array(grid["own_affine"]),
        air=grid["air"],
        warnings=tuple(Finding(**warning) for warning in grid["warnings"]),
        empty=None if grid["empty"] is None else Finding(**grid["empty"]),
    )


def _key(case: Case, spacing: float) -> str:
    """A name that changes with the files' contents (by size and time), the lesion value, the spacing and the code."""
    parts: list[object] = [VERSION, spacing, case.lesion_value]
    files: tuple[tuple[Path, Part], ...] = ((case.image, "image"), (case.label, "label"))
    for path, part in files:
        try:
            status = path.stat()
        except OSError as error:
            raise refusal(path, unreachable(path, part, error)) from None
        parts += [path.absolute(), status.st_size, status.st_mtime_ns]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _store(volume: Volume, folder: Path) -> None:
    """Write a volume whole or not at all; of two writers at once the first one stays."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-", ignore_cleanup_errors=True) as name:
            new = Path(name) / "volume"
            new.mkdir()
            for part in ("image", "label", "truth"):
                np.save(new / f"{part}.npy", getattr(volume, part))
            grid = {
                "affine": volume.affine.tolist(),
                "own_affine": volume.own_affine.tolist(),
                "air": volume.air,
                "warnings": [asdict(warning) for warning in volume.warnings],
                "empty": None if volume.empty is None else asdict(volume.empty),
            }
            (new / "grid.json").write_text(json.dumps(grid))
            try:
                new.rename(folder)
            except OSError:
                # Another writer was first, or an earlier one was interrupted.
                if not (folder / "grid.json").is_file():
                    folder.rename(Path(name) / "old")
                    new.rename(folder)
    except OSError as error:
        if not (folder / "grid.json").is_file():
            reason = f"cache folder {folder.parent} cannot be written ({error.strerror})"
            raise DataError(f"{reason}: set cache-dir") from None

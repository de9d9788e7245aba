"""The results folder: results.json, matrix.csv and the model."""

import csv
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

from safetensors import SafetensorError

from server.strategy import StageRecord
from shared.errors import ResultsError
from shared.network import save_model
from shared.settings import Settings
from shared.transfer import (
    backward_transfer,
    backward_transfer_over_k,
    backward_transfer_per_center,
    forgetting,
    learning_accuracy,
)

PACKAGES = ("wardround", "flwr", "torch", "monai", "nibabel", "numpy")


def write_results(folder: Path, settings: Settings, order: tuple[str, ...], records: list[StageRecord]) -> None:
    """Write all that the finished stages say. Raises `ResultsError` where the disk refuses."""
    try:
        text = json.dumps(summarise(settings, order, records), indent=2, allow_nan=False)
        _write_whole(folder / "results.json", text + "\n")
        with (folder / "matrix.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["trained_at", *order])
            writer.writerows([_row_name(r), *_row(r, order)] for r in records)
        for record in records if settings.run.method == "single" else []:
            (folder / "models").mkdir(exist_ok=True)
            save_model(folder / "models" / f"{record.stage.center}.safetensors", record.weights, settings.network)
        save_model(folder / "model.safetensors", records[-1].weights, settings.network)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ResultsError(f"results cannot be written to {folder} ({reason}): free or choose another disk") from None


def summarise(settings: Settings, order: tuple[str, ...], records: list[StageRecord]) -> dict[str, Any]:
    """`results.json` as a dictionary; NaN is None."""
    matrix = [_row(record, order) for record in records]
    sequential = len(matrix) == len(order) and settings.run.method != "single"
    return {
        "method": settings.run.method,
        "order": list(order),
        "seed": settings.run.seed,
        "R": matrix,
        "acc": fmean(cell for cell in matrix[-1] if cell is not None),
        "learning_accuracy": _number(learning_accuracy(matrix)) if len(matrix) == len(order) else None,
        **(_transfer(matrix, order) if sequential else dict.fromkeys(TRANSFER)),
        "missing": [
            {"stage": record.stage.index, "center": center, "reason": reason}
            for record in records
            for center, reason in record.missing.items()
        ],
        "settings": settings.to_run_config(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "stages": [_stage(record) for record in records],
        "test_scores": [
            {"stage": record.stage.index, "center": center, **case.model_dump()}
            for record in records
            for center, figures in record.tests.items()
            for case in figures.cases
        ],
    }


TRANSFER = ("bwt", "bwt_per_center", "bwt_over_k", "forgetting")
"""What only a model that visited one center after another has."""


def _transfer(matrix: list[list[float | None]], order: tuple[str, ...]) -> dict[str, Any]:
    change = backward_transfer_per_center(matrix)
    return {
        "bwt": _number(backward_transfer(matrix)),
        "bwt_per_center": {center: _number(value) for center, value in zip(order, change, strict=False)},
        "bwt_over_k": _number(backward_transfer_over_k(matrix)),
        "forgetting": _number(forgetting(matrix)),
    }


def _stage(record: StageRecord) -> dict[str, Any]:
    figures = record.figures
    return {
        "stage": record.stage.index,
        "center": _row_name(record),
        "steps": figures.steps,
        "final_loss": _number(figures.final_loss),
        "training_subjects": figures.subjects,
        "training_seconds": round(figures.seconds, 3),
        "compute_seconds": round(figures.compute_seconds, 3),
        "evaluating_seconds": round(record.evaluating_seconds, 3),
        "transit_seconds": round(record.transit_seconds, 3),
        "memory_exemplars": len(record.memory.exemplars),
        "memory_bytes": record.memory.nbytes,
        "set_aside": list(figures.set_aside),
        "test_set_aside": {
            center: list(tested.set_aside) for center, tested in record.tests.items() if tested.set_aside
        },
    }


def _row(record: StageRecord, order: tuple[str, ...]) -> list[float | None]:
    return [record.row.get(center) for center in order]


def _row_name(record: StageRecord) -> str:
    return "all" if record.stage.pool else record.stage.center


def _number(value: float) -> float | None:
    return None if value != value else float(value)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)

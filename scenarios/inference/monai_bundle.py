"""Exporting a finished run as a MONAI bundle: weights, configuration, model card and licence."""

import json
from pathlib import Path
from typing import Any

import torch

from scenarios.inference.bundle_config import inference_config, metadata
from scenarios.inference.model_card import model_card
from scenarios.run_config import app_folder
from shared.errors import ResultsError
from shared.files import folder_whole
from shared.model.model_file import open_model
from shared.paths import absolute
from shared.results import read_results


def export_bundle(run: Path, output: Path) -> Path:
    """Write the bundle of a run's final model into a new folder, whole or not at all; returns the folder.

    Raises `ResultsError` where the run has not finished, or the folder holds something or cannot be written.
    """
    folder = absolute(output, "output folder")
    results, model, licence = read_results(run), open_model(run), app_folder() / "LICENSE"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ResultsError(f"{folder} exists, and nothing is overwritten: choose a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder_whole(folder) as new:
            for name in ("configs", "models", "docs"):
                (new / name).mkdir()
            _write_json(new / "configs" / "metadata.json", metadata(model, results))
            _write_json(new / "configs" / "inference.json", inference_config(model))
            torch.save(model.network.state_dict(), new / "models" / "model.pt")
            (new / "docs" / "README.md").write_text(model_card(run, results, model), encoding="utf-8")
            (new / "LICENSE").write_bytes(licence.read_bytes())
    except OSError as error:
        raise ResultsError(f"{folder} cannot be written ({error.strerror or error}): choose another folder") from None
    return folder


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")

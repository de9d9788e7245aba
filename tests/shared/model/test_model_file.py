"""A finished model's file: it says by itself how to segment with it, or is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from shared.config.settings import Settings
from shared.errors import ResultsError
from shared.model.model_file import model_bytes, open_model
from shared.model.network import METADATA, Inference, initial_weights, load_model, save_model
from shared.paths import MODEL


@pytest.fixture
def options(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config | {"contrasts": "FLAIR", "window-overlap": 0.5})


@pytest.fixture
def file(tmp_path: Path, options: Settings) -> Path:
    path = tmp_path / MODEL
    path.write_bytes(model_bytes(initial_weights(options.network, 5), options))
    return path


def test_a_model_comes_back_with_what_segmenting_needs(file: Path, options: Settings) -> None:
    model = open_model(file)
    weights = initial_weights(options.network, 5)
    assert all(torch.equal(value, weights[name]) for name, value in model.network.state_dict().items())
    assert model.network.settings == options.network and not model.network.training
    assert model.inference == Inference(
        spacing=options.data.spacing,
        patch_size=options.training.patch_size,
        window_overlap=0.5,
        contrasts=("FLAIR",),
    )


def test_a_run_s_folder_stands_for_its_model(file: Path) -> None:
    assert open_model(file.parent).inference == open_model(file).inference


def test_a_model_file_is_a_network_s_file_too(file: Path, options: Settings) -> None:
    assert load_model(file).settings == options.network


def test_the_same_model_is_the_same_bytes(options: Settings) -> None:
    made = {model_bytes(initial_weights(options.network, 5), options) for _ in range(8)}
    assert len(made) == 1


def test_a_model_says_how_well_it_did_on_each_contrast(tmp_path: Path, options: Settings) -> None:
    weights = initial_weights(options.network, 5)
    one, other = ({"T2w": 0.02, "FLAIR": 0.7}, {"FLAIR": 0.7, "T2w": 0.02})
    assert model_bytes(weights, options, one) == model_bytes(weights, options, other)
    (tmp_path / MODEL).write_bytes(model_bytes(weights, options, one))
    assert open_model(tmp_path).inference.dice_by_contrast == one


def test_a_file_from_before_the_scores_were_kept_is_read(file: Path, options: Settings) -> None:
    inference = open_model(file).inference
    described = {
        "network": options.network.model_dump(),
        "inference": inference.model_dump(mode="json", exclude={"dice_by_contrast"}),
    }
    save_file(initial_weights(options.network, 0), file, metadata={METADATA: json.dumps(described)})
    assert open_model(file).inference == inference and inference.dice_by_contrast == {}


def test_a_folder_without_a_model_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=f"{tmp_path} holds no {MODEL}: give the folder of a run that has finished"):
        open_model(tmp_path)


def test_a_stage_s_model_is_refused_with_what_to_give_instead(tmp_path: Path, options: Settings) -> None:
    save_model(tmp_path / "stage.safetensors", initial_weights(options.network, 0), options.network)
    with pytest.raises(ResultsError, match=r"stage.safetensors is a stage's model of a journal.*beside the journal"):
        open_model(tmp_path / "stage.safetensors")


def test_a_file_of_an_earlier_version_is_refused(tmp_path: Path, options: Settings) -> None:
    described = {"wardround.network": options.network.model_dump_json()}
    save_file(initial_weights(options.network, 0), tmp_path / MODEL, metadata=described)
    with pytest.raises(ResultsError, match="was not written by this version of Wardround"):
        open_model(tmp_path)


@pytest.mark.parametrize("said", ["", {}, {"spacing": "wide"}])
def test_a_model_whose_inference_is_garbled_is_refused(tmp_path: Path, options: Settings, said: Any) -> None:
    path = tmp_path / "garbled.safetensors"
    described = json.dumps({"network": options.network.model_dump(), "inference": said})
    save_file(initial_weights(options.network, 0), path, metadata={METADATA: described})
    with pytest.raises(ResultsError, match=r"garbled.safetensors cannot be read as a model"):
        open_model(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xff" * 64])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MODEL).write_bytes(content)
    with pytest.raises(ResultsError, match="cannot be read as a model"):
        open_model(tmp_path)

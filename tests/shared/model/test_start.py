"""A model to start from: its weights as they are, and refused where it is not one for the run."""

from pathlib import Path
from typing import Any

import pytest

from shared.config.settings import Settings
from shared.errors import ResultsError, SettingsError
from shared.model.model_file import model_bytes
from shared.model.network import initial_weights
from shared.model.start import check_digest, read_start
from shared.model.weights import model_digest
from shared.paths import MODEL


@pytest.fixture
def settings(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "contrasts": "FLAIR,T2w"})


@pytest.fixture
def path(tmp_path: Path, settings: Settings) -> Path:
    """A model of two features and both contrasts, in float16."""
    weights = initial_weights(settings.network, 5)
    (tmp_path / MODEL).write_bytes(model_bytes({name: value.half() for name, value in weights.items()}, settings))
    return tmp_path / MODEL


def test_a_start_is_the_file_s_weights_in_float32(path: Path, settings: Settings) -> None:
    drawn = initial_weights(settings.network, 5)
    for named in (path, path.parent):
        weights = read_start(named, settings)
        assert all(weights[name].equal(value.half().float()) for name, value in drawn.items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": 4}, "features = 2 there, 4 here"),
        ({"norm": "instance"}, "norm = 'channel' there, 'instance' here"),
        ({"activation": "normalised-relu", "loss": "dice"}, "activation = 'sigmoid' there, 'normalised-relu' here"),
    ],
)
def test_another_network_is_refused_with_both_values(
    path: Path, settings: Settings, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        read_start(path, settings.with_changes(changes))
    assert str(path) in str(caught.value)


def test_a_contrast_that_the_model_does_not_know_is_refused_and_fewer_or_another_spacing_are_not(
    path: Path, settings: Settings
) -> None:
    read_start(path, settings.with_changes({"contrasts": "T2w", "spacing": settings.data.spacing + 1}))
    path.write_bytes(model_bytes(read_start(path, settings), settings.with_changes({"contrasts": "FLAIR"})))
    with pytest.raises(SettingsError, match="trained on contrasts = 'FLAIR', and the run has contrasts = 'FLAIR,T2w'"):
        read_start(path, settings)


def test_what_is_no_model_is_named(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ResultsError, match=r"nowhere\.safetensors cannot be read"):
        read_start(tmp_path / "nowhere.safetensors", settings)
    with pytest.raises(ResultsError, match=r"holds no model\.safetensors"):
        read_start(tmp_path, settings)


def test_another_model_than_was_named_is_refused_with_both_digests(path: Path, settings: Settings) -> None:
    weights = read_start(path, settings)
    check_digest(weights, settings.with_changes({"start-digest": model_digest(weights)}))
    with pytest.raises(SettingsError, match=f"SHA-256 {model_digest(weights)}, .* start-digest = '{'a' * 64}'"):
        check_digest(weights, settings.with_changes({"start-digest": "a" * 64}))

"""Scenario files and `-c key=value` become settings, or one clear line."""

from pathlib import Path

import pytest

from scenarios.run_config import app_folder, changed_settings, default_run_config, load_settings
from shared.config.settings import Settings
from shared.errors import ResultsError, SettingsError
from shared.methods import METHODS
from shared.paths import MODEL
from tests.conftest import ROOT

SCENARIOS = sorted((ROOT / "scenarios").glob("*.toml"))


def test_the_app_folder_holds_the_flower_app() -> None:
    assert (app_folder() / "pyproject.toml").is_file()
    assert (app_folder() / "LICENSE").is_file()


def test_quickstart_is_the_defaults() -> None:
    assert load_settings(ROOT / "scenarios" / "quickstart.toml", [], None) == load_settings(None, [], None)


def test_the_defaults_know_every_key() -> None:
    assert set(default_run_config()) == set(Settings.keys())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_is_valid(scenario: Path) -> None:
    settings = load_settings(scenario, [], None)
    if scenario.stem in METHODS:
        assert settings.run.method == scenario.stem


def test_every_method_has_its_scenario() -> None:
    assert set(METHODS) <= {scenario.stem for scenario in SCENARIOS}


def test_the_paper_to_the_letter() -> None:
    settings = load_settings(ROOT / "scenarios" / "paper.toml", [], None)
    training, memory = settings.training, settings.memory
    assert settings.data.spacing == 1.0
    assert settings.data.phantom_scale == 1.0
    assert settings.data.test_fraction == 0.2
    assert settings.network.features == 32
    assert settings.network.activation == "normalised-relu"
    assert (training.steps, training.epochs) == (0, 150)
    assert (training.batch_size, training.patches_per_volume, training.patch_size) == (4, 4, 64)
    assert training.lesion_share == 0.5
    assert training.learning_rate == 1e-4
    assert (training.schedule, training.decay_epochs, training.decay_factor) == ("step", 50, 0.5)
    assert (memory.replay_mode, memory.memory_subjects, memory.exemplar_choice) == ("paper", 20, "random")
    assert settings.exemplar_voxels == 96
    assert settings.run.order == "random"


def test_the_last_word_counts(tmp_path: Path) -> None:
    scenario = tmp_path / "mine.toml"
    scenario.write_text('method = "finetune"\nseed = 3\n')
    settings = load_settings(scenario, ["seed=4", "spacing = 3", "order=random"], tmp_path / "out")
    assert settings.run.method == "finetune"
    assert settings.run.seed == 4
    assert settings.data.spacing == 3.0
    assert settings.run.order == "random"
    assert settings.run.output_dir == str(tmp_path / "out")


def test_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, ["data-dir=my data", "cache-dir=my cache"], Path("out"))
    assert settings.data.data_dir == str(tmp_path / "my data")
    assert settings.data.cache_dir == str(tmp_path / "my cache")
    assert settings.run.output_dir == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["method=magic"], "method = 'magic'"),
        (["centers=bwh,bwh"], "'bwh' named twice"),
        (["order=upwards"], "order = 'upwards'"),
        (["sead=1"], "did you mean 'seed'"),
        (["seed"], "not key=value"),
        (["=1"], "not key=value"),
        (["seed=one"], "seed takes a whole number"),
        (["spacing=wide"], "spacing takes a number"),
        (["spacing=-1"], "spacing = -1.0"),
        (["steps=-1"], "steps = -1"),
        (["replay-share=1"], "replay-share = 1.0"),
        (["memory-subjects=0"], "memory-subjects = 0"),
        (["patch-size=0"], "patch-size = 0"),
        (["patch-size=20"], "multiple of 8"),
    ],
)
def test_a_wrong_value_is_named(changes: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as error:
        load_settings(None, changes, None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["method = ", "[run\n", "\x00"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, text: str) -> None:
    scenario = tmp_path / "bad.toml"
    scenario.write_text(text)
    with pytest.raises(SettingsError, match=r"bad\.toml is not TOML"):
        load_settings(scenario, [], None)


def test_a_missing_scenario_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml cannot be read"):
        load_settings(tmp_path / "nowhere.toml", [], None)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path, [], None)


def test_a_table_is_no_value(tmp_path: Path) -> None:
    scenario = tmp_path / "nested.toml"
    scenario.write_text("[data]\nspacing = 2.0\n")
    with pytest.raises(SettingsError, match="unknown key 'data'"):
        load_settings(scenario, [], None)


# A model to start from


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file of the default run's network."""
    from shared.model.model_file import model_bytes
    from shared.model.network import initial_weights

    settings = load_settings(None, ["features=2"], None)
    (tmp_path / MODEL).write_bytes(model_bytes(initial_weights(settings.network, 5), settings))
    return tmp_path / MODEL


def digest(path: Path) -> str:
    from shared.model.model_file import open_model
    from shared.model.weights import model_digest

    return model_digest(open_model(path).network.state_dict())


def test_a_start_is_named_by_its_whole_path_and_its_digest(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    run = load_settings(None, ["features=2", f"start={MODEL}"], None).run
    assert (run.start, run.start_digest) == (str(model), digest(model))
    fresh = load_settings(None, ["features=2"], None).run
    assert (fresh.start, fresh.start_digest) == ("fresh", "")


def test_pretrained_is_the_shipped_model_and_an_error_where_none_is_shipped(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenarios.shipped.card.HERE", model.parent)
    run = load_settings(None, ["features=2", "start=pretrained"], None).run
    assert (run.start, run.start_digest) == (str(model.parent), digest(model))
    model.unlink()
    with pytest.raises(ResultsError, match="no model is shipped in this build"):
        load_settings(None, ["features=2", "start=pretrained"], None)


def test_a_start_of_another_network_is_refused_at_once(model: Path) -> None:
    with pytest.raises(SettingsError, match="features = 2 there, 16 here"):
        load_settings(None, [f"start={model}"], None)


def test_a_run_that_goes_on_may_find_its_start_elsewhere_but_not_another_one(model: Path, tmp_path: Path) -> None:
    begun = load_settings(None, ["features=2", f"start={model}"], None).to_run_config()
    moved = tmp_path / "moved.safetensors"
    model.rename(moved)
    assert changed_settings(begun, ["device=cpu"]).run.start == str(model), "it may need it no more"
    assert changed_settings(begun, [f"start={moved}"]).run.start == str(moved)
    with pytest.raises(SettingsError, match="but the run begins with start-digest = 'aaaa"):
        changed_settings(begun | {"start-digest": "a" * 64}, [f"start={moved}"])

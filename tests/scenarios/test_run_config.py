"""Scenario files and `-c key=value` become settings, or one clear line."""

from pathlib import Path

import pytest

from scenarios.run_config import app_folder, default_run_config, load_settings
from shared.config.settings import Settings
from shared.errors import SettingsError
from shared.methods import METHODS
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

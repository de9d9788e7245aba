"""The run-config: what is refused, in which words, and that nothing else is lost on the way."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.config.groups import AUGMENTATIONS, TrainingSettings
from shared.config.settings import Settings
from shared.errors import SettingsError
from shared.methods import METHODS
from tests.conftest import ROOT
from tests.support.examples import examples

KEYS = Settings.keys()


def refusal(config: dict[str, Any]) -> str:
    """The one line with which a run-config is refused."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_run_config(config)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_the_run_config_is_sorted_into_groups(run_config: dict[str, Any]) -> None:
    settings = Settings.from_run_config(run_config)
    assert settings.run.centers == ("milan", "ucsf", "amu")
    assert settings.data.contrasts == ("FLAIR", "T2w")
    assert (settings.network.features, settings.training.patch_size) == (4, 16)
    assert settings.memory.memory_megabytes == 400.0


def test_the_keys_are_those_of_the_defaults(run_config: dict[str, Any]) -> None:
    assert sorted(KEYS) == sorted(run_config)


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_is_a_valid_run_config(run_config: dict[str, Any], path: Any) -> None:
    scenario = tomllib.loads(path.read_text())
    kept = Settings.from_run_config(run_config | scenario).to_run_config()
    assert {key: kept[key] for key in scenario} == scenario


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "fedprox"),
        ("centers", ""),
        ("centers", " , "),
        ("centers", "milan,ucsf,milan"),
        ("centers", "milan,../amu"),
        ("centers", "milan,new york"),
        ("centers", 3),
        ("order", "ascending"),
        ("seed", -1),
        ("seed", 2**31),
        ("seed", 1.5),
        ("seed", "0"),
        ("seed", True),
        ("rounds", 0),
        ("carry", "decoder"),
        ("start", "trained"),
        ("start", "runs/model.safetensors"),
        ("start-digest", "a" * 63),
        ("start-digest", "A" * 64),
        ("output-dir", 7),
        ("wait-seconds", 0.0),
        ("wait-seconds", float("nan")),
        ("wait-seconds", float("inf")),
        ("message-hours", 0.0),
        ("message-hours", 24 * 30 + 0.5),
        ("data-dir", False),
        ("cache-dir", 1),
        ("contrasts", ""),
        ("contrasts", "FLAIR,FLAIR"),
        ("spacing", 0.49),
        ("spacing", 8.01),
        ("spacing", "2"),
        ("test-fraction", 0.0),
        ("test-fraction", 1.0),
        ("phantom-scale", 0.0),
        ("phantom-scale", 10.1),
        ("phantom-minimum", 1),
        ("phantom-seed", -1),
        ("phantom-seed", 2**31),
        ("features", 1),
        ("features", 129),
        ("activation", "relu"),
        ("steps", -1),
        ("epochs", -1),
        ("batch-size", 0),
        ("patches-per-volume", 0),
        ("patch-size", 8),
        ("patch-size", 20),
        ("lesion-share", -0.1),
        ("lesion-share", 1.1),
        ("lesion-weight", -0.1),
        ("augment", 1),
        ("augment", "bias,blurr"),
        ("learning-rate", 0.0),
        ("weight-decay", -1e-9),
        ("schedule", "cosine"),
        ("decay-epochs", 0),
        ("decay-factor", 0.0),
        ("decay-factor", 1.1),
        ("window-overlap", -0.1),
        ("window-overlap", 1.0),
        ("device", "gpu"),
        ("device", "cuda:"),
        ("device", "cpu\n"),
        ("distillation-weight", -0.1),
        ("ewc-weight", -1.0),
        ("ewc-weight", float("inf")),
        ("ewc-decay", -0.1),
        ("ewc-decay", 1.1),
        ("replay-mode", "reservoir"),
        ("replay-share", -0.1),
        ("replay-share", 1.0),
        ("memory-subjects", 0),
        ("memory-megabytes", 0.0),
        ("memory-megabytes", 480.5),
        ("exemplar-mm", 0.0),
    ],
)
def test_a_value_that_cannot_work_is_named_with_its_key(run_config: dict[str, Any], key: str, value: Any) -> None:
    message = refusal(run_config | {key: value})
    assert message.startswith(f"{key} = ")
    assert (repr(value) in message) or key in ("centers", "contrasts")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 0),
        ("seed", 2**31 - 1),
        ("message-hours", 720.0),
        ("spacing", 0.5),
        ("features", 2),
        ("features", 128),
        ("lesion-share", 0.0),
        ("lesion-share", 1.0),
        ("weight-decay", 0.0),
        ("window-overlap", 0.0),
        ("distillation-weight", 0.0),
        ("ewc-weight", 0.0),
        ("ewc-decay", 0.0),
        ("ewc-decay", 1.0),
        ("replay-share", 0.0),
        ("memory-megabytes", 480.0),
        ("device", "cuda:1"),
        ("centers", "karo_2,UCSF-b"),
        ("wait-seconds", 5),
    ],
)
def test_the_outermost_values_are_accepted(run_config: dict[str, Any], key: str, value: Any) -> None:
    assert Settings.from_run_config(run_config | {key: value}).to_run_config()[key] == value


def test_evaluators_are_further_centers(run_config: dict[str, Any]) -> None:
    run = Settings.from_run_config(run_config | {"evaluators": "milan-2, montp"}).run
    assert run.participants == (*run.centers, "milan-2", "montp") and run.centers == ("milan", "ucsf", "amu")
    assert Settings.from_run_config(run_config).run.participants == run.centers
    assert refusal(run_config | {"evaluators": "montp,amu"}) == (
        "centers and evaluators both name amu, but an evaluator never trains: leave it out of one of them"
    )
    assert "'montp' named twice" in refusal(run_config | {"evaluators": "montp,montp"})
    assert "'St Mary' is no center name" in refusal(run_config | {"evaluators": "St Mary"})


def test_a_center_named_twice_is_named(run_config: dict[str, Any]) -> None:
    message = refusal(run_config | {"centers": "amu,milan,ucsf,milan"})
    _, _, reason = message.partition(": ")
    assert "named twice" in reason
    assert "milan" in reason
    assert "ucsf" not in reason


def test_spaces_and_trailing_commas_around_names_do_not_count(run_config: dict[str, Any]) -> None:
    settings = Settings.from_run_config(run_config | {"centers": " milan, amu ,"})
    assert settings.run.centers == ("milan", "amu")


def test_no_training_at_all_is_refused(run_config: dict[str, Any]) -> None:
    message = refusal(run_config | {"steps": 0, "epochs": 0})
    assert "steps" in message
    assert "epochs" in message


def test_an_unknown_augmentation_is_refused_with_a_near_one_and_all_that_there_are(run_config: dict[str, Any]) -> None:
    names = "bias, gamma, brightness, contrast, noise, blur, thick, scale, rotate, elastic, or all of them: all"
    said = "augment = 'bias,blurr': 'blurr' is no augmentation: did you mean 'blur'? Known are " + names
    assert refusal(run_config | {"augment": "bias,blurr"}) == said
    assert refusal(run_config | {"augment": "x"}) == f"augment = 'x': 'x' is no augmentation: known are {names}"


def test_augmentations_are_named_one_by_one_or_all_at_once(run_config: dict[str, Any]) -> None:
    def training(value: str) -> TrainingSettings:
        return Settings.from_run_config(
            run_config | {"augment": value, "patch-size": 32, "exemplar-mm": 256.0}
        ).training

    assert training("").augmentations == () and training("").margin == 0
    assert training("noise, bias").augmentations == ("bias", "noise") and training("noise,bias").margin == 0
    assert training("all").augmentations == AUGMENTATIONS and training("all").margin == 8
    assert training("elastic").margin == 8, "room to turn and scale"


def test_a_schedule_of_epochs_needs_a_run_of_epochs(run_config: dict[str, Any]) -> None:
    assert "schedule 'step'" in refusal(run_config | {"schedule": "step", "steps": 8, "epochs": 2})
    settings = Settings.from_run_config(run_config | {"schedule": "step", "steps": 0, "epochs": 2})
    assert settings.training.epochs == 2


def test_an_unknown_method_is_refused_with_those_that_there_are(run_config: dict[str, Any]) -> None:
    assert all(repr(method) in refusal(run_config | {"method": "fedprox"}) for method in list(METHODS))


@pytest.mark.parametrize("method", [name for name, spec in METHODS.items() if spec.whole_model])
def test_an_encoder_alone_cannot_be_held_or_averaged(run_config: dict[str, Any], method: str) -> None:
    message = refusal(run_config | {"method": method, "carry": "encoder"})
    assert message.startswith(f"method = {method!r} needs the whole model") and "set carry = 'model'" in message


@pytest.mark.parametrize(
    ("steps", "epochs", "rounds", "whole", "fitting"),
    [
        (240, 0, 7, "steps = 240", "5, 6, 8, or change steps"),
        (3, 0, 10, "steps = 3", "1, 3, or change steps"),
        (0, 150, 4, "epochs = 150", "2, 3, 5, or change epochs"),
    ],
)
def test_rounds_are_of_equal_length(
    run_config: dict[str, Any], steps: int, epochs: int, rounds: int, whole: str, fitting: str
) -> None:
    config = run_config | {"steps": steps, "epochs": epochs, "rounds": rounds}
    message = refusal(config | {"method": "fedavg"})
    assert message.startswith(f"rounds = {rounds} does not divide {whole}, ")
    assert message.endswith(f": set rounds to {fitting}")
    assert Settings.from_run_config(config | {"method": "replay"}).run.rounds == rounds


@pytest.mark.parametrize(("steps", "epochs", "rounds"), [(240, 0, 10), (240, 0, 240), (1, 0, 1), (0, 150, 50)])
def test_rounds_that_divide_a_center_s_training_are_accepted(
    run_config: dict[str, Any], steps: int, epochs: int, rounds: int
) -> None:
    config = run_config | {"method": "fedavg", "steps": steps, "epochs": epochs, "rounds": rounds}
    assert Settings.from_run_config(config).run.rounds == rounds


def test_an_exemplar_holds_at_least_one_patch(run_config: dict[str, Any]) -> None:
    fitting = {"spacing": 4.0, "patch-size": 32, "exemplar-mm": 128.0}
    assert Settings.from_run_config(run_config | fitting).exemplar_voxels == 32
    message = refusal(run_config | fitting | {"exemplar-mm": 64.0})
    assert "exemplar-mm = 64 is smaller than one patch (32 voxels of 4 mm)" in message


@pytest.mark.parametrize(
    ("mm", "spacing", "voxels"), [(96.0, 1.0, 96), (96.0, 2.0, 48), (100.0, 2.0, 56), (97, 1, 104)]
)
def test_an_exemplar_s_edge_is_a_multiple_of_eight(
    run_config: dict[str, Any], mm: float, spacing: float, voxels: int
) -> None:
    settings = Settings.from_run_config(run_config | {"exemplar-mm": mm, "spacing": spacing})
    assert settings.exemplar_voxels == voxels


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("metod", "method"), ("learning_rate", "learning-rate"), ("batchsize", "batch-size"), ("center", "centers")],
)
def test_an_unknown_key_suggests_a_near_one(run_config: dict[str, Any], wrong: str, near: str) -> None:
    assert refusal(run_config | {wrong: 1}) == f"unknown key {wrong!r}: did you mean {near!r}?"


def test_an_unknown_key_near_to_none_lists_them_all(run_config: dict[str, Any]) -> None:
    message = refusal(run_config | {"zzz": 1})
    assert all(key in message for key in KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_must_be_given(run_config: dict[str, Any], key: str) -> None:
    del run_config[key]
    assert refusal(run_config) == f"{key} is missing"


def test_all_bad_keys_are_named_at_once(run_config: dict[str, Any]) -> None:
    message = refusal(run_config | {"seed": -1, "features": 0, "device": "tpu"})
    assert all(f"{key} = " in message for key in ("seed", "features", "device"))


@pytest.mark.parametrize("group", list(Settings.model_fields))
def test_settings_are_frozen(run_config: dict[str, Any], group: str) -> None:
    settings = Settings.from_run_config(run_config)
    part = getattr(settings, group)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, group, part)
    name = next(iter(type(part).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(part, name, getattr(part, name))


names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_-]{0,7}", fullmatch=True)
changes = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(list(METHODS)),
        "centers": st.lists(names, min_size=1, max_size=9, unique=True).map(",".join),
        "contrasts": st.lists(names, min_size=1, max_size=3, unique=True).map(",".join),
        "order": st.sampled_from(["given", "descending", "random"]),
        "seed": st.integers(0, 2**31 - 1),
        "output-dir": st.text(),
        "wait-seconds": st.floats(0, 1e6, exclude_min=True),
        "test-fraction": st.floats(0, 1, exclude_min=True, exclude_max=True),
        "learning-rate": st.floats(0, 1, exclude_min=True),
        "lesion-share": st.floats(0, 1),
        "epochs": st.integers(0, 1000),
        "features": st.integers(2, 128),
        "exemplar-mm": st.floats(64, 1e4),
    },
)
with_fixture = examples(0.6, fixture=True)


@with_fixture
@given(changed=changes)
def test_settings_give_back_their_run_config(run_config: dict[str, Any], changed: dict[str, Any]) -> None:
    config = run_config | changed
    settings = Settings.from_run_config(config)
    assert settings.to_run_config() == config
    assert Settings.from_run_config(settings.to_run_config()) == settings


@with_fixture
@given(key=st.sampled_from(KEYS), value=st.one_of(st.text(), st.integers(), st.floats(), st.booleans()))
def test_whatever_is_refused_is_refused_in_one_line(run_config: dict[str, Any], key: str, value: Any) -> None:
    try:
        kept = Settings.from_run_config(run_config | {key: value})
    except SettingsError as error:
        message = str(error)
        assert key in message
        assert "\n" not in message
    else:
        assert kept.to_run_config().keys() == run_config.keys()


def test_a_name_with_a_line_break_is_refused_in_one_line(run_config: dict[str, Any]) -> None:
    assert "named twice" in refusal(run_config | {"centers": "mi\nlan,mi\nlan"})

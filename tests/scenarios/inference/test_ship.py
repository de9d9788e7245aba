"""The model that is shipped: of simulated patients alone, in float16, with its threshold set on them and at 0.5."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from client.evaluation.inference import evaluate
from scenarios.inference import ship as shipping
from scenarios.inference.ensemble import Ensemble
from scenarios.inference.monai_bundle import export_bundle
from scenarios.inference.ship import (
    BIAS,
    MOST_BYTES,
    THRESHOLDS,
    SimulatedPatient,
    at_half,
    best_threshold,
    by_contrast,
    check_float16,
    check_size,
    command_of,
    rounded,
    ship,
    simulated_patients,
)
from scenarios.run_config import default_run_config, load_settings
from scenarios.runner.launch_record import HowLaunched
from scenarios.shipped.card import CARD, HERE, ContrastFigures, ShippedCard
from shared.config.settings import CIRCUMSTANCES, Settings
from shared.errors import ResultsError
from shared.model.model_file import model_bytes, open_model
from shared.model.network import initial_weights
from shared.model.weights import Weights, model_digest
from shared.paths import MODEL, RESULTS
from shared.phantoms.settings import VERSION
from shared.results import ImageScores, RunResults, read_results
from tests.support.commands import call
from tests.support.journals import written

CPU = torch.device("cpu")


def quiet(line: str) -> None:
    pass


def eager(settings: Settings) -> Weights:
    """Weights of an untrained network whose scores are spread over the whole scale."""
    weights = initial_weights(settings.network, 3)
    return weights | {"head.weight": weights["head.weight"] * 20, BIAS: weights[BIAS] * 0 - 1}


def rewritten(run: Path, results: RunResults) -> None:
    (run / RESULTS).write_bytes(results.to_json())


@pytest.fixture
def settings(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "seed": 7})


@pytest.fixture
def run(tmp_path: Path, settings: Settings) -> Path:
    """A finished run over simulated hospitals whose test scores are those of its model."""
    folder = tmp_path / "run"
    folder.mkdir()
    results, weights = written(folder, settings), eager(settings)
    (folder / MODEL).write_bytes(model_bytes(weights, settings))
    patients = simulated_patients(settings, quiet)
    scores = evaluate(weights, [one.volume for one in patients], settings, CPU)
    last = len(results.stages) - 1
    tested = [
        ImageScores(stage=last, center=one.center, subject="s", contrast=one.contrast, **found.model_dump())
        for one, found in zip(patients, scores, strict=True)
    ]
    rewritten(folder, results.model_copy(update={"test_scores": tuple(tested)}))
    HowLaunched(run_config={}).save(folder)
    return folder


def test_a_shipped_model_is_measured_in_float16_at_the_threshold_that_is_best(
    run: Path, tmp_path: Path, settings: Settings
) -> None:
    card = ship(run, tmp_path / "out", CPU, quiet, "abc")
    assert ShippedCard.read(tmp_path / "out") == card
    raw = load_file(tmp_path / "out" / MODEL)
    assert {value.dtype for value in raw.values()} == {torch.float16}
    assert card.bytes == (tmp_path / "out" / MODEL).stat().st_size < MOST_BYTES
    means = {t: sum(dice.values()) / len(dice) for t, dice in card.tried.items()}
    assert set(card.tried) == {f"{t:g}" for t in THRESHOLDS}
    assert means[f"{card.threshold:g}"] == pytest.approx(max(means.values()), abs=1e-4)
    # From 0.5 on, it finds what the run's model finds from the threshold on.
    model = open_model(tmp_path / "out")
    for contrast, one in card.figures.items():
        assert one.dice == pytest.approx(card.tried[f"{card.threshold:g}"][contrast], abs=0.001)
        assert one.dice_as_trained == card.tried["0.5"][contrast]
        assert model.inference.dice_by_contrast[contrast] == pytest.approx(one.dice, abs=1e-4)
    patients = simulated_patients(settings, quiet)
    shipped = evaluate(dict(model.network.state_dict()), [one.volume for one in patients], settings, CPU)
    assert by_contrast(patients, [one.dice for one in shipped]) == pytest.approx(
        {contrast: one.dice for contrast, one in card.figures.items()}, abs=1e-4
    )
    assert card.sha256 == model_digest(dict(model.network.state_dict()))
    assert (card.seed, card.commit, card.phantoms, card.method) == (7, "abc", VERSION, "replay")
    assert card.settings == settings.science and not set(card.settings) & CIRCUMSTANCES


def test_its_card_is_that_of_its_bundle_and_a_run_may_start_from_it(
    run: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call(monkeypatch, capsys, "ship", str(run), "--output", str(out), "--device", "cpu") == (0, "")
    card = ShippedCard.read(out)
    bundle = export_bundle(out, tmp_path / "bundle")
    text = (bundle / "docs" / "README.md").read_text()
    for said in ("**Simulated patients alone**", card.command, card.sha256, f"{card.threshold:g} or more", card.commit):
        assert said in text
    for contrast, one in card.figures.items():
        assert f"| {contrast} | {one.images} | {one.dice:.3f} | {one.lesion_f1:.3f} |" in text
    scores = json.loads((bundle / "configs" / "metadata.json").read_text())["eval_metrics"]
    assert scores == {"dice_by_contrast": open_model(out).inference.dice_by_contrast}
    state = torch.load(bundle / "models" / "model.pt")
    assert all(value.equal(open_model(out).network.state_dict()[name]) for name, value in state.items())
    begun = load_settings(None, ["features=2", f"start={out}"], None)
    assert begun.run.start_digest == card.sha256
    monkeypatch.setattr("scenarios.shipped.card.HERE", out)
    assert call(monkeypatch, capsys, "export", "--output", str(tmp_path / "again")) == (0, "")
    assert (tmp_path / "again" / "docs" / "README.md").read_text() == text
    code, said = call(monkeypatch, capsys, "ship", str(run), "--output", str(out))
    assert code == 1 and "model.safetensors exists, and nothing is overwritten" in said


# What is refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data-dir": "/data/real"}, "was trained on the data sets of /data/real"),
        ({"protocol": "/study/protocol.json"}, "was trained at hospitals that joined"),
        ({"start": "/other", "start-digest": "a" * 64}, "began with another model"),
    ],
)
def test_what_may_have_learnt_from_anybody_is_not_shipped(
    run: Path, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    results = read_results(run)
    rewritten(run, results.model_copy(update={"settings": results.settings | changes}))
    with pytest.raises(ResultsError, match=f"{said}.*: only what learnt from simulated patients alone is shipped"):
        ship(run, tmp_path / "out", CPU, quiet)
    assert not (tmp_path / "out").exists()


def test_a_run_on_another_superlink_is_not_shipped(run: Path, tmp_path: Path) -> None:
    HowLaunched(run_config={}, superlink="study").save(run)
    with pytest.raises(ResultsError, match="was trained at hospitals that joined"):
        ship(run, tmp_path / "out", CPU, quiet)


def test_a_network_without_a_threshold_to_move_is_not_shipped(run: Path, tmp_path: Path, settings: Settings) -> None:
    relu = settings.with_changes({"activation": "normalised-relu", "loss": "dice"})
    (run / MODEL).write_bytes(model_bytes(initial_weights(relu.network, 3), relu))
    with pytest.raises(ResultsError, match="ends in normalised-relu"):
        ship(run, tmp_path / "out", CPU, quiet)


def test_other_patients_than_the_run_tested_on_are_noticed(run: Path, tmp_path: Path) -> None:
    results = read_results(run)
    worse = tuple(ImageScores.model_validate(one.model_dump() | {"dice": 1 - one.dice}) for one in results.test_scores)
    rewritten(run, results.model_copy(update={"test_scores": worse}))
    with pytest.raises(ResultsError, match="the simulated patients made here are not those of the run"):
        ship(run, tmp_path / "out", CPU, quiet)
    assert not list((tmp_path / "out").iterdir())


def test_a_model_that_is_too_large_or_that_float16_does_not_hold_is_refused(settings: Settings) -> None:
    wide = settings.with_changes({"features": 34}).network
    content = model_bytes(rounded(initial_weights(wide, 0)), settings)
    with pytest.raises(ResultsError, match=r"takes 10\.\d MB in float16, and at most 10 MB"):
        check_size(content)
    check_size(content[:MOST_BYTES])
    with pytest.raises(ResultsError, match=r"head\.bias holds numbers that float16 does not"):
        rounded({"head.weight": torch.ones(1), BIAS: torch.tensor([1e5])})


def test_float16_may_cost_nothing() -> None:
    figures = ContrastFigures(images=3, dice=0.6, lesion_f1=0.5, dice_as_trained=0.4, dice_in_float32=0.6009)
    check_float16({"FLAIR": figures})
    with pytest.raises(ResultsError, match=r"mean Dice on T2w is 0\.6000 instead of 0\.6011"):
        check_float16({"FLAIR": figures, "T2w": figures.model_copy(update={"dice_in_float32": 0.6011})})


# Parts


def test_the_best_threshold_counts_each_contrast_once_and_lies_near_a_half_where_several_are() -> None:
    tried = {0.1: {"FLAIR": 0.9, "T2w": 0.1}, 0.3: {"FLAIR": 0.6, "T2w": 0.5}, 0.5: {"FLAIR": 0.5, "T2w": 0.6}}
    assert best_threshold(tried) == 0.5
    assert best_threshold(tried | {0.2: {"FLAIR": 0.6, "T2w": 0.6}}) == 0.2


def test_images_without_lesion_are_in_no_mean() -> None:
    volumes = [("FLAIR", None), ("T2w", None), ("FLAIR", "none"), ("FLAIR", None)]
    patients: list[SimulatedPatient] = [
        SimulatedPatient("amu", contrast, SimpleNamespace(empty=empty))  # type: ignore[arg-type]
        for contrast, empty in volumes
    ]
    assert by_contrast(patients, [0.25, 0.5, 1.0, 0.75]) == {"FLAIR": 0.5, "T2w": 0.5}


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_the_threshold_of_a_network_is_led_to_a_half(threshold: float) -> None:
    scores = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    moved = scores + at_half({BIAS: torch.zeros(1, dtype=torch.float64)}, threshold)[BIAS]
    near = (scores.sigmoid() - threshold).abs() < 1e-12
    assert torch.equal((moved.sigmoid() >= 0.5)[~near], (scores.sigmoid() >= threshold)[~near])
    assert (moved.sigmoid().diff() > 0).all()


def test_the_command_trains_the_same_again(settings: Settings) -> None:
    words = command_of(settings, HowLaunched(run_config={}, cpus=1)).split()
    assert words[:2] == ["wardround", "run"] and words[-2:] == ["--cpus", "1"]
    changes = [word for word in words[2:-2] if word != "-c"]
    assert load_settings(None, changes, None).science == settings.science
    defaults = default_run_config()
    assert all(str(defaults[key]) != value for key, value in (change.split("=", 1) for change in changes))


def test_a_card_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text("{}")
    with pytest.raises(ResultsError, match=r"card\.json is damaged .*: make it by 'wardround ship'"):
        ShippedCard.read(tmp_path)


# What is shipped


@pytest.mark.skipif(not (HERE / MODEL).is_file(), reason="no model is shipped yet")
def test_the_shipped_model_is_the_one_of_its_card_and_of_today_s_simulated_patients() -> None:
    card, model = ShippedCard.read(HERE), Ensemble.opened([]).models[0]
    assert card.sha256 == model_digest(dict(model.network.state_dict()))
    assert card.bytes == (HERE / MODEL).stat().st_size <= MOST_BYTES
    assert card.phantoms == VERSION, "simulated patients have changed: train the shipped model again, by card.command"
    assert set(card.figures) == set(model.inference.contrasts) and " with changes" not in card.commit
    assert all(abs(one.dice - one.dice_in_float32) <= shipping.MOST_LOST for one in card.figures.values())

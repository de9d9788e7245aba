"""Which images the report shows: chosen without a look at results, and never anybody's who was not asked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.hospital.center import open_hospital
from scenarios.report.examples import examples_of, spread_over, worst_center
from scenarios.report.overlays import Examples, draw_overlays
from scenarios.results.study import Costs, RunEntry, Study, run_entry
from scenarios.simulation.hospitals import hospital_folder, phantom_settings
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from shared.model.network import initial_weights, save_model
from tests.support.datasets import write_dataset
from tests.support.results import make_results
from tests.support.studies import make_run, make_study, write_run

CENTERS = ("milan", "ucsf")
SUBJECTS = ("sub-01", "sub-02", "sub-03")


def settings_of(run_config: dict[str, Any], cache: Path, **changes: Any) -> Settings:
    return Settings.from_run_config(
        run_config | {"centers": ",".join(CENTERS), "cache-dir": str(cache), "patch-size": 8 * 2} | changes
    )


def with_models(study: Study, folder: Path, settings: Settings, **changes: Any) -> None:
    """Write each run's results and model; its test scores are those of the hospitals' own test subjects."""
    for run in study.runs:
        scores = [
            {"stage": stage, "center": center, "subject": subject, "contrast": "FLAIR", "dice": 0.1 * stage + 0.25}
            for stage in range(len(run.R))
            for center in CENTERS
            for subject in held_out(center, settings)
        ]
        write_run(folder / run.folder, run, settings=settings.to_run_config(), test_scores=scores, **changes)
        save_model(
            folder / run.folder / "model.safetensors", initial_weights(settings.network, run.seed), settings.network
        )


def held_out(center: str, settings: Settings) -> list[str]:
    hospital = open_hospital(simulated_site(center, settings), Path(settings.data.cache_dir), settings)
    return [hospital.pseudonym(case.subject) for case in hospital.test]


def runs() -> list[RunEntry]:
    made = [
        make_run(method, seed, 0.6, folder=f"{method}-{seed}") for method in ("replay", "finetune") for seed in (0, 1)
    ]
    made = [run.model_copy(update={"order": CENTERS}) for run in made]
    return [*made, make_run("pooled", 0, 0.6, folder="pooled-0").model_copy(update={"order": CENTERS})]


@pytest.fixture
def simulated(tmp_path: Path, run_config: dict[str, Any]) -> Settings:
    """Two hospitals that lie where simulated ones do."""
    settings = settings_of(run_config, tmp_path / "cache")
    for first, center in enumerate(CENTERS):
        there = hospital_folder(center, phantom_settings(settings.data), tmp_path / "cache" / "hospitals")
        write_dataset(there, SUBJECTS, first=3 * first)
    return settings


def test_simulated_patients_are_shown_with_the_models_of_one_seed(tmp_path: Path, simulated: Settings) -> None:
    study = make_study(runs(), centers=CENTERS)
    with_models(study, tmp_path / "study", simulated)
    found = examples_of(study, tmp_path / "study", images=False)
    assert found.lacking == "" and not found.confidential
    assert [one.center for one in found.shown] == list(CENTERS)
    for one in found.shown:
        assert set(one.segmentations) == {"replay", "finetune", "pooled"}
        assert one.dice == {"replay": 0.35, "finetune": 0.35, "pooled": 0.25}
        assert one.image.shape == one.truth.shape == one.segmentations["replay"].shape
        assert one.truth.max() > 0.5, "the slice holds lesion"
        assert one.image.min() >= 0 and one.image.max() == 1
        assert one.subject not in SUBJECTS


def test_the_worst_center_of_each_model_is_always_shown_by_its_worst_image(
    tmp_path: Path, run_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that the even spread passes over, and that was not learnt at all."""
    order = ("milan", "amu", "ucsf", "nih")
    monkeypatch.setattr("scenarios.report.examples.MOST", 2)
    settings = settings_of(run_config, tmp_path / "cache", centers=",".join(order), **{"test-fraction": 0.6})
    for first, center in enumerate(order):
        there = hospital_folder(center, phantom_settings(settings.data), tmp_path / "cache" / "hospitals")
        write_dataset(there, SUBJECTS, first=3 * first)
    lost = {"finetune": "amu", "replay": "ucsf"}
    runs, worst = [], {}
    for method, center in lost.items():
        dice = [0.0 if one == center else 0.6 for one in order]
        run = run_entry(method, 0, "descending", order, [[0.6] * 4] * 3 + [dice], Costs(folder=method))
        runs.append(run)
        scores = []
        for one, mean in zip(order, dice, strict=True):
            first, second, *_ = held_out(one, settings)
            spread = {first: mean + 0.1, second: mean}
            worst[one] = second
            scores += [
                {"stage": 3, "center": one, "subject": subject, "contrast": "FLAIR", "dice": value}
                for subject, value in spread.items()
            ]
        write_run(tmp_path / method, run, settings=settings.to_run_config(), test_scores=scores)
        save_model(tmp_path / method / "model.safetensors", initial_weights(settings.network, 0), settings.network)
    found = examples_of(make_study(runs, centers=order), tmp_path, images=False)
    assert found.lacking == ""
    shown = {one.center: one for one in found.shown}
    assert list(shown) == list(order), "two by the spread, two as the worst, in the order of the visits"
    assert {center: one.worst_of for center, one in shown.items() if one.worst_of} == {
        "amu": ("finetune",),
        "ucsf": ("replay",),
    }
    assert all(shown[center].subject == worst[center] for center in ("amu", "ucsf"))
    assert shown["amu"].dice["finetune"] == 0.0
    picture = draw_overlays(found)
    assert picture is not None
    assert "amu (worst center of Fine-tuning): " in picture.alternative
    texts = [text.get_text() for axes in picture.draw("light").axes for text in axes.texts]
    assert [text for text in texts if "worst" in text] == ["worst center of\nFine-tuning", "worst center of\nReplay"]


def test_the_worst_center_is_that_of_the_last_row_as_far_as_it_is_known() -> None:
    assert worst_center(make_results(("a", "b", "c"), [[0.0, 0.0, 0.0], [0.0, 0.1, 0.0], [0.4, None, 0.3]])) == "c"
    assert worst_center(make_results(("a", "b"), [[0.0, 0.0]])) == "a"


def test_anterior_is_up_and_the_patient_s_right_on_the_left(tmp_path: Path, simulated: Settings) -> None:
    study = make_study(runs(), centers=CENTERS)
    with_models(study, tmp_path / "study", simulated)
    one = examples_of(study, tmp_path / "study", images=False).shown[0]
    rows, columns = np.nonzero(one.truth > 0.5)
    # The made-up patient's lesion lies 4 mm to the right of the middle (RAS x = +4) and 3 mm behind it (y = -3).
    middle = (np.array(one.truth.shape) - 1) / 2
    assert columns.mean() < middle[1]
    assert rows.mean() > middle[0]


def test_images_of_a_data_folder_are_shown_only_where_asked_for(tmp_path: Path, run_config: dict[str, Any]) -> None:
    settings = settings_of(run_config, tmp_path / "cache", **{"data-dir": str(tmp_path / "data")})
    for first, center in enumerate(CENTERS):
        write_dataset(tmp_path / "data" / center, SUBJECTS, first=3 * first)
    study = make_study(runs(), centers=CENTERS)
    with_models(study, tmp_path / "study", settings)
    kept = examples_of(study, tmp_path / "study", images=False)
    assert kept.shown == () and "may be patients'" in kept.lacking and "--images" in kept.lacking
    asked = examples_of(study, tmp_path / "study", images=True)
    assert len(asked.shown) == 2 and asked.confidential


def test_a_deployment_s_hospitals_are_not_taken_for_simulated_ones(tmp_path: Path, simulated: Settings) -> None:
    study = make_study(runs(), centers=CENTERS)
    elsewhere = [{"stage": 1, "center": "milan", "subject": "0123456789abcdef", "contrast": "FLAIR", "dice": 0.5}]
    for run in study.runs:
        write_run(tmp_path / run.folder, run, settings=simulated.to_run_config(), test_scores=elsewhere)
        save_model(
            tmp_path / run.folder / "model.safetensors", initial_weights(simulated.network, 0), simulated.network
        )
    found = examples_of(study, tmp_path, images=True)
    assert found.shown == ()
    assert "not those that the runs were tested on" in found.lacking


def lacking(found: Examples) -> str:
    assert found.shown == ()
    return found.lacking


def test_what_is_not_there_is_said_in_a_sentence(tmp_path: Path, simulated: Settings) -> None:
    study = make_study(runs(), centers=CENTERS)
    nowhere = make_study([run.model_copy(update={"folder": ""}) for run in runs()], centers=CENTERS)
    assert "no run of this study has its folder" in lacking(examples_of(nowhere, tmp_path, images=False))
    assert "holds no results.json" in lacking(examples_of(study, tmp_path, images=False))
    with_models(study, tmp_path, simulated)
    (tmp_path / "replay-0" / "model.safetensors").unlink()
    assert "models of replay-descending-seed0 are not there" in lacking(examples_of(study, tmp_path, images=False))
    (tmp_path / "cache" / "hospitals").rename(tmp_path / "moved")
    one_run = make_study(runs()[1:2], centers=CENTERS)
    assert "milan: its images are not on this machine" in lacking(examples_of(one_run, tmp_path, images=False))


def test_centers_are_spread_over_the_order() -> None:
    assert spread_over("abcdefgh", 4) == ("a", "c", "f", "h")
    assert spread_over("abc", 4) == ("a", "b", "c")

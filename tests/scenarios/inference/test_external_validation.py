"""Judging a model on real cases: the scores of a run, case by case, and nothing left out unnamed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from client.data.inventory import LabelChoice
from scenarios.inference.ensemble import Ensemble
from scenarios.inference.external_validation import ExternalValidation, ScoredCase, line_of, means_of, validate
from shared.errors import DataError
from shared.metrics.scores import Scores
from shared.model.model_file import Model
from tests.scenarios.inference.test_segment import bright
from tests.support.commands import call
from tests.support.datasets import grid, patient, write_dataset, write_image
from tests.support.scored import SCORES, SHARES

CPU = torch.device("cpu")


def scored(dice: float, f1: float) -> Scores:
    others = dict.fromkeys(SCORES, 0.0) | dict.fromkeys(SHARES, 0.5)
    return Scores(**(others | {"dice": dice, "lesion_f1": f1}))


def validated_by(model: Model, folder: Path) -> ExternalValidation:
    return validate(Ensemble((model,)), folder, CPU, lambda one: None)


def test_each_labelled_image_is_scored_in_its_own_grid(tmp_path: Path) -> None:
    """A network that finds what is bright finds the bright lesion, and Dice is that of its own mask."""
    folder = write_dataset(tmp_path, ["sub-1", "sub-2"], ("FLAIR", "T2w"), voxel=2.0)
    found = validated_by(bright(spacing=2.0), folder)
    assert [(one.id, one.contrast) for one in found.scored] == [
        *(("sub-1", contrast) for contrast in ("FLAIR", "T2w")),
        *(("sub-2", contrast) for contrast in ("FLAIR", "T2w")),
    ]
    assert all(one.scores.dice > 0.8 and one.scores.lesion_f1 == 1 for one in found.scored)
    assert found.skipped == ()


def test_a_lesion_that_nobody_labelled_costs_lesion_f1(tmp_path: Path) -> None:
    """One of two lesions is in the label: sensitivity 1, precision 1/2, F1 2/3."""
    folder = write_dataset(tmp_path, ["sub-1"], voxel=2.0)
    shape, affine = grid((2.0,) * 3)
    image, _ = patient(shape, affine)
    image[6:9, 11:14, 11:14] += 150
    write_image(folder / "sub-1" / "anat" / "sub-1_FLAIR.nii.gz", image, affine)
    (one,) = validated_by(bright(spacing=2.0), folder).scored
    assert one.scores.lesion_f1 == pytest.approx(2 / 3)


def test_means_are_over_images_of_each_contrast() -> None:
    rows = [("a", "FLAIR", 0.5, 1.0), ("a", "T2w", 0.1, 0.0), ("b", "FLAIR", 0.9, 0.5)]
    found = ExternalValidation(tuple(ScoredCase(id, c, scored(dice, f1), ()) for id, c, dice, f1 in rows), ())
    assert found.means() == {"FLAIR": (2, pytest.approx(0.7), 0.75), "T2w": (1, 0.1, 0.0)}
    assert found.mean_dice == pytest.approx(0.5)
    said = [line.split() for line in [*map(line_of, found.scored), *means_of(found)]]
    assert said == [
        ["a", "FLAIR", "0.500", "1.000"],
        ["a", "T2w", "0.100", "0.000"],
        ["b", "FLAIR", "0.900", "0.500"],
        ["mean", "of", "2", "images", "FLAIR", "0.700", "0.750"],
        ["mean", "of", "1", "image", "T2w", "0.100", "0.000"],
        ["mean", "of", "all", "0.500"],
    ]


def test_what_has_no_label_or_cannot_be_used_is_named_and_skipped(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1", "sub-2", "sub-3"])
    next((folder / "derivatives").rglob("sub-2_*")).unlink()
    (folder / "sub-3" / "anat" / "sub-3_FLAIR.nii.gz").write_bytes(b"not an image")
    found = validated_by(bright(spacing=4.0), folder)
    assert [one.id for one in found.scored] == ["sub-1"]
    assert len(found.skipped) == 2
    assert "sub-2_FLAIR.nii.gz has no lesion label" in found.skipped[0]
    assert "sub-3_FLAIR.nii.gz is no whole gzip file" in found.skipped[1]


def test_no_case_at_all_is_an_error(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1"])
    next((folder / "derivatives").rglob("sub-1_*")).unlink()
    with pytest.raises(DataError, match=r"no labelled image that could be scored: sub-1_FLAIR.*has no lesion label"):
        validated_by(bright(), folder)
    with pytest.raises(DataError, match="does not exist"):
        validated_by(bright(), tmp_path / "nowhere")


def test_an_image_of_a_contrast_that_the_model_does_not_know_is_warned_of(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1"], ("FLAIR", "T2w"), voxel=3.0)
    found = validated_by(bright(spacing=4.0, contrasts=("FLAIR",)), folder)
    said = "image is T2w, and the model knows FLAIR: give it FLAIR images"
    assert [one.warnings for one in found.scored] == [(), (said,)]


def test_patients_without_lesion_are_named_and_left_out_of_the_means(tmp_path: Path) -> None:
    """Their Dice is 1 or 0, by whether a single voxel was found."""
    folder = write_dataset(tmp_path, ["sub-1", "sub-2"], voxel=2.0)
    shape, affine = grid((2.0,) * 3)
    write_image(next((folder / "derivatives").rglob("sub-2_*")), np.zeros(shape, np.uint8), affine)
    found = validate(Ensemble((bright(spacing=2.0),)), folder, CPU, lambda one: None, allow_empty=True)
    lesion, none = found.scored
    assert (lesion.empty, none.empty) == (False, True) and none.scores.dice == 0
    assert found.mean_dice == lesion.scores.dice and found.means()["FLAIR"][0] == 1
    assert "no lesion labelled, " in line_of(none) and " ml found: not in the means" in line_of(none)
    content = found.to_json()
    assert [case["id"] for case in content["cases"]] == ["sub-1"]
    assert content["without_lesion"] == [
        {"id": "sub-2", "contrast": "FLAIR", "found_ml": none.scores.volume_difference_ml}
    ]
    alone = ExternalValidation((none,), ())
    assert alone.mean_dice is None and " ".join(means_of(alone)[-1].split()) == "mean of all none has a lesion"


def test_the_value_that_means_lesion_can_be_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1"], voxel=2.0)
    shape, affine = grid((2.0,) * 3)
    label = np.rint(patient(shape, affine)[1]) * 3
    label[2:5, 12, 12] = 1
    write_image(next((folder / "derivatives").rglob("sub-1_*")), label, affine)
    with pytest.raises(DataError, match="name the value that means lesion"):
        validated_by(bright(spacing=2.0), folder)
    found = [
        validate(
            Ensemble((bright(spacing=2.0),)), folder, CPU, lambda one: None, choice=LabelChoice(lesion_value=value)
        ).mean_dice
        for value in (3, 1)
    ]
    assert found[0] is not None and found[0] > 0.8 and found[1] == 0


# The command


def test_the_command_prints_a_table_and_writes_json(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(tmp_path / "data", ["sub-1", "sub-2"])
    written = tmp_path / "scores.json"
    monkeypatch.setattr(
        "sys.argv",
        ["wardround", "realism", "--model", str(untrained), "--data", str(folder), "--json", str(written)],
    )
    from scenarios.cli.main import main

    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    out = capsys.readouterr().out
    content = json.loads(written.read_text())
    assert [set(case) for case in content["cases"]] == [{"id", "contrast", "dice", "lesion_f1"}] * 2
    assert content["mean_dice"] == pytest.approx(np.mean([case["dice"] for case in content["cases"]]))
    for case in content["cases"]:
        assert f"{case['id']:<24}  FLAIR     {case['dice']:.3f}" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nowhere", "--data", "data"], "nowhere"),
        (["--model", "run", "--data", "empty"], "is laid out in no known way"),
        (["--model", "run", "--data", "data", "--json", "missing/scores.json"], "make missing first"),
        (["--model", "run", "--data", "data", "--device", "tpu"], "--device tpu: choose auto"),
        (["run", "--data", "data"], "run stands without an option: a model is named by --model run"),
    ],
)
def test_a_wrong_request_ends_with_one_line(
    untrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    write_dataset(tmp_path / "data", ["sub-1"])
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    code, error = call(monkeypatch, capsys, "realism", *words)
    assert code == 1 and said in error and error.count("\n") == 1


def test_real_patients_are_judged(real_hospitals: Path) -> None:
    found = validated_by(bright(spacing=4.0), real_hospitals / "ljubljana")
    assert [(one.id, one.contrast) for one in found.scored] == [
        *(("sub-07", contrast) for contrast in ("FLAIR", "T2w")),
        *(("sub-26", contrast) for contrast in ("FLAIR", "T2w")),
    ]
    assert all(0 <= one.scores.dice <= 1 and one.warnings == () for one in found.scored)

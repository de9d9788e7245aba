"""Judging a model on real cases: the scores of a run, case by case, and nothing left out unnamed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from client.data.inventory import LabelChoice
from scenarios.inference.ensemble import Ensemble
from scenarios.inference.external_validation import Ask, ExternalValidation, name_hospitals, validate
from scenarios.inference.validation_groups import line_of, tables_of, to_json
from shared.errors import DataError, SettingsError
from shared.model.model_file import Model
from tests.scenarios.inference.test_segment import bright
from tests.support.commands import call
from tests.support.datasets import grid, patient, write_dataset, write_image

CPU = torch.device("cpu")


def solo(spacing: float) -> Ensemble:
    """A single model, which finds what is bright."""
    return Ensemble((bright(spacing=spacing),))


def validated_by(model: Model, folder: Path) -> ExternalValidation:
    return validate(Ensemble((model,)), {folder.name: folder}, CPU, lambda one: None)


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


def test_several_hospitals_are_scored_in_their_order_each_with_its_patients(tmp_path: Path) -> None:
    """Both have a sub-1, who is two patients."""
    folders = {
        "there": write_dataset(tmp_path / "there", ["sub-1"], voxel=2.0),
        "here": write_dataset(tmp_path / "here", ["sub-1", "sub-2"], voxel=2.0, first=5),
    }
    heard: list[str] = []
    found = validate(
        Ensemble((bright(spacing=2.0),)), folders, CPU, lambda one: heard.append(f"{one.hospital} {one.id}")
    )
    assert heard == ["there sub-1", "here sub-1", "here sub-2"] and found.hospitals == ("there", "here")
    assert len({one.patient for one in found.scored}) == 3
    assert all(one.worst is None for one in found.scored)


def test_recall_and_precision_are_of_voxels_and_volumes_are_those_of_the_masks(tmp_path: Path) -> None:
    """27 bright voxels of 8 mm3 that nobody labelled: at least 0.216 ml that are found are false."""
    folder = write_dataset(tmp_path, ["sub-1"], voxel=2.0)
    (before,) = validated_by(bright(spacing=2.0), folder).scored
    shape, affine = grid((2.0,) * 3)
    image, label = patient(shape, affine)
    image[6:9, 11:14, 11:14] += 150
    write_image(folder / "sub-1" / "anat" / "sub-1_FLAIR.nii.gz", image, affine)
    (one,) = validated_by(bright(spacing=2.0), folder).scored
    assert one.counts.labelled_ml == pytest.approx(np.count_nonzero(np.rint(label * 255) / 255 >= 0.5) * 0.008)
    assert (before.counts.segmented, before.counts.false, one.counts.segmented, one.counts.false) == (1, 0, 2, 1)
    shared = one.scores.recall * one.counts.labelled_ml
    assert one.scores.precision == pytest.approx(shared / one.counts.found_ml)
    assert one.scores.dice == pytest.approx(2 * shared / (one.counts.labelled_ml + one.counts.found_ml))
    assert one.counts.found_ml - shared >= 0.216


def test_the_slices_of_most_errors_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1"], voxel=2.0)
    (one,) = validate(
        Ensemble((bright(spacing=4.0),)), {"here": folder}, CPU, lambda one: None, Ask(slices=True)
    ).scored
    assert one.worst is not None and 1 <= len(one.worst.slices) <= 3


def test_hospitals_are_named_by_their_folder_or_by_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "b=c"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "dataset.json").touch()
    monkeypatch.chdir(tmp_path)
    assert name_hospitals(["one", "two=one", "b=c"]) == {"one": Path("one"), "two": Path("one"), "b=c": Path("b=c")}
    assert name_hospitals(["one/dataset.json"]) == {"one": Path("one/dataset.json")}
    assert name_hospitals(["one/../one/."]) == {"one": Path("one/../one/.")}
    with pytest.raises(SettingsError, match="are both named one: give NAME=FOLDER"):
        name_hospitals(["one", str(tmp_path / "one")])
    for word in ("=one", "here=", "", "/"):
        with pytest.raises(SettingsError, match="give FOLDER or NAME=FOLDER"):
            name_hospitals([word])


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
    found = validate(solo(2.0), {"here": folder}, CPU, lambda one: None, Ask(allow_empty=True))
    lesion, none = found.scored
    assert (lesion.empty, none.empty) == (False, True) and none.scores.dice == 0
    assert found.averaged == (lesion,) and found.empty == (none,)
    assert "no lesion labelled, " in line_of(none) and " ml found: not in the means" in line_of(none)
    content = to_json(found)
    assert content["mean_dice"] == lesion.scores.dice and [group["images"] for group in content["groups"]] == [1]
    assert [case["id"] for case in content["cases"]] == ["sub-1"]
    assert content["without_lesion"] == [
        {
            "id": "sub-2",
            "hospital": "here",
            "contrast": "FLAIR",
            "found_ml": pytest.approx(none.scores.volume_difference_ml),
            "false_lesions": 1,
        }
    ]
    alone = to_json(ExternalValidation((none,), ()))
    assert alone["mean_dice"] is None and alone["groups"] == []
    assert tables_of(()) == ["no image has a lesion, so that there are no means"]


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
            Ensemble((bright(spacing=2.0),)),
            {"here": folder},
            CPU,
            lambda one: None,
            Ask(choice=LabelChoice("", value)),
        )
        for value in (3, 1)
    ]
    dices = [to_json(one)["mean_dice"] for one in found]
    assert dices[0] > 0.8 and dices[1] == 0


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
    assert all({"id", "contrast", "dice", "lesion_f1"} <= set(case) for case in content["cases"])
    assert len(content["cases"]) == 2
    assert content["mean_dice"] == pytest.approx(np.mean([case["dice"] for case in content["cases"]]))
    for case in content["cases"]:
        assert f"{case['id']:<24}  FLAIR     {case['dice']:.3f}" in out


def test_the_command_takes_several_hospitals_and_writes_a_page(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [write_dataset(tmp_path / "one", ["sub-1", "sub-2"]), write_dataset(tmp_path / "two", ["sub-1"], first=3)]
    page, written = tmp_path / "page.html", tmp_path / "scores.json"
    words = ["--data", str(folders[0]), "--data", f"other={folders[1]}", "--html", str(page), "--json", str(written)]
    monkeypatch.setattr("sys.argv", ["wardround", "realism", "--model", str(untrained), *words])
    from scenarios.cli.main import main

    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    out = capsys.readouterr().out
    assert f"one: {folders[0]}\n" in out and f"other: {folders[1]}\n" in out
    rows = [line.split()[:4] for line in out.splitlines() if " FLAIR " in line and line.split()[2].isdecimal()]
    assert rows == [["one", "FLAIR", "2", "2"], ["other", "FLAIR", "1", "1"], ["all", "FLAIR", "3", "3"]]
    assert "no interval" in out and f"page {page}: it shows patients' slices" in out
    content = json.loads(written.read_text())
    assert [case["hospital"] for case in content["cases"]] == ["one", "one", "other"]
    assert [group["hospital"] for group in content["groups"]] == ["one", "other", "all"]
    assert "slices of the patients of one, other" in page.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nowhere", "--data", "data"], "nowhere"),
        (["--model", "run", "--data", "empty"], "is laid out in no known way"),
        (["--model", "run", "--data", "data", "--json", "missing/scores.json"], "make missing first"),
        (["--model", "run", "--data", "data", "--html", "missing/page.html"], "make missing first"),
        (["--model", "run", "--data", "data", "--data", "other/data"], "are both named data: give NAME=FOLDER"),
        (["--model", "run", "--data", "data", "--data", "other=empty"], "is laid out in no known way"),
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

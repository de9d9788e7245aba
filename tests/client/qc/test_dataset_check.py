"""Checking a folder: duplicates, what is missing, the verdict, and what scripts read."""

import json
from pathlib import Path

import pytest

from client.data.layouts import take_inventory
from client.qc.dataset_check import DatasetCheck, DatasetVerdict, check_inventory, number
from tests.support.datasets import grid, patient, write_dataset, write_image


def image_of(folder: Path, subject: str, contrast: str = "FLAIR") -> Path:
    return folder / subject / "anat" / f"{subject}_{contrast}.nii.gz"


def checkup(folder: Path, contrasts: tuple[str, ...] = ("FLAIR", "T2w"), allow_empty: bool = False) -> DatasetCheck:
    return check_inventory(take_inventory(folder, contrasts), allow_empty)


def codes(found: DatasetCheck) -> dict[str, list[str]]:
    return {one.subject: [finding.code for finding in one.problems] for one in found.checked if not one.ok}


def test_good_data_is_good(tmp_path: Path) -> None:
    found = checkup(write_dataset(tmp_path, ["sub-1", "sub-2", "sub-3"], voxel=2.0))
    assert found.verdict is DatasetVerdict.good and not found.set_aside and not found.warned
    assert found.conclusion() == "all 3 images of 3 subjects can be used"


def test_one_bad_subject_is_set_aside_and_the_others_stay(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1", "sub-2", "sub-3"])
    image_of(folder, "sub-2").write_bytes(b"")
    found = checkup(folder)
    assert found.verdict is DatasetVerdict.some and codes(found) == {"sub-2": ["empty-file"]}
    assert "2 of 3 images can be used, of 2 subjects; 1 set aside until mended" in found.conclusion()


def test_where_nothing_can_be_used_the_verdict_says_so(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1", "sub-2"])
    for subject in ("sub-1", "sub-2"):
        image_of(folder, subject).write_bytes(b"")
    found = checkup(folder)
    assert found.verdict is DatasetVerdict.none and found.conclusion() == "none of 2 images can be used"
    assert checkup(folder, ("T2w",)).verdict is DatasetVerdict.none, "there is none"


def test_a_single_good_subject_is_told_to_be_too_few(tmp_path: Path) -> None:
    assert "a center needs 2 subjects" in checkup(write_dataset(tmp_path, ["sub-1"])).conclusion()


def test_one_image_under_two_subjects_sets_both_aside(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1", "sub-2", "sub-3"])
    shape, affine = grid((4.0,) * 3)
    # Compressed otherwise, and with another label: the voxels alone decide.
    write_image(image_of(folder, "sub-3"), patient(shape, affine, seed=0)[0].astype("f8"), affine)
    found = checkup(folder)
    assert codes(found) == {"sub-1": ["duplicate"], "sub-3": ["duplicate"]}
    assert "the same as that of sub-3" in str(found.checked[0].problems[0])


def test_one_image_twice_under_a_subject_is_a_warning(tmp_path: Path) -> None:
    found = checkup(write_dataset(tmp_path, ["sub-1"], contrasts=("FLAIR", "T2w")))
    assert found.verdict is DatasetVerdict.good
    assert ["repeated" in [one.code for one in checked.warnings] for checked in found.checked] == [True, True]


def test_a_subject_without_label_is_set_aside_unless_it_has_another_image(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1", "sub-2"])
    image_of(folder, "sub-1", "T2w").touch()
    next(folder.glob("derivatives/*/sub-2/anat/*")).unlink()
    found = checkup(folder)
    assert codes(found) == {"sub-2": ["missing"]}
    assert [note.partition(":")[0] for note in found.notes] == ["sub-1"]


def test_json_has_what_scripts_read(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1", "sub-2"])
    image_of(folder, "sub-2").unlink()
    image_of(folder, "sub-2").symlink_to("nowhere")
    record = json.loads(json.dumps(checkup(folder).to_json(), allow_nan=False))
    good, bad = record["subjects"]
    assert record["verdict"] == "some set aside"
    assert {key: good[key] for key in ("subject", "contrast", "ok", "problems", "lesion_count", "spacing")} == {
        "subject": "sub-1",
        "contrast": "FLAIR",
        "ok": True,
        "problems": [],
        "lesion_count": 1,
        "spacing": [4, 4, 4],
    }
    assert good["lesion_ml"] == pytest.approx(1.41, abs=0.02)
    assert bad["problems"] == [
        "image is a link to a file that is not here: fetch it (datalad or git annex get)",
    ]
    assert not bad["ok"] and bad["lesion_ml"] is None and bad["spacing"] is None


def listed(folder: Path, *names: str) -> Path:
    """A Decathlon list of images that are there, each with a label, under the given names."""
    shape, affine = grid((3.0,) * 3)
    entries = []
    for seed, name in enumerate(names):
        for path, array in zip(("images", "labels"), patient(shape, affine, seed), strict=True):
            write_image(folder / path / f"{name}.nii.gz", array, affine)
        entries.append({"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"})
    (folder / "datalist.json").write_text(json.dumps({"training": entries}))
    return folder


def test_each_image_is_shown_with_its_subject_and_its_label(tmp_path: Path) -> None:
    found = checkup(listed(tmp_path, "P01-FLAIR", "P01-T2w", "P02_V1_FLAIR"))
    assert found.files() == [
        ("P01", "images/P01-FLAIR.nii.gz", "labels/P01-FLAIR.nii.gz"),
        ("P01", "images/P01-T2w.nii.gz", "labels/P01-T2w.nii.gz"),
        ("P02", "images/P02_V1_FLAIR.nii.gz", "labels/P02_V1_FLAIR.nii.gz"),
    ]
    entries = found.to_json()["subjects"]
    assert [(one["subject"], one["image"], one["label"]) for one in entries] == [
        (subject, str(tmp_path / image), str(tmp_path / label)) for subject, image, label in found.files()
    ]
    assert checkup(tmp_path / "datalist.json").files() == found.files(), "paths are in the list's folder"


def test_a_doubtful_subject_is_a_warning_of_each_of_its_images(tmp_path: Path) -> None:
    found = checkup(listed(tmp_path, "P01_1_FLAIR", "P01_2_FLAIR", "P02_1_FLAIR"))
    assert found.verdict is DatasetVerdict.good and found.warned == 2
    assert [one["codes"] for one in found.to_json()["subjects"]] == [["doubtful-subject"]] * 2 + [[]]
    assert found.to_json()["doubts"] == [{"subject": "P01", "code": "doubtful-subject", "text": found.doubts[0].text}]


def test_several_labels_set_an_image_aside_even_where_its_subject_has_another(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1", "sub-2"], contrasts=("FLAIR", "T2w"))
    second = folder / "derivatives" / "auto" / "sub-1" / "anat" / "sub-1_T2w_label-lesion_seg.nii.gz"
    second.parent.mkdir(parents=True)
    second.touch()
    found = checkup(folder)
    assert codes(found) == {"sub-1": ["several-labels"]} and found.verdict is DatasetVerdict.some
    entry = next(one for one in found.to_json()["subjects"] if not one["ok"])
    assert entry["image"] == str(image_of(folder, "sub-1", "T2w")) and entry["label"] == str(second)


def test_a_label_of_another_rater_is_a_warning(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, ["sub-1", "sub-2", "sub-3"], voxel=3.0)
    label = next(folder.glob("derivatives/*/sub-3/anat/*"))
    label.rename(label.with_name("sub-3_rater-2_label-lesion_seg.nii.gz"))
    found = checkup(folder)
    assert [[finding.code for finding in one.warnings] for one in found.checked] == [[], [], ["mixed-labels"]]


def test_what_was_passed_over_is_named_with_its_files(tmp_path: Path) -> None:
    folder = listed(tmp_path, "P01_FLAIR", "P02_FLAIR", "P02_T1w")
    (over,) = checkup(folder).to_json()["passed_over"]
    assert (over["subject"], over["code"]) == ("P02", "other-contrast")
    assert (over["image"], over["label"]) == (
        str(folder / "images/P02_T1w.nii.gz"),
        str(folder / "labels/P02_T1w.nii.gz"),
    )


def test_progress_is_told_after_each_case(tmp_path: Path) -> None:
    told = []
    inventory = take_inventory(write_dataset(tmp_path, ["sub-1", "sub-2"]), ("FLAIR",))
    check_inventory(inventory, progress=lambda done, total, one: told.append((done, total, one.subject)))
    assert told == [(1, 2, "sub-1"), (2, 2, "sub-2")]


def test_the_summary_counts_kinds_and_ends_long_lists(tmp_path: Path) -> None:
    for i in range(7):
        write_dataset(tmp_path, [f"sub-{i}"], voxel=4.0 - 0.25 * i)
    summary = dict(checkup(tmp_path).summary())
    assert summary["orientation"] == "RAS" and summary["images"] == "FLAIR" and summary["subjects"] == "7"
    assert summary["voxel size"].endswith("(1), 3 others")
    assert "ml, median 1.4" in summary["lesion volume"]
    assert summary["intensity, FLAIR"].startswith("0 to 2")


def test_intensities_are_written_without_exponents() -> None:
    assert [number(value) for value in (0.0, 0.25, 12.345, 16383.0, -1047.4)] == ["0", "0.25", "12.3", "16383", "-1047"]

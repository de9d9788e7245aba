"""Lists of Decathlon and folders of nnU-Net: whose each image is, which of several labels, and what is named."""

from pathlib import Path
from typing import Any

import pytest

from client.data.inventory import Inventory, LabelChoice
from client.data.layouts import take_inventory
from client.data.rules import PUBLIC
from shared.errors import DataError
from tests.client.data.test_bids import touch
from tests.client.data.test_layouts import write_list, write_nnunet

BOTH = ("FLAIR", "T2w")


def listed(folder: Path, *entries: Any, labels: str = "", **content: Any) -> Inventory:
    return take_inventory(write_list(folder, training=list(entries), **content), BOTH, None, LabelChoice(labels))


def entry(image: str, *labels: str, **more: str) -> dict[str, Any]:
    return {"image": f"{image}.nii.gz", "label": [f"{label}.nii.gz" for label in labels], **more}


# Decathlon


def test_a_label_in_a_list_of_one_is_that_label(tmp_path: Path) -> None:
    (case,) = listed(tmp_path, entry("P1_FLAIR", "a")).cases
    assert case.label == tmp_path / "a.nii.gz"


def test_several_labels_of_an_entry_are_a_problem_until_one_is_chosen(tmp_path: Path) -> None:
    entries = [entry(f"P{number}_FLAIR", f"P{number}_rater1", f"P{number}_rater2") for number in (1, 2)]
    found = listed(tmp_path, *entries)
    assert not found.cases and {remark.code for remark in found.remarks} == {"several-labels"}
    assert found.remarks[0].image == tmp_path / "P1_FLAIR.nii.gz"
    assert found.remarks[0].label == tmp_path / "P1_rater1.nii.gz"
    chosen = listed(tmp_path, *entries, labels="rater2").cases
    assert [case.label.name for case in chosen] == ["P1_rater2.nii.gz", "P2_rater2.nii.gz"]
    with pytest.raises(DataError, match=r"labels = rater3 means no label .*: choose from P1_rater1, P1_rater2"):
        listed(tmp_path, *entries, labels="rater3")


def test_raters_are_chosen_by_folder_and_one_who_left_no_label_is_named(tmp_path: Path) -> None:
    entries = [entry("P1_FLAIR", "anna/P1", "bert/P1"), entry("P2_FLAIR", "anna/P2")]
    found = listed(tmp_path, *entries, labels="bert")
    assert [case.label for case in found.cases] == [tmp_path / "bert/P1.nii.gz"]
    assert found.remarks[0].problem and "P2_FLAIR.nii.gz has no label of the kind" in found.remarks[0].text


def test_an_image_that_is_listed_twice_has_all_its_labels(tmp_path: Path) -> None:
    found = listed(tmp_path, entry("./P1_FLAIR", "a"), entry("P1_FLAIR", "b"))
    assert not found.cases and found.remarks[0].code == "several-labels"


def test_a_labelled_testing_list_is_read_like_the_others(tmp_path: Path) -> None:
    found = listed(tmp_path, entry("P1_FLAIR", "a"), testing=[entry("P2_FLAIR", "b"), "P3_FLAIR.nii.gz"])
    assert [case.subject for case in found.cases] == ["P1", "P2"]
    assert [(remark.subject, remark.problem) for remark in found.remarks] == [("P3", False)]


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".mgz", ".img", ".hdr"])
def test_other_formats_are_named(tmp_path: Path, suffix: str) -> None:
    image = {"image": f"P1_FLAIR{suffix}", "label": "a.nii.gz"}
    label = {"image": "P2_FLAIR.nii.gz", "label": f"b{suffix}"}
    found = listed(tmp_path, image, label)
    assert not found.cases and [remark.code for remark in found.remarks] == ["format", "format"]
    assert f"P1_FLAIR{suffix} is no NIfTI file: convert it" in found.remarks[0].text
    assert found.remarks[1].label == tmp_path / f"b{suffix}"


def test_who_shares_a_label_is_one_subject(tmp_path: Path) -> None:
    found = listed(tmp_path, entry("x_FLAIR", "labels/a"), entry("y_T2w", "./labels/a"), entry("z_T2w", "labels/c"))
    assert [case.subject for case in found.cases] == ["x", "x", "z"]
    assert "x, y, which share a label file" in found.doubts[0].text


def test_what_is_said_of_subjects_wins(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text("participant_id\n17\n18\n")
    entries = [entry("a/17_FLAIR", "a"), entry("b/17_T2w", "b"), entry("c/18_T2w", "c", subject="anna")]
    assert [case.subject for case in listed(tmp_path, *entries).cases] == ["17", "17", "anna"]


def test_a_folder_tells_the_contrast_that_neither_name_nor_modality_tells(tmp_path: Path) -> None:
    found = listed(tmp_path, entry("flair/P1", "a"), entry("T2w/P1", "b"), entry("T2/P2", "c"))
    assert [(case.subject, case.contrast) for case in found.cases] == [("P1", "FLAIR"), ("P1", "T2w")]
    assert found.remarks[0].code == "contrast-unknown", "T2 may be the second visit"


def test_a_wanted_subject_of_mslesseg_has_two_visits(tmp_path: Path) -> None:
    names = [f"train/P1/T{visit}/P1_T{visit}_{kind}" for visit in (1, 2) for kind in ("FLAIR", "T1", "T2")]
    found = listed(tmp_path, *(entry(name, f"{Path(name).parent}/MASK") for name in names))
    assert [case.image.name for case in found.cases] == [
        *("P1_T1_FLAIR.nii.gz", "P1_T2_FLAIR.nii.gz"),
        *("P1_T1_T2.nii.gz", "P1_T2_T2.nii.gz"),
    ]
    assert {case.subject for case in found.cases} == {"P1"}


# nnU-Net


def test_labelled_test_images_are_read_and_unlabelled_ones_named(tmp_path: Path) -> None:
    files = ["imagesTr/P1_0000.nii.gz", "labelsTr/P1.nii.gz", "imagesTs/P2_0000.nii.gz", "imagesTs/P3_0000.nii.gz"]
    assert len(take_inventory(write_nnunet(tmp_path, *files), BOTH).cases) == 1
    touch(tmp_path, "labelsTs/P2.nii.gz")
    found = take_inventory(tmp_path, BOTH)
    assert [case.label.parent.name for case in found.cases] == ["labelsTr", "labelsTs"]
    assert [(remark.subject, remark.problem) for remark in found.remarks] == [("P3", False)]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".png"])
def test_other_formats_of_nnunet_are_named(tmp_path: Path, suffix: str) -> None:
    files = [f"imagesTr/P1_0000{suffix}", f"labelsTr/P1{suffix}", "imagesTr/P2_0000.nii.gz", f"labelsTr/P2{suffix}"]
    found = take_inventory(write_nnunet(tmp_path, *files), BOTH)
    assert found.layout == "nnunet" and not found.cases
    assert [remark.code for remark in found.remarks] == ["format", "format"]
    assert found.remarks[1].label == tmp_path / f"labelsTr/P2{suffix}"


def test_an_image_without_a_channel_is_named(tmp_path: Path) -> None:
    files = ["imagesTr/P1_0000.nii.gz", "labelsTr/P1.nii.gz", "imagesTr/P2.nii.gz", "labelsTr/P2.nii.gz"]
    found = take_inventory(write_nnunet(tmp_path, *files), BOTH)
    assert [case.subject for case in found.cases] == ["P1"]
    assert "P2.nii.gz has no channel's number: name it P2_0000.nii.gz" in found.remarks[0].text


def test_one_label_for_each_case_leaves_nothing_to_choose(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path, "imagesTr/P1_0000.nii.gz", "labelsTr/P1.nii.gz")
    assert len(take_inventory(folder, BOTH, None, LabelChoice("labelsTr")).cases) == 1
    with pytest.raises(DataError, match=r"labels = anna means no label in .*: choose from labelsTr"):
        take_inventory(folder, BOTH, None, LabelChoice("anna"))


def test_participants_name_the_subjects_of_nnunet(tmp_path: Path) -> None:
    files = [f"imagesTr/X_{number}_0000.nii.gz" for number in (1, 2)] + [
        f"labelsTr/X_{number}.nii.gz" for number in (1, 2)
    ]
    folder = write_nnunet(tmp_path, *files)
    (folder / "participants.tsv").write_text("participant_id\nX\n")
    assert {case.subject for case in take_inventory(folder, BOTH).cases} == {"X"}


# All


def test_each_problem_has_a_word_that_may_leave(tmp_path: Path) -> None:
    broken = [
        entry("P1_FLAIR", "a", "b"),
        entry("P2", "c"),
        entry("P3_FLAIR"),
        {"image": "P4_T2w.mha", "label": "d.mha"},
    ]
    found = listed(tmp_path, *broken)
    codes = {remark.code for remark in found.remarks if remark.problem}
    assert codes == {"several-labels", "contrast-unknown", "missing", "format"} <= set(PUBLIC)
    assert all(remark.subject and remark.image for remark in found.remarks)

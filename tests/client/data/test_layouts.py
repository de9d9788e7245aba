"""One door to BIDS, Decathlon and nnU-Net: the same cases come out, however the files lie."""

import json
from pathlib import Path
from typing import Any

import pytest

from client.data import decathlon, nnunet
from client.data.inventory import Case
from client.data.layouts import Layout, detect, find_cases, take_inventory
from shared.errors import DataError
from tests.client.data.test_bids import touch

BOTH = ("FLAIR", "T2w")


def write_list(folder: Path, name: str = "datalist.json", **content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"training": []} | content))
    return folder / name


def pairs(*names: str) -> list[dict[str, str]]:
    return [{"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"} for name in names]


def write_nnunet(folder: Path, *names: str, **about: Any) -> Path:
    touch(folder, *names)
    (folder / "dataset.json").write_text(json.dumps(about or {"channel_names": {"0": "FLAIR"}}))
    return folder


# Which layout


def test_each_layout_is_known_from_its_folder(tmp_path: Path) -> None:
    touch(tmp_path / "bids", "sub-01/anat/sub-01_FLAIR.nii.gz")
    write_list(tmp_path / "decathlon", "dataset.json", training=pairs("a"))
    touch(tmp_path / "decathlon", "imagesTr/a.nii.gz", "labelsTr/a.nii.gz")
    write_nnunet(tmp_path / "nnunet", "imagesTr/MS_001_0000.nii.gz", "labelsTr/MS_001.nii.gz")
    for layout in Layout:
        assert detect(tmp_path / layout) is layout
    assert detect(write_list(tmp_path / "elsewhere", "center1.json")) is Layout.decathlon


def test_version_1_of_nnunet_is_not_taken_for_decathlon_which_it_resembles(tmp_path: Path) -> None:
    listed = [{"image": "./imagesTr/MS_001.nii.gz", "label": "./labelsTr/MS_001.nii.gz"}]
    write_nnunet(
        tmp_path, "imagesTr/MS_001_0000.nii.gz", "labelsTr/MS_001.nii.gz", modality={"0": "FLAIR"}, training=listed
    )
    (case,) = find_cases(tmp_path, BOTH)
    assert case.image.name == "MS_001_0000.nii.gz"


def test_a_list_that_points_into_bids_is_read_when_asked_for(tmp_path: Path) -> None:
    stem = "sub-01/ses-1/anat/sub-01_ses-1_FLAIR"
    label = f"derivatives/labels/{stem}_label-lesion_seg.nii.gz"
    touch(tmp_path, f"{stem}.nii.gz", label)
    write_list(tmp_path, training=[{"image": f"{stem}.nii.gz", "label": label}])
    expected = [Case("sub-01", "FLAIR", tmp_path / f"{stem}.nii.gz", tmp_path / label)]
    for layout in (None, Layout.bids, Layout.decathlon):
        assert find_cases(tmp_path, BOTH, layout) == expected


def test_a_folder_of_no_known_layout_says_what_each_looks_like(tmp_path: Path) -> None:
    touch(tmp_path, "image.nii.gz")
    with pytest.raises(DataError, match=r"no known way: give a folder with sub-\* folders \(BIDS\).*nnU-Net"):
        find_cases(tmp_path, BOTH)
    with pytest.raises(DataError, match="nowhere does not exist"):
        find_cases(tmp_path / "nowhere", BOTH)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_folder_of_another_layout_than_was_said_is_refused(tmp_path: Path, layout: Layout) -> None:
    touch(tmp_path, "image.nii.gz")
    with pytest.raises(DataError, match=r"has no .*: give"):
        find_cases(tmp_path, BOTH, layout)


# Decathlon


def test_all_lists_are_read_and_paths_start_at_the_file(tmp_path: Path) -> None:
    write_list(
        tmp_path,
        training=pairs("sub-02_FLAIR"),
        validation=pairs("sub-01_T2w"),
        test=[*pairs("sub-03_FLAIR"), "images/sub-04_FLAIR.nii.gz"],
    )
    inventory = take_inventory(tmp_path, BOTH)
    assert [(case.subject, case.contrast) for case in inventory.cases] == [
        ("sub-01", "T2w"),
        ("sub-02", "FLAIR"),
        ("sub-03", "FLAIR"),
    ]
    assert inventory.cases[1].label == tmp_path / "labels/sub-02_FLAIR.nii.gz"
    (remark,) = inventory.remarks
    assert remark.subject == "sub-04" and not remark.problem, "test images come without labels"


@pytest.mark.parametrize("modality", ["FLAIR", {"0": "FLAIR"}, {"0": "T2-FLAIR"}])
def test_the_modality_tells_what_the_name_does_not(tmp_path: Path, modality: object) -> None:
    write_list(tmp_path, training=pairs("MS_1", "MS_2_T2w"), modality=modality)
    assert [(case.subject, case.contrast) for case in find_cases(tmp_path, BOTH)] == [
        ("MS_1", "FLAIR"),
        ("MS_2", "T2w"),
    ]


@pytest.mark.parametrize("modality", [None, "MRI", {"0": "FLAIR", "1": "T1w"}])
def test_an_unknown_contrast_is_a_problem_and_not_a_guess(tmp_path: Path, modality: object) -> None:
    write_list(tmp_path, training=pairs("MS_1"), modality=modality)
    inventory = take_inventory(tmp_path, BOTH)
    assert not inventory.cases
    (remark,) = inventory.remarks
    assert remark.problem and "put FLAIR or T2w into its name or into 'modality'" in remark.text
    with pytest.raises(DataError, match="1 subjects but no FLAIR or T2w image"):
        inventory.usable()


def test_several_images_of_an_entry_are_its_channels(tmp_path: Path) -> None:
    entry = {"image": ["a_0.nii.gz", "a_1.nii.gz", "a_2.nii.gz"], "label": "label.nii.gz", "subject": "anna"}
    write_list(tmp_path, training=[entry], modality={"0": "T1w", "1": "FLAIR", "2": "T2"})
    cases = find_cases(tmp_path, BOTH)
    assert [(case.subject, case.contrast, case.image.name) for case in cases] == [
        ("anna", "FLAIR", "a_1.nii.gz"),
        ("anna", "T2w", "a_2.nii.gz"),
    ]


def test_bad_entries_are_named_and_the_others_stay(tmp_path: Path) -> None:
    broken = [7, {}, {"image": []}, {"image": "c_FLAIR.nii.gz"}, {"image": "d_FLAIR.nii.gz", "label": {"x": 1}}]
    write_list(tmp_path, training=[*broken, *pairs("ok_FLAIR"), *pairs("ok_FLAIR"), *pairs("other_T1w")])
    inventory = take_inventory(tmp_path, BOTH)
    assert [case.subject for case in inventory.cases] == ["ok"], "an image that is listed twice is one case"
    assert [remark.subject for remark in inventory.remarks if remark.problem] == [
        *("training-1", "training-2", "training-3"),
        *("c", "d"),
    ]


def test_several_lists_must_be_chosen_from(tmp_path: Path) -> None:
    write_list(tmp_path, "center1.json", training=pairs("a_FLAIR"))
    assert decathlon.find_list(tmp_path) == tmp_path / "center1.json"
    write_list(tmp_path, "center2.json")
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(DataError, match=r"several Decathlon lists \(center1.json, center2.json\): give the file"):
        find_cases(tmp_path, BOTH)
    assert len(find_cases(tmp_path / "center1.json", BOTH)) == 1


@pytest.mark.parametrize(("content", "said"), [("{", "cannot be read as JSON"), ("[]", "no list under 'training'")])
def test_a_damaged_list_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "datalist.json"
    path.write_text(content)
    with pytest.raises(DataError, match=f"datalist.json.*{said}"):
        find_cases(path, BOTH)


# nnU-Net


def test_each_wanted_channel_is_a_case_of_its_subject(tmp_path: Path) -> None:
    channels = [f"imagesTr/MS_1_tp{time}_000{channel}.nii.gz" for time in (1, 2) for channel in range(3)]
    labels = [f"labelsTr/MS_1_tp{time}.nii.gz" for time in (1, 2)]
    write_nnunet(tmp_path, *channels, *labels, channel_names={"0": "FLAIR", "1": "T1w", "2": "T2"})
    inventory = take_inventory(tmp_path, BOTH)
    assert [(case.subject, case.contrast, case.label.name) for case in inventory.cases] == [
        ("MS_1", contrast, f"MS_1_tp{time}.nii.gz") for contrast in BOTH for time in (1, 2)
    ]
    assert not any(remark.problem for remark in inventory.remarks)
    assert {case.contrast for case in find_cases(tmp_path, ("T2w",))} == {"T2w"}


def test_a_case_without_label_or_of_an_unnamed_channel_is_a_problem(tmp_path: Path) -> None:
    names = ["imagesTr/A_0000.nii.gz", "imagesTr/B_0000.nii.gz", "imagesTr/A_0001.nii.gz", "labelsTr/A.nii.gz"]
    inventory = take_inventory(write_nnunet(tmp_path, *names), BOTH)
    assert [case.subject for case in inventory.cases] == ["A"]
    said = " ".join(remark.text for remark in inventory.remarks if remark.problem)
    assert "B_0000.nii.gz has no label labelsTr/B.nii.gz" in said
    assert "channel 0001 of A_0001.nii.gz is not among the channels" in said


@pytest.mark.parametrize("about", [{"labels": {}}, {"channel_names": []}, {"channel_names": {"x": "FLAIR"}}])
def test_channels_must_have_names(tmp_path: Path, about: dict[str, Any]) -> None:
    write_nnunet(tmp_path, "imagesTr/A_0000.nii.gz", "labelsTr/A.nii.gz", **about)
    with pytest.raises(DataError, match=r"names no channels: add"):
        nnunet.take_inventory(tmp_path, BOTH)


# BIDS, what the door adds


def test_what_bids_passes_over_is_said(tmp_path: Path) -> None:
    labels = "derivatives/labels"
    for subject in ("sub-1", "sub-2", "sub-3"):
        touch(tmp_path, f"{subject}/anat/{subject}_FLAIR.nii.gz")
    for pipeline in ("labels", "second"):
        touch(tmp_path, f"derivatives/{pipeline}/sub-1/anat/sub-1_FLAIR_lesion-manual.nii.gz")
    (tmp_path / labels / "sub-2/anat").mkdir(parents=True)
    (tmp_path / labels / "sub-2/anat/sub-2_desc-lesion_mask.nii.gz").symlink_to("nowhere")
    touch(tmp_path, "sub-4/anat/sub-4_T2w.nii.gz", "sub-5/dwi/sub-5_dwi.nii.gz")
    (tmp_path / "sub-6").symlink_to("sub-6")
    inventory = take_inventory(tmp_path, ("FLAIR",))
    assert [case.subject for case in inventory.cases] == ["sub-2"], "a link that leads nowhere is a label"
    assert {remark.subject: remark.problem for remark in inventory.remarks} == {
        "sub-1": True,  # two labels
        "sub-3": True,  # none
        "sub-4": False,  # imaged otherwise
        "sub-5": True,  # no image at all
        "sub-6": True,  # a link to itself
    }

"""Which label is an image's, by the parts of their names; and which of several the hospital chooses."""

from pathlib import Path

import pytest

from client.data.bids import take_inventory
from client.data.inventory import Inventory, LabelChoice
from shared.errors import DataError
from tests.client.data.test_bids import touch

BOTH = ("FLAIR", "T2w")
IMAGE = "sub-01/anat/sub-01_FLAIR.nii.gz"
LABELS = "derivatives/labels/sub-01/anat"
AUTO = "derivatives/auto/sub-01/anat"


def inventory(folder: Path, *names: str, labels: str = "") -> Inventory:
    touch(folder, *names)
    return take_inventory(folder, BOTH, LabelChoice(labels, 2.0))


def taken(found: Inventory) -> dict[str, str]:
    """The label's name by the image's."""
    return {case.image.name: case.label.name for case in found.cases}


@pytest.mark.parametrize(
    "label",
    [
        "sub-01_FLAIR_label-lesion_seg",
        "sub-01_space-orig_label-lesion_mask",
        "sub-01_space-orig_desc-manual_label-lesion_mask",
        "sub-01_desc-manual_space-native_FLAIR_label-lesion_mask",
        "sub-01_space-FLAIR_label-lesion_mask",
        "sub-01_label-L_mask",
        "sub-01_label-WMH_mask",
        "sub-01_label-lesion_dseg",
        "sub-01_label-lesion_probseg",
        "sub-01_FLAIR_LABEL-lesion_MASK",
        "sub-01_lesion-manual",
        "sub-01_desc-lesion_mask",
        "sub-01_desc-lesions_mask",
        "sub-01_T2FLAIR_desc-MSlesions_mask",
        "sub-01_space-flair_seg-lst",
        "space-flair_seg-lst",
        "sub-01_lesion",
        "sub-01_FLAIR_lesion_mask",
        "sub-01_acq-manual_label-lesion_mask",
        "sub-01_rater-1_label-lesion_mask",
    ],
)
def test_every_standard_name_is_a_label(tmp_path: Path, label: str) -> None:
    found = inventory(tmp_path, IMAGE, f"{LABELS}/{label}.nii.gz")
    assert taken(found) == {"sub-01_FLAIR.nii.gz": f"{label}.nii.gz"} and not found.remarks
    assert found.cases[0].lesion_value == 2


@pytest.mark.parametrize(
    "image",
    [
        "sub-01_T2FLAIR",
        "sub-01_flair",
        "sub-01_acq-3d_FLAIR",
        "sub-01_acq-flair_T2w",
        "sub-01_ce-gd_rec-norm_run-1_FLAIR",
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".NII.GZ"])
def test_every_standard_name_is_an_image(tmp_path: Path, image: str, suffix: str) -> None:
    found = inventory(tmp_path, f"sub-01/anat/{image}{suffix}", f"{LABELS}/sub-01_label-lesion_mask.nii.gz")
    assert [(case.contrast, case.image.name) for case in found.cases] == [("FLAIR", f"{image}{suffix}")]


@pytest.mark.parametrize(
    "label",
    [
        "sub-01/anat/sub-01_label-lesion_mask.nii.gz",
        "derivatives/sub-01/anat/sub-01_label-lesion_mask.nii.gz",
        "derivatives/labels/sub-01/sub-01_label-lesion_mask.nii.gz",
        "derivatives/labels/sub-01_label-lesion_mask.nii.gz",
    ],
)
def test_a_label_is_found_wherever_sites_put_it(tmp_path: Path, label: str) -> None:
    assert len(inventory(tmp_path, IMAGE, label).cases) == 1


def test_what_image_and_label_both_name_must_agree(tmp_path: Path) -> None:
    anat, labels = "sub-01/ses-1/anat/sub-01_ses-1", "derivatives/labels/sub-01/ses-1/anat/sub-01_ses-1"
    pairs = {"run-1": "run-01", "run-2": "run-02", "acq-2d_run-1": "acq-2d_run-01"}
    files = [f"{anat}_{part}_FLAIR.nii.gz" for part in pairs]
    files += [f"{labels}_{part}_label-lesion_mask.nii.gz" for part in pairs.values()]
    assert taken(inventory(tmp_path, *files)) == {
        f"sub-01_ses-1_{image}_FLAIR.nii.gz": f"sub-01_ses-1_{label}_label-lesion_mask.nii.gz"
        for image, label in pairs.items()
    }


def test_a_label_of_another_run_or_session_is_not_taken(tmp_path: Path) -> None:
    found = inventory(
        tmp_path,
        *(IMAGE, "sub-01/anat/sub-01_run-2_FLAIR.nii.gz", f"{LABELS}/sub-01_run-2_label-lesion_mask.nii.gz"),
        *("sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz", "sub-02/ses-2/anat/sub-02_ses-2_FLAIR.nii.gz"),
        "derivatives/labels/sub-02/anat/sub-02_label-lesion_mask.nii.gz",
    )
    assert taken(found) == {"sub-01_run-2_FLAIR.nii.gz": "sub-01_run-2_label-lesion_mask.nii.gz"}
    assert ["names no session" in remark.text for remark in found.remarks] == [False, True, True]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sub-01_space-MNI152_label-lesion_mask.nii.gz", "lies in space-mni152"),
        ("sub-02_label-lesion_mask.nii.gz", "names sub-02"),
        ("sub-01_ses-2_label-lesion_mask.nii.gz", "names ses-2"),
        ("sub-01_T1w_label-lesion_mask.nii.gz", "is of another contrast (t1w)"),
        ("sub-01_mask.nii.gz", "is not understood as a lesion label"),
        ("sub-01_desc-manual_mask.nii.gz", "is not understood as a lesion label"),
        ("sub-01_label-lesion_mask.mha", "is no NIfTI (.mha)"),
        ("sub-01_label-lesion_mask.mgz", "is no NIfTI (.mgz)"),
        ("sub-01_FLAIR_label-lesion_seg.nrrd", "is no NIfTI (.nrrd)"),
        ("sub-01_label-lesion_mask.hdr", "is no NIfTI (.hdr)"),
    ],
)
def test_a_near_miss_is_named_with_its_path_and_the_reason(tmp_path: Path, name: str, why: str) -> None:
    (remark,) = inventory(tmp_path, IMAGE, f"{LABELS}/{name}").remarks
    assert remark.problem and remark.code == "missing"
    assert (remark.subject, remark.image, remark.label) == ("sub-01", tmp_path / IMAGE, tmp_path / LABELS / name)
    assert f"{LABELS}/{name} {why}" in remark.text


@pytest.mark.parametrize(
    "name", ["sub-01_label-brain_mask", "sub-01_desc-brain_mask", "sub-01_label-GM_probseg", "sub-01_T1w"]
)
def test_what_is_no_lesion_label_is_no_near_miss(tmp_path: Path, name: str) -> None:
    (remark,) = inventory(tmp_path, IMAGE, f"{LABELS}/{name}.nii.gz").remarks
    assert remark.label is None and "has no lesion label: add one" in remark.text


def test_images_in_other_formats_are_named(tmp_path: Path) -> None:
    found = inventory(
        tmp_path, "sub-01/anat/sub-01_FLAIR.mha", "sub-02/anat/sub-02_T2w.img", "sub-02/anat/sub-02_T2w.hdr"
    )
    assert [(remark.subject, remark.code, remark.problem) for remark in found.remarks] == [
        ("sub-01", "format", True),
        ("sub-02", "format", True),
    ]
    assert "convert it to .nii.gz" in found.remarks[0].text
    with pytest.raises(DataError, match=r"of sub-01, sub-01_FLAIR.mha is no NIfTI image"):
        found.usable()


SEVERAL = [
    ((f"{LABELS}/sub-01_label-lesion_mask", f"{AUTO}/sub-01_label-lesion_mask"), "auto or labels"),
    ((f"{AUTO}/sub-01_FLAIR_label-lesion_seg", f"{LABELS}/sub-01_lesion-manual"), "auto or labels"),
    (
        (f"{LABELS}/sub-01_label-lesion_mask", f"{LABELS}/sub-01_label-lesion_dseg"),
        "label-lesion_dseg or label-lesion_mask",
    ),
    (
        (f"{LABELS}/sub-01_rater-1_label-lesion_mask", f"{LABELS}/sub-01_rater-2_label-lesion_mask"),
        "rater-1_label-lesion_mask or rater-2_label-lesion_mask",
    ),
    (("sub-01/anat/sub-01_lesion", f"{AUTO}/sub-01_lesion"), "raw or auto"),
]


@pytest.mark.parametrize(("labels", "said"), SEVERAL)
def test_several_labels_are_a_problem_until_one_is_chosen(tmp_path: Path, labels: tuple[str, ...], said: str) -> None:
    found = inventory(tmp_path, IMAGE, *(f"{label}.nii.gz" for label in labels))
    (remark,) = found.remarks
    assert not found.cases and remark.problem and remark.code == "several-labels"
    assert all(f"{label}.nii.gz" in remark.text for label in labels)
    assert "--labels NAME, or labels = NAME in hospital.toml" in remark.text and said in remark.text
    assert remark.image == tmp_path / IMAGE and remark.label is not None


@pytest.mark.parametrize(
    ("choice", "taken_label"),
    [
        ("auto", f"{AUTO}/sub-01_rater-2_label-lesion_mask.nii.gz"),
        ("AUTO", f"{AUTO}/sub-01_rater-2_label-lesion_mask.nii.gz"),
        ("rater-1", f"{LABELS}/sub-01_rater-1_label-lesion_mask.nii.gz"),
        ("labels/rater-3", f"{LABELS}/sub-01_rater-3_label-lesion_mask.nii.gz"),
        ("lesion-manual", f"{LABELS}/sub-01_lesion-manual.nii.gz"),
        ("manual", f"{LABELS}/sub-01_lesion-manual.nii.gz"),
        ("desc-ours_mask", f"{LABELS}/sub-01_desc-ours_mask.nii.gz"),
    ],
)
def test_a_pipeline_a_rater_or_an_ending_is_chosen(tmp_path: Path, choice: str, taken_label: str) -> None:
    labels = [f"{LABELS}/sub-01_rater-{rater}_label-lesion_mask.nii.gz" for rater in (1, 3)]
    labels += [f"{LABELS}/sub-01_lesion-manual.nii.gz", f"{LABELS}/sub-01_desc-ours_mask.nii.gz"]
    found = inventory(tmp_path, IMAGE, *labels, f"{AUTO}/sub-01_rater-2_label-lesion_mask.nii.gz", labels=choice)
    assert [case.label for case in found.cases] == [tmp_path / taken_label]


def test_a_choice_that_means_nothing_lists_what_there_is(tmp_path: Path) -> None:
    files = (IMAGE, f"{LABELS}/sub-01_lesion-manual.nii.gz", f"{AUTO}/sub-01_label-lesion_mask.nii.gz")
    with pytest.raises(
        DataError, match=r"labels = hand means no label in .*: choose from auto/label-lesion_mask, labels/les"
    ):
        inventory(tmp_path, *files, labels="hand")


def test_an_image_without_the_chosen_label_takes_no_other(tmp_path: Path) -> None:
    second = "derivatives/auto/sub-02/anat/sub-02_label-lesion_mask.nii.gz"
    files = (IMAGE, "sub-02/anat/sub-02_FLAIR.nii.gz", f"{LABELS}/sub-01_lesion-manual.nii.gz", second)
    found = inventory(tmp_path, *files, labels="labels")
    assert [case.subject for case in found.cases] == ["sub-01"]
    (remark,) = found.remarks
    assert (
        remark.problem and remark.label == tmp_path / second and "no lesion label of the kind 'labels'" in remark.text
    )


def test_raters_are_never_mixed_in_silence(tmp_path: Path) -> None:
    files = [f"sub-0{number}/anat/sub-0{number}_FLAIR.nii.gz" for number in (1, 2, 3)]
    files += [
        f"derivatives/labels/sub-0{number}/anat/sub-0{number}_rater-{rater}_label-lesion_mask.nii.gz"
        for number, rater in ((1, 1), (2, 1), (3, 2))
    ]
    found = inventory(tmp_path, *files)
    assert len(found.cases) == 3
    (remark,) = found.remarks
    assert (remark.subject, remark.code, remark.problem) == ("sub-03", "mixed-labels", False)
    assert "most labels are labels/rater-1_label-lesion_mask" in remark.text


def test_a_file_that_names_another_subject_and_folders_named_alike_are_doubted(tmp_path: Path) -> None:
    found = inventory(tmp_path, IMAGE, "sub-1/anat/sub-1_FLAIR.nii.gz", "sub-03/anat/sub-04_FLAIR.nii.gz")
    assert {doubt.subject for doubt in found.doubts} == {"sub-01", "sub-1", "sub-03"}
    assert "holds sub-04_FLAIR.nii.gz, which names sub-04" in found.doubts[-1].text

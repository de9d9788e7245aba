"""Finding images and labels: every naming that sites use, and errors that say what is missing."""

from pathlib import Path

import pytest

from client.data.bids import LABEL_NAMES, find_cases
from shared.errors import DataError

BOTH = ("FLAIR", "T2w")


def touch(folder: Path, *names: str) -> None:
    """Finding looks at names alone, so that empty files will do."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("ending", LABEL_NAMES)
@pytest.mark.parametrize("stem", ["sub-01_FLAIR", "sub-01"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_label_is_found_by_every_known_name(tmp_path: Path, ending: str, stem: str, suffix: str) -> None:
    label = f"derivatives/labels/sub-01/anat/{stem}_{ending}{suffix}"
    touch(tmp_path, "sub-01/anat/sub-01_FLAIR.nii.gz", label)
    (case,) = find_cases(tmp_path, ("FLAIR",))
    assert (case.subject, case.contrast) == ("sub-01", "FLAIR")
    assert case.image == tmp_path / "sub-01/anat/sub-01_FLAIR.nii.gz"
    assert case.label == tmp_path / label


def test_an_uncompressed_image_goes_with_a_compressed_label(tmp_path: Path) -> None:
    label = "derivatives/manual/sub-01/anat/sub-01_FLAIR_lesion-manual.nii.gz"
    touch(tmp_path, "sub-01/anat/sub-01_FLAIR.nii", label)
    (case,) = find_cases(tmp_path, BOTH)
    assert (case.image.name, case.label) == ("sub-01_FLAIR.nii", tmp_path / label)


def test_each_session_has_its_own_label(tmp_path: Path) -> None:
    for session in ("ses-2", "ses-1"):
        stem = f"sub-01/{session}/anat/sub-01_{session}"
        touch(tmp_path, f"{stem}_T2w.nii.gz", f"derivatives/labels/{stem}_label-lesion_mask.nii.gz")
    cases = find_cases(tmp_path, BOTH)
    assert [case.image.name for case in cases] == ["sub-01_ses-1_T2w.nii.gz", "sub-01_ses-2_T2w.nii.gz"]
    assert [case.label.parts[-3] for case in cases] == ["ses-1", "ses-2"]
    assert {case.subject for case in cases} == {"sub-01"}


def test_a_label_of_one_session_does_not_serve_another(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz",
        "derivatives/labels/sub-01/ses-2/anat/sub-01_ses-2_FLAIR_lesion-manual.nii.gz",
    )
    assert [case.image.parts[-3] for case in find_cases(tmp_path, BOTH)] == ["ses-2"]


def test_one_label_without_contrast_serves_all_contrasts(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "derivatives/labels/sub-01/anat/sub-01_desc-lesion_mask.nii.gz",
    )
    cases = find_cases(tmp_path, BOTH)
    assert [case.contrast for case in cases] == ["FLAIR", "T2w"]
    assert len({case.label for case in cases}) == 1


def test_a_label_with_the_contrast_is_preferred(tmp_path: Path) -> None:
    labels = "derivatives/labels/sub-01/anat/sub-01"
    touch(
        tmp_path,
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        f"{labels}_label-lesion_seg.nii.gz",
        f"{labels}_FLAIR_desc-lesion_mask.nii.gz",
    )
    (case,) = find_cases(tmp_path, BOTH)
    assert case.label.name == "sub-01_FLAIR_desc-lesion_mask.nii.gz"


def test_only_the_wanted_contrasts_are_taken(tmp_path: Path) -> None:
    for contrast in ("FLAIR", "T2w", "T1w"):
        stem = f"sub-01/anat/sub-01_{contrast}"
        touch(tmp_path, f"{stem}.nii.gz", f"derivatives/labels/{stem}_lesion-manual.nii.gz")
    assert [case.contrast for case in find_cases(tmp_path, ("T2w",))] == ["T2w"]


def test_subjects_come_in_order_and_those_without_label_not_at_all(tmp_path: Path) -> None:
    for subject in ("sub-10", "sub-02", "sub-01"):
        stem = f"{subject}/anat/{subject}_FLAIR"
        touch(tmp_path, f"{stem}.nii.gz", f"derivatives/labels/{stem}_label-lesion_seg.nii.gz")
    touch(tmp_path, "sub-05/anat/sub-05_FLAIR.nii.gz", "sub-06", "sourcedata/sub-07/anat/sub-07_FLAIR.nii.gz")
    cases = find_cases(tmp_path, BOTH)
    assert [case.subject for case in cases] == ["sub-01", "sub-02", "sub-10"]
    assert cases == sorted(cases)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist: give the folder of a BIDS data set"):
        find_cases(tmp_path / "nowhere", BOTH)


def test_a_folder_without_subjects_is_no_data_set(tmp_path: Path) -> None:
    touch(tmp_path, "readme.txt", "sub-01.nii.gz")
    with pytest.raises(DataError, match=r"has no sub-\* folder"):
        find_cases(tmp_path, BOTH)


def test_images_without_any_label_say_how_labels_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_FLAIR.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz")
    with pytest.raises(DataError, match=r"2 subjects but no FLAIR or T2w image") as error:
        find_cases(tmp_path, BOTH)
    assert all(name in str(error.value) for name in LABEL_NAMES)


def test_both_naming_schemes_of_the_real_hospitals(real_hospitals: Path) -> None:
    ljubljana = find_cases(real_hospitals / "ljubljana", BOTH)
    tabriz = find_cases(real_hospitals / "tabriz", BOTH)
    assert [case.contrast for case in ljubljana] == ["FLAIR", "T2w"] * 2
    assert {case.contrast for case in tabriz} == {"FLAIR"} and len({case.subject for case in tabriz}) == 3
    assert all(case.label.name.endswith("_label-lesion_seg.nii.gz") for case in ljubljana)
    assert all(case.label.name.endswith("_lesion-manual.nii.gz") for case in tabriz)

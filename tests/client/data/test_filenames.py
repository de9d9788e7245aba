"""What a file's name tells of contrast and subject, in the ways that sites name their files."""

from pathlib import Path, PurePath

import pytest

from client.data.filenames import contrast_of, images_in
from client.data.subjects import subjects_of
from shared.text import counted


@pytest.mark.parametrize(
    ("text", "contrast"),
    [
        ("sub-01_FLAIR", "FLAIR"),
        ("patient3_t2_flair_brain", "FLAIR"),
        ("3DFLAIR", "FLAIR"),
        ("sub-01_T2w", "T2w"),
        ("P01-T2-TSE", "T2w"),
        ("T2", "T2w"),
        ("T1w", "other"),
        ("t1gd", "other"),
        ("T2star", "other"),
        ("pd", "other"),
        ("MRI", None),
        ("part2", None),
        ("at2000", None),
    ],
)
def test_the_contrast_is_told_by_a_word_of_its_own(text: str, contrast: str | None) -> None:
    assert contrast_of(text) == contrast


@pytest.mark.parametrize(
    ("names", "subjects"),
    [
        (["sub-01/anat/sub-01_FLAIR.nii.gz", "sub-01_ses-2_FLAIR.nii"], ["sub-01", "sub-01"]),
        (["imagesTr/patient3_ses2_FLAIR.nii.gz", "imagesTr/patient3_ses1_T2w.nii.gz"], ["patient3", "patient3"]),
        (["MS_001.nii.gz", "MS_002.nii.gz"], ["MS_001", "MS_002"]),
        (["MS_001_20150301.nii.gz", "MS_001_2016-04-01.nii.gz"], ["MS_001", "MS_001"]),
        (["P1/FLAIR.nii.gz", "P2/FLAIR.nii.gz", "P2/T2w.nii.gz"], ["P1", "P2", "P2"]),
        (["data/P1/tp1/brain.nii.gz", "data/P1/tp2/brain.nii.gz", "data/P2/tp1/brain.nii.gz"], ["P1", "P1", "P2"]),
        (["P1_ses1/image.nii.gz", "P1_ses2/image.nii.gz"], ["P1", "P1"]),
        (["sesame_01.nii.gz", "runner_02.nii.gz"], ["sesame_01", "runner_02"]),
        (["FLAIR.nii.gz"], ["FLAIR"]),
        ([], []),
    ],
    ids=str,
)
def test_a_subject_is_who_it_is_and_not_when_or_how(names: list[str], subjects: list[str]) -> None:
    assert subjects_of([PurePath(name) for name in names]) == subjects


def test_a_compressed_image_goes_before_a_plain_one_and_links_count(tmp_path: Path) -> None:
    for name in ("b.nii", "b.nii.gz", "a.nii", ".hidden.nii", "c.json"):
        (tmp_path / name).touch()
    (tmp_path / "d.nii.gz").symlink_to("d.nii.gz")
    assert images_in(tmp_path) == ["a.nii", "b.nii.gz", "d.nii.gz"]
    assert images_in(tmp_path / "nowhere") == []


def test_one_is_not_several() -> None:
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]

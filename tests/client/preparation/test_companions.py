"""Which label belongs to which image, as hospitals name and place them."""

from pathlib import Path, PurePath

import pytest

from client.preparation.companions import companions_of, is_label, name_companions, name_images, visit_of

NAMINGS = {
    "beside, with a word behind": ["P01_FLAIR.nii.gz", "P02_FLAIR.nii.gz", "P01_FLAIR_lesion.nii.gz"],
    "beside, the contrast left out": ["P01_FLAIR.nii.gz", "P02_FLAIR.nii.gz", "P01_mask.nii.gz"],
    "a folder a patient": ["P01/flair.nii.gz", "P02/flair.nii.gz", "P01/lesions.nii.gz"],
    "a folder of labels": ["images/P01.nii.gz", "images/P02.nii.gz", "labels/P01.nii.gz"],
    "a folder of labels, with a word": ["images/A flair.nii.gz", "images/B flair.nii.gz", "gt/A flair seg.nii.gz"],
    "visits": [f"P01_ses{n}_FLAIR{word}.nii.gz" for word in ("", "_seg") for n in (1, 2)],
    "contrasts": ["P01_FLAIR.nii.gz", "P02_FLAIR.nii.gz", "P01_FLAIR_roi.nii.gz", "P01_T2w_roi.nii.gz"],
}


@pytest.mark.parametrize("names", NAMINGS.values(), ids=NAMINGS)
def test_an_image_gets_its_own_label(names: list[str]) -> None:
    root = Path("data")
    images = first, second = name_images([root / name for name in names[:2]], root)
    labels = name_companions([root / name for name in names[2:]], root, images)
    assert companions_of(first, labels) == [root / names[2]]
    assert companions_of(second, labels) == ([root / names[3]] if len(names) > 3 and "ses2" in names[3] else [])


def test_one_label_serves_both_contrasts_where_it_names_none() -> None:
    root = Path("data")
    images = name_images([root / "P01" / "flair.nii.gz", root / "P01" / "t2.nii.gz", root / "P02" / "t2.nii.gz"], root)
    labels = name_companions([root / name / "consensus.nii.gz" for name in ("P01", "P02")], root, images)
    assert [companions_of(image, labels) for image in images] == [[one.path] for one in (labels[0], *labels)]


def test_two_raters_are_left_to_a_person() -> None:
    root = Path("data")
    (image,) = images = name_images([root / "P01_FLAIR.nii.gz"], root)
    labels = name_companions([root / f"P01_FLAIR_rater{n}.nii.gz" for n in (1, 2)], root, images)
    assert companions_of(image, labels) == [one.path for one in labels]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("P01_ses1_FLAIR.nii.gz", "ses1"),
        ("P01_m12_FLAIR.nii.gz", "m12"),
        ("P01_V2_T2.nii.gz", "v2"),
        ("P01/baseline/flair.nii.gz", "baseline"),
        ("P01/2021-03-04/flair.nii.gz", "2021-03-04"),
        ("P01/20210304/flair.nii.gz", "20210304"),
        ("P01_FLAIR.nii.gz", ""),
        ("M_FLAIR.nii.gz", ""),
    ],
)
def test_a_visit_is_read_from_names(path: str, expected: str) -> None:
    assert visit_of(PurePath(path)) == expected


def test_images_are_not_called_labels() -> None:
    assert not any(is_label(PurePath(name)) for name in ("P01_FLAIR.nii", "MSSEG_01_T2.nii.gz", "Manuela_flair.nii"))

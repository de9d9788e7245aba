"""What a file's name tells of format and contrast, in the ways that sites name their files."""

from pathlib import Path

import pytest

from client.data.filenames import contrast_of, images_in, is_nifti, other_format, others_in, stem
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
        ("P01-FLAIR", "FLAIR"),
        ("P01 FLAIR", "FLAIR"),
        ("P01_T2FLAIR", "FLAIR"),
        ("P01_3DFLAIR", "FLAIR"),
        ("FLAIR2D_P01", "FLAIR"),
        ("P01.t2_space_dark-fluid_sag", "FLAIR"),
        ("t2_tirm_tra_dark-fluid_3mm", "FLAIR"),
        ("SAG_3D_T2_FLAIR_CUBE.nii.gz", "FLAIR"),
        ("1_FLAIR_isovox", "FLAIR"),
        ("flair_time01_on_middle_space", "FLAIR"),
        ("training01_01_flair_pp", "FLAIR"),
        ("P1_T1_FLAIR", "FLAIR"),
        ("P1_T2_FLAIR", "FLAIR"),
        ("P1_T2_T1", "other"),
        ("P1_T1_T2", "T2w"),
        ("P1_T1_T1", "other"),
        ("P01T2w", "T2w"),
        ("t2w_tse_tra_P01", "T2w"),
        ("P01_PD_T2", "T2w"),
        ("P01_t2_tirm", None),
        ("P01_T2_star", "other"),
        ("P01_T2_map", "other"),
        ("T2*", "other"),
        ("T2-STIR", "other"),
        ("T1-FLAIR", "other"),
        ("P01_T1flair", "other"),
        ("P01_MPRAGE", "other"),
        ("P01_MP2RAGE", "other"),
        ("P01_T1w_to_FLAIR", "other"),
        ("P01_T2w_reg2_FLAIR", "T2w"),
        ("sub-01_space-FLAIR_T1w", "other"),
        ("sub-01_space-T1w_FLAIR", "FLAIR"),
        ("T2_SPACE_FLAIR", "FLAIR"),
        ("P01_T2w_DIR-AP", "T2w"),
        ("P01_DIR", "other"),
    ],
)
def test_the_contrast_is_told_by_a_word_of_its_own(text: str, contrast: str | None) -> None:
    assert contrast_of(text) == contrast


def test_a_compressed_image_goes_before_a_plain_one_and_links_count(tmp_path: Path) -> None:
    for name in ("b.nii", "b.nii.gz", "a.nii", ".hidden.nii", "c.json"):
        (tmp_path / name).touch()
    (tmp_path / "d.nii.gz").symlink_to("d.nii.gz")
    assert images_in(tmp_path) == ["a.nii", "b.nii.gz", "d.nii.gz"]
    assert images_in(tmp_path / "nowhere") == []


def test_suffixes_count_in_whichever_case(tmp_path: Path) -> None:
    for name in ("a.NII.GZ", "b.Nii", "b.nii.GZ"):
        (tmp_path / name).touch()
    assert images_in(tmp_path) == ["a.NII.GZ", "b.nii.GZ"]
    assert [stem(name) for name in ("a.NII.GZ", "b.Nii", "c.nii.gz", "d.1.nii", "e")] == ["a", "b", "c", "d.1", "e"]
    assert is_nifti("a.NII.GZ") and not is_nifti("a.mha")


def test_other_formats_are_named_and_a_pair_once(tmp_path: Path) -> None:
    for name in ("a.hdr", "a.img", "b.MHA", "c.nii.gz", "d.nii", "e.json", "f.nrrd", "g.nii.bz2"):
        (tmp_path / name).touch()
    assert others_in(tmp_path) == ["a.hdr", "b.MHA", "f.nrrd", "g.nii.bz2"]
    assert (other_format("x.MGZ"), other_format("x.nii")) == (".mgz", "")


def test_one_is_not_several() -> None:
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]

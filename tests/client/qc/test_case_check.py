"""Checking one case: all that is wrong is said at once, and what is right is measured."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import client.data.rules
import client.qc.case_check
from client.data.inventory import Case
from client.data.preprocessing import prepare
from client.qc.case_check import check_case
from shared.errors import DataError
from tests.support.datasets import grid, patient, write_case

SHAPE, AFFINE = grid((2.0, 2.0, 2.0))
IMAGE, LABEL = patient(SHAPE, AFFINE)


def test_a_good_case_is_measured(tmp_path: Path) -> None:
    checked = check_case(write_case(tmp_path, IMAGE, LABEL, AFFINE))
    assert checked.ok and not checked.findings and checked.view is not None
    assert checked.measured is not None
    assert (checked.measured.shape, checked.measured.spacing, checked.measured.orientation) == (
        SHAPE,
        (2, 2, 2),
        "RAS",
    )
    assert checked.measured.intensity == (0, pytest.approx(IMAGE.max()))
    assert checked.measured.lesion_ml == pytest.approx(1.44, rel=0.05) and checked.measured.lesion_count == 1


def test_all_that_is_wrong_is_said_with_problems_first(tmp_path: Path) -> None:
    image, label = IMAGE.copy(), LABEL * 3
    image[0, 0, 0], label[0, 0, 0] = np.nan, -1
    _, thick = grid((2.0, 2.0, 4.0))
    singular = AFFINE.copy()
    singular[:3, 2] = 0
    checked = check_case(write_case(tmp_path, image, label, thick, singular))
    assert [finding.code for finding in checked.problems] == ["not-finite", "affine-singular", "out-of-range"]
    assert [finding.code for finding in checked.findings[3:]] == ["thick-slices"]
    assert checked.measured is not None and checked.measured.lesion_ml is None, "no volume by a label that is wrong"
    assert checked.view is not None, "it can still be looked at"


def test_a_bad_label_does_not_hide_a_bad_image(tmp_path: Path) -> None:
    case = write_case(tmp_path, IMAGE, LABEL, AFFINE)
    case.image.write_bytes(b"")
    case.label.unlink()
    assert {(one.part, one.code) for one in check_case(case).findings} == {
        ("image", "empty-file"),
        ("label", "missing"),
    }


def test_an_empty_label_is_let_in_on_request_and_measured_either_way(tmp_path: Path) -> None:
    case = write_case(tmp_path, IMAGE, LABEL * 0, AFFINE)
    for allow_empty in (False, True):
        checked = check_case(case, allow_empty)
        assert checked.ok == allow_empty
        assert checked.measured is not None and (
            checked.measured.lesion_ml,
            checked.measured.lesion_count,
        ) == (0, 0)


def test_the_fingerprint_is_of_the_voxels_and_not_of_the_file(tmp_path: Path) -> None:
    one = check_case(write_case(tmp_path / "1", IMAGE, LABEL, AFFINE)).fingerprint
    other = check_case(write_case(tmp_path / "2", IMAGE.astype(np.float64), LABEL, AFFINE)).fingerprint
    third = check_case(write_case(tmp_path / "3", IMAGE + 1, LABEL, AFFINE)).fingerprint
    assert one == other != third


@pytest.mark.parametrize(
    ("module", "name"), [(client.data.rules, "is_whole_head"), (client.qc.case_check, "lesion_count")]
)
def test_nothing_that_goes_wrong_stops_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    def fail(*_: object) -> bool:
        raise MemoryError("too large")

    monkeypatch.setattr(module, name, fail)
    (finding,) = check_case(write_case(tmp_path, IMAGE, LABEL, AFFINE)).findings
    assert finding.code == "unexpected" and "MemoryError: too large" in finding.text


@pytest.mark.parametrize(
    "spoil", ["label *= 3", "label = label[1:]", "image[0] = np.nan", "image = np.stack([image] * 2, -1)"]
)
def test_what_training_refuses_the_check_refuses(tmp_path: Path, spoil: str) -> None:
    here = {"image": IMAGE.copy(), "label": LABEL.copy(), "np": np}
    exec(spoil, here)
    case = write_case(tmp_path, here["image"], here["label"], AFFINE)
    with pytest.raises(DataError):
        prepare(case, 2.0)
    assert not check_case(case).ok


@pytest.mark.parametrize(
    ("center", "subject", "contrast", "ml", "count"),
    [
        ("ljubljana", "07", "FLAIR", 1.30, 37),
        ("ljubljana", "07", "T2w", 1.30, 37),
        ("ljubljana", "26", "FLAIR", 8.227, 19),
        ("ljubljana", "26", "T2w", 8.227, 19),
        ("tabriz", "104252", "FLAIR", 7.03, 37),
        ("tabriz", "105074", "FLAIR", 13.327, 34),
        ("tabriz", "105465", "FLAIR", 12.287, 31),
    ],
)
def test_real_patients_are_good_and_only_the_unstripped_are_warned_of(
    real_hospitals: Path, center: str, subject: str, contrast: str, ml: float, count: int
) -> None:
    ending = "label-lesion_seg" if center == "ljubljana" else "lesion-manual"
    folder, name = f"sub-{subject}/anat", f"sub-{subject}_{contrast}"
    root = real_hospitals / center
    image, label = root / folder / f"{name}.nii.gz", root / f"derivatives/labels/{folder}/{name}_{ending}.nii.gz"
    checked = check_case(Case(f"sub-{subject}", contrast, image, label))
    assert checked.ok and checked.measured is not None
    assert checked.measured.lesion_ml == pytest.approx(ml, abs=0.001) and checked.measured.lesion_count == count
    assert [one.code for one in checked.warnings] == ([] if center == "ljubljana" else ["thick-slices", "whole-head"])

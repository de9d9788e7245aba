"""Reading and judging at once: what is read, what is found, in which order, and what is raised of it."""

import re
from pathlib import Path

import numpy as np
import pytest

import client.data.rules
from client.data.inventory import Case
from client.data.reading import read_case, read_image, warning_lines
from client.data.rules import warning
from shared.errors import DataError
from tests.support.datasets import grid, patient, write_case

SHAPE, AFFINE = grid((3.0, 3.0, 3.0))
IMAGE, LABEL = patient(SHAPE, AFFINE)


def test_a_good_pair_is_what_the_files_hold(tmp_path: Path) -> None:
    reading = read_case(write_case(tmp_path, IMAGE, LABEL, AFFINE))
    image, label = reading.usable_pair()
    np.testing.assert_array_equal(image.array, IMAGE)
    np.testing.assert_array_equal(label.array, LABEL)
    np.testing.assert_allclose(image.affine, AFFINE)
    assert reading.trusted and not reading.findings


def test_an_image_alone_is_judged_without_a_label(tmp_path: Path) -> None:
    case = write_case(tmp_path, IMAGE, LABEL, AFFINE)
    case.label.unlink()
    reading = read_image(case.image)
    np.testing.assert_array_equal(reading.usable_image().array, IMAGE)
    assert not reading.trusted and not reading.findings


def test_the_first_problem_is_raised_with_its_file_and_told_without(tmp_path: Path) -> None:
    case = write_case(tmp_path, np.where(IMAGE > 0, IMAGE, np.nan), LABEL * 3, AFFINE)
    reading = read_case(case)
    assert [(one.part, one.code) for one in reading.findings] == [("image", "not-finite"), ("label", "out-of-range")]
    with pytest.raises(DataError, match=re.escape(f"{case.image} holds NaN or infinity in ")) as caught:
        reading.usable_pair()
    assert caught.value.public == "holds NaN or infinity"
    case = write_case(tmp_path, IMAGE, LABEL * 3, AFFINE)
    with pytest.raises(DataError, match=re.escape(f"{case.label} runs from 0 to 3")) as caught:
        read_case(case).usable_pair()
    assert caught.value.public == "has a label outside [0, 1]"


@pytest.mark.parametrize(("label", "trusted"), [(LABEL * 0, True), (LABEL * 3, False), (LABEL[1:], False)])
def test_a_label_is_trusted_where_at_most_its_lesions_are_missing(
    tmp_path: Path, label: np.ndarray, trusted: bool
) -> None:
    reading = read_case(write_case(tmp_path, IMAGE, label, AFFINE))
    assert reading.trusted == trusted and len(reading.problems) == 1


def test_what_nobody_foresaw_is_a_problem_of_this_case_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise IndexError("nobody knows")

    monkeypatch.setattr(client.data.rules, "is_whole_head", fail)
    reading = read_case(write_case(tmp_path, IMAGE, LABEL, AFFINE))
    assert [one.code for one in reading.problems] == ["unexpected"]
    with pytest.raises(DataError, match=r"IndexError: nobody knows.*report this as a bug") as caught:
        reading.usable_pair()
    assert caught.value.public == "cannot be used"


def test_warnings_of_many_images_are_a_line_a_kind() -> None:
    thick = [warning("thick-slices", "image", f"has slices of {i} mm", "prefer thin ones") for i in range(5)]
    skull = warning("whole-head", "image", "shows skull", "strip it")
    cases = [Case(f"sub-{i}", "FLAIR", Path("image"), Path("label")) for i in range(5)]
    found = [(case, [one]) for case, one in zip(cases, thick, strict=True)]
    found[1][1].append(skull)
    assert warning_lines(found) == [
        "warning: image has slices of 0 mm: prefer thin ones (sub-0 FLAIR, sub-1 FLAIR, sub-2 FLAIR and 2 more)",
        "warning: image shows skull: strip it (sub-1 FLAIR)",
    ]
    assert warning_lines([]) == []

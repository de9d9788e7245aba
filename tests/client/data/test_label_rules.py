"""The rules of labels: which values mean lesion, and whether a label lies on its image."""

import numpy as np
import pytest

from client.data.head import find_head
from client.data.label_rules import choose_value, copy_or, label_findings, pair_findings
from tests.support.datasets import grid, patient

SHAPE, AFFINE = grid((3.0, 3.0, 3.0))
IMAGE, LABEL = patient(SHAPE, AFFINE)
HEAD = find_head(IMAGE)
CLASSES = np.where(LABEL > 0.5, 1, 0).astype(np.float32)
CLASSES[3:5, 8, 8] = 2
"""Lesions, and two voxels (0.054 ml) of another pathology."""


def codes(findings: object) -> list[str]:
    return [finding.code for finding in findings]  # type: ignore[attr-defined]


def changed(**entries: float) -> np.ndarray:
    affine = AFFINE.copy()
    for place, value in entries.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


# Values


def test_a_good_label_is_good() -> None:
    assert not codes(label_findings(LABEL)) + codes(pair_findings(HEAD, AFFINE, LABEL, AFFINE))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_a_problem(value: float) -> None:
    label = LABEL.copy()
    label[3, 3, 3] = value
    assert codes(label_findings(label)) == codes(choose_value(label, 1)[1]) == ["not-finite"]


@pytest.mark.parametrize(
    ("label", "mend"),
    [
        (LABEL * 255, "if these are fractions of 255, divide it by 255"),
        ((LABEL > 0.5) * np.float32(255), "most likely `--lesion-value 255`"),
        ((LABEL > 0.5) * np.float32(2), "name the value that means lesion, such as `--lesion-value VALUE`"),
        (np.rint(LABEL * 3), "name the value that means lesion, such as `--lesion-value 1`"),
        ((LABEL > 0.5) * np.float32(2) - 1, "name the value that means lesion"),
        (np.rint(LABEL * 100), "if these are percent, divide it by 100; if they number structures, name"),
        (LABEL * 100, "if these are percent, divide it by 100; else export it again"),
        (LABEL * 3, "export it again from where it was drawn"),
        (LABEL - 0.5, "export it again from where it was drawn"),
    ],
)
def test_a_label_outside_0_to_1_is_told_its_mend(label: np.ndarray, mend: str) -> None:
    (finding,) = label_findings(label)
    assert finding.code == "out-of-range" and finding.problem
    assert mend in finding.mend and "maximum" not in finding.mend and "rescale" not in finding.mend


def test_what_interpolation_overshoots_is_in_range() -> None:
    assert not codes(label_findings(LABEL * 1.0009))


@pytest.mark.parametrize(("label", "said"), [(LABEL * 0, "is empty"), (LABEL * 0.4, "reaches only 0.4")])
def test_a_label_without_lesion_is_a_problem_unless_allowed(label: np.ndarray, said: str) -> None:
    (finding,) = label_findings(label)
    assert finding.code == "empty" and finding.problem and said in finding.text
    assert not codes(label_findings(label, allow_empty=True))


def test_a_lesion_begins_at_a_half() -> None:
    """As in the scores: a label that reaches 0.5 has a lesion, one that stays below has none."""
    label = np.zeros(SHAPE, np.float32)
    label[5, 5, 5] = 0.5
    assert not codes(label_findings(label))
    label[5, 5, 5] = np.nextafter(np.float32(0.5), np.float32(0))
    assert codes(label_findings(label)) == ["empty"]


def test_values_are_told_with_the_volume_that_each_marks() -> None:
    (finding,) = label_findings(CLASSES, affine=AFFINE)
    ml = np.count_nonzero(CLASSES == 1) * 0.027
    assert f"its values are 0, 1 ({ml:.3g} ml), 2 (0.054 ml)" in finding.text
    assert "2 (2 voxels)" in str(next(label_findings(CLASSES)))


def test_no_mend_makes_lesions_of_other_pathology() -> None:
    """A label of other pathology alone says of none that it is the lesion."""
    for label in (CLASSES, CLASSES * 2, (CLASSES == 2) * np.float32(2), CLASSES - 1, -CLASSES):
        (finding,) = label_findings(label, affine=AFFINE)
        assert "divide" not in finding.mend and "most likely" not in finding.mend


def test_many_structures_are_told_by_the_largest() -> None:
    label = np.arange(LABEL.size, dtype=np.float32).reshape(SHAPE) % 50
    (finding,) = label_findings(label, affine=AFFINE)
    assert finding.text.endswith("and 41 more") and "if they number structures" not in finding.mend.partition(";")[0]


@pytest.mark.parametrize("value", [1.0, 2.0])
def test_the_value_that_means_lesion_makes_the_label(value: float) -> None:
    chosen, findings = choose_value(CLASSES, value, AFFINE)
    assert not findings and chosen.dtype == np.float32
    np.testing.assert_array_equal(chosen, value == CLASSES)


@pytest.mark.parametrize(("scale", "value"), [(255, 255), (-1, -1), (1.0005, 1), (0.9995, 1), (1e4, 1e4)])
def test_a_value_is_met_but_for_rounding(scale: float, value: float) -> None:
    label = (CLASSES == 1) * np.float32(scale)
    np.testing.assert_array_equal(choose_value(label, value)[0], CLASSES == 1)


def test_a_value_that_a_label_lacks_marks_nothing_and_the_others_are_told() -> None:
    chosen, (finding,) = choose_value(CLASSES, 3, AFFINE)
    assert not chosen.any() and finding.code == "empty" and finding.problem
    assert "marks no lesion (no voxel is 3; its values are 0, 1 (" in finding.text and "2 (0.054 ml)" in finding.text


def test_a_soft_label_with_a_lesion_value_is_warned_of() -> None:
    chosen, (finding,) = choose_value(LABEL, 1)
    np.testing.assert_array_equal(chosen, LABEL == 1)
    assert finding.code == "fractions" and not finding.problem and "% of what it marks" in finding.text


# The pair


def test_a_label_of_another_shape_or_place_is_off_the_grid() -> None:
    (finding,) = pair_findings(HEAD, AFFINE, LABEL[1:], AFFINE)
    assert finding.code == "off-grid" and "15 x 16 x 16" in finding.text and "axes" not in finding.mend
    (finding,) = pair_findings(find_head(IMAGE[1:]), AFFINE, LABEL[:, 1:], AFFINE)
    assert finding.code == "off-grid" and finding.mend.startswith("if its axes were swapped when it was written")
    (finding,) = pair_findings(HEAD, AFFINE, LABEL, changed(_03=AFFINE[0, 3] + 2))
    assert finding.code == "off-grid" and "by up to 2 mm" in finding.text


@pytest.mark.parametrize(
    ("place", "looks"),
    [
        (np.eye(4), "but the former are brighter, as lesions are, so it looks drawn on this image"),
        (changed(_03=AFFINE[0, 3] - 15), "so it looks drawn on this image"),
        (AFFINE @ np.diag([3, 3, 3, 1]), "so it looks drawn on this image"),
        (changed(_03=AFFINE[0, 3] + 1), "which does not tell"),
    ],
)
def test_a_label_of_its_image_s_shape_may_lack_no_more_than_its_header(place: np.ndarray, looks: str) -> None:
    (finding,) = pair_findings(HEAD, AFFINE, LABEL, place)
    assert finding.code == "off-grid" and "though the shapes agree" in finding.text
    assert finding.mend.startswith("if it was drawn on this very image, copy the image's header to it (wardround")
    assert "100% of its lesions lie in the head where it is laid over the image voxel by voxel" in finding.mend
    assert looks in finding.mend and "else resample" in finding.mend


def test_a_label_that_its_own_header_places_well_is_told_so() -> None:
    moved = np.roll(LABEL, 8, 0)
    (finding,) = pair_findings(HEAD, AFFINE, moved, changed(_03=AFFINE[0, 3] + 24))
    assert "so its own header looks right" in finding.mend


def test_a_label_without_a_header_to_compare_is_laid_over_its_image() -> None:
    mend = copy_or("export it again", HEAD, AFFINE, LABEL > 0.5)
    assert mend.endswith("laid over the image voxel by voxel, 100% of its lesions lie in the head")
    assert "wardround hospital prepare --copy-header" in mend
    assert "voxel by voxel" not in copy_or("export it again", HEAD, AFFINE, LABEL > 2)


def test_rounding_of_the_header_is_not_off_the_grid() -> None:
    assert not codes(pair_findings(HEAD, AFFINE, LABEL, AFFINE + 1e-4))


def test_lesions_in_air_are_a_warning() -> None:
    (finding,) = pair_findings(HEAD, AFFINE, np.roll(LABEL, 8, 0), AFFINE)
    assert finding.code == "lesion-in-air" and not finding.problem


def test_an_inverted_label_is_a_warning() -> None:
    findings = [*pair_findings(HEAD, AFFINE, (IMAGE > 0).astype(np.float32), AFFINE)]
    assert codes(findings) == ["much-lesion"] and "covers 100% of the head" in str(findings[0])
    assert codes(pair_findings(HEAD, AFFINE, 1 - LABEL, AFFINE)) == ["lesion-in-air"]

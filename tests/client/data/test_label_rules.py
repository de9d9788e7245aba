"""The rules of labels: which values mean lesion, and whether a label lies on its image."""

import numpy as np
import pytest

from client.data.head import find_head
from client.data.label_rules import choose_value, label_findings, pair_findings
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
        ((LABEL > 0.5) * np.float32(2), "name the value that means lesion, such as `--lesion-value 1`"),
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


# The pair


def test_a_label_of_another_shape_or_place_is_off_the_grid() -> None:
    (finding,) = pair_findings(HEAD, AFFINE, LABEL[1:], AFFINE)
    assert finding.code == "off-grid" and "15 x 16 x 16" in finding.text
    (finding,) = pair_findings(HEAD, AFFINE, LABEL, changed(_03=AFFINE[0, 3] + 2))
    assert finding.code == "off-grid" and "by up to 2 mm" in finding.text


def test_rounding_of_the_header_is_not_off_the_grid() -> None:
    assert not codes(pair_findings(HEAD, AFFINE, LABEL, AFFINE + 1e-4))


def test_lesions_in_air_are_a_warning() -> None:
    (finding,) = pair_findings(HEAD, AFFINE, np.roll(LABEL, 8, 0), AFFINE)
    assert finding.code == "lesion-in-air" and not finding.problem


def test_an_inverted_label_is_a_warning() -> None:
    findings = [*pair_findings(HEAD, AFFINE, (IMAGE > 0).astype(np.float32), AFFINE)]
    assert codes(findings) == ["much-lesion"] and "covers 100% of the head" in str(findings[0])
    assert codes(pair_findings(HEAD, AFFINE, 1 - LABEL, AFFINE)) == ["lesion-in-air"]

"""Each rule on its own: what it finds, what it lets pass, and what it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat

from client.data.rules import (
    PUBLIC,
    SPACING,
    Finding,
    contrast_findings,
    grid_findings,
    head_findings,
    image_findings,
    label_findings,
    pair_findings,
    problem,
)
from tests.client.data.test_skull_stripping import FLAIR, head
from tests.support.datasets import grid, patient

SHAPE, AFFINE = grid((3.0, 3.0, 3.0))
IMAGE, LABEL = patient(SHAPE, AFFINE)


def codes(findings: object) -> list[str]:
    return [finding.code for finding in findings]  # type: ignore[attr-defined]


# The grid


@given(st.tuples(*[st.floats(SPACING[0] * 1.01, SPACING[1] * 0.99)] * 3), st.tuples(*[st.floats(-3, 3)] * 3))
def test_every_voxel_of_a_brain_s_size_is_good_however_it_lies(
    voxel: tuple[float, float, float], turn: tuple[float, float, float]
) -> None:
    affine = from_matvec(euler2mat(*turn) @ np.diag(voxel), [10, -20, 30])
    assert not any(finding.problem for finding in grid_findings((9, 9, 9), affine, True, "image"))


@pytest.mark.parametrize(
    ("shape", "code"), [((9, 9, 9, 2), "not-3d"), ((9, 9), "not-3d"), ((9, 9, 9, 1), "not-3d"), ((9, 9, 1), "thin")]
)
def test_only_a_volume_is_a_volume(shape: tuple[int, ...], code: str) -> None:
    assert codes(grid_findings(shape, AFFINE, True, "image")) == [code]


def changed(**entries: float) -> np.ndarray:
    affine = AFFINE.copy()
    for place, value in entries.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


@pytest.mark.parametrize(
    ("affine", "code"),
    [
        (changed(_00=np.nan), "affine-not-finite"),
        (changed(_13=np.inf), "affine-not-finite"),
        (changed(_22=0), "affine-singular"),
        (changed(_00=3, _11=0, _01=3), "affine-singular"),
        (AFFINE * 1e-3, "spacing"),
        (AFFINE * 1e3, "spacing"),
    ],
)
def test_an_affine_must_lead_from_voxel_to_mm(affine: np.ndarray, code: str) -> None:
    assert codes(grid_findings(SHAPE, affine, True, "label")) == [code]


def test_a_header_without_orientation_is_a_problem() -> None:
    (finding,) = grid_findings(SHAPE, AFFINE, False, "image")
    assert finding.code == "affine-missing" and finding.problem


def test_thick_slices_are_a_warning_and_that_once() -> None:
    _, thick = grid((1.0, 1.0, 6.0))
    (finding,) = grid_findings((48, 48, 8), thick, True, "image")
    assert finding.code == "thick-slices" and not finding.problem and "6 mm" in finding.text
    assert not codes(grid_findings((48, 48, 8), thick, True, "label"))


# Values


def test_good_values_are_good() -> None:
    assert not codes(image_findings(IMAGE)) + codes(label_findings(LABEL))
    assert not codes(pair_findings(IMAGE, AFFINE, LABEL, AFFINE))
    assert not codes(image_findings(IMAGE - 100)), "MRI knows no absolute zero"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_counted(value: float) -> None:
    image, label = IMAGE.copy(), LABEL.copy()
    image[3:5, 3, 3] = label[3, 3, 3] = value
    (found,) = image_findings(image)
    assert found.code == "not-finite" and "in 2 voxels" in found.text
    assert codes(label_findings(label)) == ["not-finite"]


def test_an_image_of_one_value_is_none() -> None:
    assert codes(image_findings(np.full(SHAPE, 7, np.float32))) == ["constant"]


@pytest.mark.parametrize("image", [IMAGE * 0, IMAGE - 1000, np.full(SHAPE, -7, np.float32)])
def test_an_image_without_signal_is_nothing_but_air(image: np.ndarray) -> None:
    assert codes(image_findings(image)) == ["air"]


@pytest.mark.parametrize(("scale", "found"), [(1e-9, True), (1e-5, False), (1.0, False), (1e9, False), (1e18, True)])
def test_intensities_that_no_scanner_writes_are_a_problem(scale: float, found: bool) -> None:
    assert codes(image_findings(IMAGE * np.float32(scale))) == (["intensity"] if found else [])
    assert codes(image_findings(IMAGE - np.float32(1e18))) == ["air"]


@pytest.mark.parametrize("stripped", [False, True])
def test_a_head_with_its_skull_is_a_warning(stripped: bool) -> None:
    findings = [*head_findings(*head(FLAIR, (3.0, 3.0, 3.0), stripped))]
    assert codes(findings) == ([] if stripped else ["whole-head"]) and not any(one.problem for one in findings)


@pytest.mark.parametrize(
    ("contrast", "known", "said"),
    [
        ("FLAIR", ("FLAIR",), []),
        ("T2w", ("FLAIR", "T2w"), []),
        ("T2w", ("FLAIR",), ["image is T2w, and the model knows FLAIR: give it FLAIR images"]),
        (
            "other",
            ("FLAIR", "T2w"),
            ["image is neither FLAIR nor T2w, and the model knows FLAIR and T2w: give it FLAIR and T2w images"],
        ),
    ],
)
def test_a_contrast_that_a_model_does_not_know_is_a_warning(
    contrast: str, known: tuple[str, ...], said: list[str]
) -> None:
    findings = [*contrast_findings(contrast, known)]
    assert [str(one) for one in findings] == said and not any(one.problem for one in findings)


@pytest.mark.parametrize(
    ("label", "mend"),
    [
        (LABEL * 255, "divide it by its maximum"),
        ((LABEL > 0.5) * np.float32(2), "divide it by its maximum"),
        (np.rint(LABEL * 3), "set lesions to 1 and all else to 0"),
        (LABEL - 0.5, "set lesions to 1 and all else to 0"),
    ],
)
def test_a_label_outside_0_to_1_is_told_its_mend(label: np.ndarray, mend: str) -> None:
    (finding,) = label_findings(label)
    assert finding.code == "out-of-range" and finding.mend == mend


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
    (finding,) = pair_findings(IMAGE, AFFINE, LABEL[1:], AFFINE)
    assert finding.code == "off-grid" and "15 x 16 x 16" in finding.text
    (finding,) = pair_findings(IMAGE, AFFINE, LABEL, changed(_03=AFFINE[0, 3] + 2))
    assert finding.code == "off-grid" and "by up to 2 mm" in finding.text


def test_rounding_of_the_header_is_not_off_the_grid() -> None:
    assert not codes(pair_findings(IMAGE, AFFINE, LABEL, AFFINE + 1e-4))


def test_lesions_in_air_are_a_warning() -> None:
    (finding,) = pair_findings(IMAGE, AFFINE, np.roll(LABEL, 8, 0), AFFINE)
    assert finding.code == "lesion-in-air" and not finding.problem


def test_an_inverted_label_is_a_warning() -> None:
    findings = [*pair_findings(IMAGE, AFFINE, (IMAGE > 0).astype(np.float32), AFFINE)]
    assert codes(findings) == ["much-lesion"] and "covers 100% of the head" in str(findings[0])
    assert codes(pair_findings(IMAGE, AFFINE, 1 - LABEL, AFFINE)) == ["lesion-in-air"]


def test_what_leaves_the_hospital_has_no_number_and_no_contents() -> None:
    said = {text.replace("[0, 1]", "") for text in PUBLIC.values()}
    assert all(text and not any(character.isdigit() for character in text) for text in said)


def test_a_finding_says_where_what_and_the_mend() -> None:
    assert str(Finding("x", True, "label", "is empty", "check it")) == "label is empty: check it"
    assert str(problem("x", "pair", "stopped", "look")) == "image and label stopped: look"
    assert str(problem("x", "subject", "sub-1 is gone", "look")) == "sub-1 is gone: look"

"""Each rule on its own: what it finds, what it lets pass, and what it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat

from client.data.head import find_head
from client.data.rules import (
    PUBLIC,
    SPACING,
    Finding,
    contrast_findings,
    grid_findings,
    head_findings,
    image_findings,
    problem,
)
from tests.client.data.test_skull_stripping import FLAIR, head
from tests.support.datasets import grid, patient

SHAPE, AFFINE = grid((3.0, 3.0, 3.0))
IMAGE, _ = patient(SHAPE, AFFINE)


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


@pytest.mark.parametrize(("edge", "said"), [(3.0000012, False), (3.0004, False), (2.9999, False), (3.01, True)])
def test_rounding_in_a_header_makes_no_slice_thick(edge: float, said: bool) -> None:
    assert codes(grid_findings(SHAPE, changed(_22=edge), True, "image")) == (["thick-slices"] if said else [])


# Values


def test_good_values_are_good() -> None:
    assert not codes(image_findings(IMAGE))
    assert not codes(image_findings(IMAGE - 100)), "MRI knows no absolute zero"
    assert not codes(image_findings(IMAGE - 1000)), "nor a sign"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_counted(value: float) -> None:
    image = IMAGE.copy()
    image[3:5, 3, 3] = value
    (found,) = image_findings(image)
    assert found.code == "not-finite" and "in 2 voxels" in found.text


@pytest.mark.parametrize("value", [7, -7])
def test_an_image_of_one_value_is_none(value: float) -> None:
    assert codes(image_findings(np.full(SHAPE, value, np.float32))) == ["constant"]


def test_an_image_without_signal_is_nothing_but_air() -> None:
    assert codes(image_findings(IMAGE * 0)) == ["air"]


@pytest.mark.parametrize(("scale", "found"), [(1e-9, True), (1e-5, False), (1.0, False), (1e9, False), (1e18, True)])
def test_intensities_that_no_scanner_writes_are_a_problem(scale: float, found: bool) -> None:
    assert codes(image_findings(IMAGE * np.float32(scale))) == (["intensity"] if found else [])
    assert codes(image_findings((IMAGE - 20) * np.float32(-scale))) == (["intensity"] if found else [])


@pytest.mark.parametrize("offset", [1e8, -1e8, 3e7])
def test_an_offset_that_leaves_a_few_levels_of_intensity_is_a_problem(offset: float) -> None:
    assert codes(image_findings(IMAGE + np.float32(offset))) == ["intensity"]
    assert codes(image_findings(IMAGE + np.float32(1e18))) == ["constant"], "one that leaves none"


@pytest.mark.parametrize("stripped", [False, True])
def test_a_head_with_its_skull_is_a_warning(stripped: bool) -> None:
    image, affine = head(FLAIR, (3.0, 3.0, 3.0), stripped)
    findings = [*head_findings(find_head(image), affine)]
    assert codes(findings) == ([] if stripped else ["whole-head"]) and not any(one.problem for one in findings)


def test_wild_voxels_are_a_warning_with_their_number_and_height() -> None:
    image = IMAGE.copy()
    image[2, 2, 2] = image[8, 8, 8] = 32767
    image[3, 3, 3] = -32768
    (finding,) = head_findings(find_head(image), AFFINE)
    assert finding.code == "outliers" and not finding.problem
    assert "2 of up to 32767 (" in finding.text and "1 down to -32768" in finding.text
    times = 32767 / np.percentile(IMAGE[IMAGE > 0], 99.9)
    assert f"({times:.3g} times the head's 99.9th percentile)" in finding.text
    assert not codes(head_findings(find_head(IMAGE), AFFINE))


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


def test_what_leaves_the_hospital_has_no_number_and_no_contents() -> None:
    said = {text.replace("[0, 1]", "") for text in PUBLIC.values()}
    assert all(text and not any(character.isdigit() for character in text) for text in said)


def test_a_finding_says_where_what_and_the_mend() -> None:
    assert str(Finding("x", True, "label", "is empty", "check it")) == "label is empty: check it"
    assert str(problem("x", "pair", "stopped", "look")) == "image and label stopped: look"
    assert str(problem("x", "subject", "sub-1 is gone", "look")) == "sub-1 is gone: look"

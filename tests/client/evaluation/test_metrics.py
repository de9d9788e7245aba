"""Scores of a segmentation: by hand, by panoptica and MONAI, and what must hold for all."""

import json
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import DiceMetric
from numpy.typing import NDArray

from client.evaluation.metrics import score
from shared.metrics.scores import Scores
from tests.conftest import ROOT
from tests.oracles.blobs import SEEDS, make_pair
from tests.support.scored import SCORES, SHARES

MM = np.eye(4)

soft_pairs = st.tuples(*[st.integers(1, 5)] * 3).flatmap(
    lambda shape: st.tuples(*[arrays(np.float32, shape, elements=st.floats(0, 1, width=32))] * 2)
)
spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3).map(lambda mm: np.diag([*mm, 1.0]))


def masks(*voxels: float) -> NDArray[np.float32]:
    """A row of voxels."""
    return np.array(voxels, dtype=np.float32).reshape(-1, 1, 1)


# By voxels


def test_the_scores_of_voxels_by_hand() -> None:
    # Found: voxels 0-3; there: voxels 2-7; both: 2.
    made = score(masks(1, 1, 1, 1, 0, 0, 0, 0), masks(0, 0, 1, 1, 1, 1, 1, 1), MM)
    assert (made.dice, made.soft_dice, made.precision, made.recall) == (0.4, 0.4, 0.5, pytest.approx(1 / 3))


def test_the_threshold_is_a_half_and_counts_as_lesion() -> None:
    assert score(masks(0.5, 0.49), masks(0.5, 0.0), MM).dice == 1
    assert score(masks(0.49, 0.0), masks(0.5, 0.0), MM).dice == 0


def test_soft_dice_by_hand() -> None:
    # 2 (0.5 x 1 + 0.25 x 0.5) / (1 + 1.5)
    assert score(masks(0.5, 0.25, 0.25), masks(1.0, 0.5, 0.0), MM).soft_dice == pytest.approx(2 * 0.625 / 2.5)


# By lesions


def test_the_scores_of_lesions_by_hand() -> None:
    # Three to find, of which the second and the third are hit; four found, of which the first and the last miss.
    truth = masks(1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0)
    found = masks(0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 1)
    made = score(found, truth, MM)
    assert made.lesion_sensitivity == pytest.approx(2 / 3)
    # Voxel 3 touches none of the truth's voxels, and neighbours do not count.
    assert made.lesion_precision == pytest.approx(2 / 4)
    assert made.lesion_f1 == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))


def test_one_found_over_two_is_one_found_and_two_hit() -> None:
    made = score(masks(1, 1, 1, 1, 1), masks(1, 0, 1, 0, 0), MM)
    assert (made.lesion_sensitivity, made.lesion_precision, made.lesion_f1) == (1, 1, 1)


def test_voxels_that_touch_by_a_corner_are_one_lesion() -> None:
    truth = np.zeros((3, 3, 3), np.float32)
    truth[0, 0, 0] = truth[1, 1, 1] = 1
    found = np.zeros((3, 3, 3), np.float32)
    found[0, 0, 0] = 1
    assert score(found, truth, MM).lesion_sensitivity == 1


# By volume and distance


def test_the_volume_difference_is_in_ml_and_has_no_sign() -> None:
    # 2 x 2.5 x 4 mm; three voxels more, or less.
    affine = np.diag([-2.0, 2.5, 4.0, 1.0])
    few, many = masks(1, 0, 0, 0, 0), masks(1, 1, 1, 1, 0)
    for pair in ((few, many), (many, few)):
        assert score(*pair, affine).volume_difference_ml == pytest.approx(3 * 20 / 1000)


def test_hd95_is_in_mm_of_the_image_s_axes() -> None:
    prediction, truth = np.zeros((2, 8, 8, 8), np.float32)
    prediction[1, 1, 1] = truth[3, 1, 1] = 1
    assert score(prediction, truth, np.diag([6.5, 1.0, 1.0, 1.0])).hd95_mm == pytest.approx(13.0)
    assert score(prediction, truth, np.diag([1.0, 6.5, 1.0, 1.0])).hd95_mm == pytest.approx(2.0)


def test_hd95_is_the_greater_of_both_directions() -> None:
    # From the one voxel found, truth is at 0; from the truth's farther voxel, what was found is 9 away.
    truth = masks(1, *[0] * 8, 1)
    found = masks(1, *[0] * 9)
    # The 95th percentile of 0 and 9.
    assert score(found, truth, MM).hd95_mm == pytest.approx(0.95 * 9)


def test_a_rotated_image_has_the_same_scores() -> None:
    pair = make_pair(0)
    turned = np.eye(4)
    turned[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
    straight = np.diag([*pair.spacing, 1.0])
    two = [score(pair.prediction.astype(np.float32), pair.truth.astype(np.float32), a @ straight) for a in (MM, turned)]
    assert two[0].model_dump() == pytest.approx(two[1].model_dump())


# Where there is nothing to find, or nothing was found

AFFINE = np.diag([3.0, 4.0, 12.0, 1.0])
DIAGONAL = 13.0 * 2
"""mm, of 2 x 2 x 2 voxels of 3 x 4 x 12 mm."""


def corner(*voxels: tuple[int, int, int]) -> NDArray[np.float32]:
    mask = np.zeros((2, 2, 2), np.float32)
    for voxel in voxels:
        mask[voxel] = 1
    return mask


@pytest.mark.parametrize(
    ("prediction", "truth", "share", "volume_ml", "distance"),
    [
        (corner(), corner(), 1.0, 0.0, 0.0),
        (corner((0, 0, 0)), corner(), 0.0, 0.144, DIAGONAL),
        (corner(), corner((0, 0, 0), (0, 0, 1)), 0.0, 0.288, DIAGONAL),
        (corner((0, 0, 0)), corner((1, 1, 1)), 0.0, 0.0, 13.0),
        (corner((0, 1, 0)), corner((0, 1, 0)), 1.0, 0.0, 0.0),
    ],
    ids=["nothing there, nothing found", "nothing there", "nothing found", "elsewhere", "perfect"],
)
def test_the_ends_of_the_scale_are_defined(
    prediction: NDArray, truth: NDArray, share: float, volume_ml: float, distance: float
) -> None:
    made = score(prediction, truth, AFFINE).model_dump()
    lesions = {"lesion_sensitivity", "lesion_precision", "lesion_f1"}
    if distance == 13.0:
        # Two components that touch by a corner have no voxel in common.
        assert {made[name] for name in lesions} == {0.0}
    assert {name: made[name] for name in SHARES} == dict.fromkeys(SHARES, share)
    assert made["volume_difference_ml"] == pytest.approx(volume_ml)
    assert made["hd95_mm"] == pytest.approx(distance)


@given(soft_pairs, spacings)
def test_a_missed_case_is_the_worst_that_hd95_can_be(pair: tuple[NDArray, NDArray], affine: NDArray) -> None:
    prediction, truth = pair
    worst = float(np.linalg.norm(np.diag(affine)[:3] * prediction.shape))
    assert score(prediction, truth, affine).hd95_mm <= worst
    missed = score(prediction * 0, truth, affine).hd95_mm
    assert missed == (pytest.approx(worst) if (truth >= 0.5).any() else 0)


# Oracles


@pytest.fixture(scope="module")
def panoptica() -> dict[str, dict[str, Any]]:
    """The scores of tests/oracles/panoptica_scores.py, by the pair's seed."""
    path = ROOT / "tests" / "oracles" / "panoptica_scores.json"
    content: dict[str, Any] = json.loads(path.read_text())
    pairs: dict[str, dict[str, Any]] = content["pairs"]
    return pairs


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_are_those_of_panoptica(panoptica: dict[str, dict[str, Any]], seed: int) -> None:
    pair = make_pair(seed)
    if str(seed) not in panoptica:
        assert not (pair.prediction.any() and pair.truth.any()), "the oracle leaves out empty ones alone"
        return
    expected = panoptica[str(seed)]
    assert pair.digest == expected["digest"], "other arrays than the oracle's: make its values anew"
    made = score(
        pair.prediction.astype(np.float32), pair.truth.astype(np.float32), np.diag([*pair.spacing, 1.0])
    ).model_dump()
    for name in SCORES:
        if name in expected:
            assert made[name] == pytest.approx(expected[name], rel=1e-5), name


@pytest.mark.parametrize("density", [0.02, 0.3, 0.9])
def test_dice_is_that_of_monai(density: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        prediction, truth = (random.random((2, 5, 6, 7)) < density).astype(np.float32)
        metric = DiceMetric(ignore_empty=False)
        metric(torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None])
        assert score(prediction, truth, MM).dice == pytest.approx(metric.aggregate().item(), abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_hd95_is_that_of_monai(seed: int) -> None:
    pair = make_pair(seed)
    if not (pair.prediction.any() and pair.truth.any()):
        return
    made = score(pair.prediction.astype(np.float32), pair.truth.astype(np.float32), np.diag([*pair.spacing, 1.0]))
    assert made.hd95_mm == monai_hd95(pair.prediction, pair.truth, pair.spacing)


@given(soft_pairs, spacings)
def test_hd95_is_that_of_monai_whatever_the_masks(pair: tuple[NDArray, NDArray], affine: NDArray) -> None:
    prediction, truth = (part >= 0.5 for part in pair)
    if prediction.any() and truth.any():
        assert score(*pair, affine).hd95_mm == monai_hd95(prediction, truth, np.diag(affine)[:3].tolist())


def monai_hd95(prediction: NDArray, truth: NDArray, spacing: Sequence[float]) -> float:
    two = [torch.from_numpy(np.ascontiguousarray(mask)).bool()[None, None] for mask in (prediction, truth)]
    with warnings.catch_warnings():
        # MONAI 1.6 warns of an argument that it passes to itself.
        warnings.simplefilter("ignore", FutureWarning)
        return float(compute_hausdorff_distance(*two, include_background=True, percentile=95.0, spacing=list(spacing)))


@given(soft_pairs)
def test_soft_dice_is_that_of_sums_in_double_precision(pair: tuple[NDArray, NDArray]) -> None:
    prediction, truth = (part.astype(np.float64) for part in pair)
    mass = prediction.sum() + truth.sum()
    expected = min(1.0, 2 * (prediction * truth).sum() / mass) if mass else 1.0
    assert score(*pair, MM).soft_dice == pytest.approx(expected, rel=1e-6, abs=1e-30)


def test_arrays_in_columns_have_the_scores_of_those_in_rows() -> None:
    pair = make_pair(1)
    rows = [np.ascontiguousarray(part, dtype=np.float32) for part in (pair.prediction, pair.truth)]
    columns = [np.asfortranarray(part) for part in rows]
    assert score(*columns, MM) == score(rows[0], columns[1], MM) == score(*rows, MM)


# What holds for all


@given(soft_pairs, spacings)
def test_every_score_is_finite_and_each_share_lies_in_0_to_1(pair: tuple[NDArray, NDArray], affine: NDArray) -> None:
    made = score(*pair, affine).model_dump()
    assert all(math.isfinite(made[name]) and made[name] >= 0 for name in SCORES)
    assert all(made[name] <= 1 for name in SHARES)


@given(soft_pairs)
def test_dice_and_lesion_f1_are_harmonic_means(pair: tuple[NDArray, NDArray]) -> None:
    made = score(*pair, MM)
    for mean, one, other in (
        (made.dice, made.precision, made.recall),
        (made.lesion_f1, made.lesion_sensitivity, made.lesion_precision),
    ):
        assert mean == pytest.approx(2 * one * other / (one + other) if one + other else 0)


@given(soft_pairs, spacings)
def test_prediction_and_truth_swapped_swap_what_was_found_with_what_was_to_find(
    pair: tuple[NDArray, NDArray], affine: NDArray
) -> None:
    there, back = score(*pair, affine), score(*pair[::-1], affine)
    swapped = {
        "precision": there.recall,
        "recall": there.precision,
        "lesion_precision": there.lesion_sensitivity,
        "lesion_sensitivity": there.lesion_precision,
    }
    assert back.model_dump() == pytest.approx(there.model_dump() | swapped)


@given(soft_pairs, spacings)
def test_a_segmentation_of_itself_is_perfect_but_for_its_softness(
    pair: tuple[NDArray, NDArray], affine: NDArray
) -> None:
    lesion = (pair[0] >= 0.5).astype(np.float32)
    perfect = dict.fromkeys(SHARES, 1.0) | {"volume_difference_ml": 0.0, "hd95_mm": 0.0}
    assert score(lesion, lesion, affine) == Scores(**perfect)


@given(soft_pairs, st.tuples(*[st.integers(0, 3)] * 6))
def test_air_around_the_head_changes_nothing_but_the_worst_distance(
    pair: tuple[NDArray, NDArray], air: tuple[int, ...]
) -> None:
    around = list(zip(air[::2], air[1::2], strict=True))
    bare, padded = score(*pair, MM).model_dump(), score(*(np.pad(part, around) for part in pair), MM).model_dump()
    if (pair[0] >= 0.5).any() != (pair[1] >= 0.5).any():
        assert padded.pop("hd95_mm") >= bare.pop("hd95_mm")
    assert padded == pytest.approx(bare)

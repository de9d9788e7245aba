"""Testing: the figures by hand and by MONAI, and whole volumes of any shape."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics.meandice import DiceMetric
from numpy.typing import NDArray
from torch import Tensor

from client.evaluation import Overlap, evaluate, overlap, segment
from client.volumes import Volume, prepare
from shared.network import initial_weights
from shared.settings import Settings
from tests.datasets import grid, patient, write_case

CPU = torch.device("cpu")

soft_pairs = st.tuples(*[st.integers(1, 5)] * 3).flatmap(
    lambda shape: st.tuples(*[arrays(np.float32, shape, elements=st.floats(0, 1, width=32))] * 2)
)


def masks(*voxels: float) -> NDArray[np.float32]:
    return np.array(voxels, dtype=np.float32).reshape(-1, 1, 1)


# Overlap


def test_the_figures_of_a_case_by_hand() -> None:
    # Found: voxels 0-3; there: voxels 2-7; both: 2.
    prediction = masks(1, 1, 1, 1, 0, 0, 0, 0)
    truth = masks(0, 0, 1, 1, 1, 1, 1, 1)
    assert overlap(prediction, truth) == Overlap(dice=0.4, soft_dice=0.4, precision=0.5, recall=pytest.approx(1 / 3))


def test_the_threshold_is_a_half_and_counts_as_lesion() -> None:
    assert overlap(masks(0.5, 0.49), masks(0.5, 0.0)).dice == 1
    assert overlap(masks(0.49, 0.0), masks(0.5, 0.0)).dice == 0


def test_soft_dice_by_hand() -> None:
    # 2 (0.5 x 1 + 0.25 x 0.5) / (1 + 1.5)
    score = overlap(masks(0.5, 0.25, 0.25), masks(1.0, 0.5, 0.0))
    assert score.soft_dice == pytest.approx(2 * 0.625 / 2.5)


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (masks(0, 0), masks(0, 0), Overlap(1, 1, 1, 1)),
        (masks(1, 0), masks(0, 0), Overlap(0, 0, 0, 0)),
        (masks(0, 0), masks(1, 0), Overlap(0, 0, 0, 0)),
        (masks(1, 0), masks(0, 1), Overlap(0, 0, 0, 0)),
        (masks(1, 0), masks(1, 0), Overlap(1, 1, 1, 1)),
    ],
    ids=["nothing there, nothing found", "nothing there", "nothing found", "elsewhere", "perfect"],
)
def test_the_ends_of_the_scale_are_defined(prediction: NDArray, truth: NDArray, expected: Overlap) -> None:
    assert overlap(prediction, truth) == expected


@pytest.mark.parametrize("density", [0.02, 0.3, 0.9])
def test_dice_is_that_of_monai(density: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        prediction, truth = (random.random((2, 5, 6, 7)) < density).astype(np.float32)
        metric = DiceMetric(ignore_empty=False)
        metric(torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None])
        assert overlap(prediction, truth).dice == pytest.approx(metric.aggregate().item(), abs=1e-6)


@given(soft_pairs)
def test_every_figure_lies_in_0_to_1_and_dice_is_their_harmonic_mean(pair: tuple[NDArray, NDArray]) -> None:
    score = overlap(*pair)
    assert all(0 <= figure <= 1 and math.isfinite(figure) for figure in vars(score).values())
    if score.precision + score.recall:
        harmonic = 2 * score.precision * score.recall / (score.precision + score.recall)
        assert score.dice == pytest.approx(harmonic)
    else:
        assert score.dice == 0


@given(soft_pairs)
def test_prediction_and_truth_swapped_swap_precision_and_recall(pair: tuple[NDArray, NDArray]) -> None:
    there, back = overlap(*pair), overlap(*pair[::-1])
    assert (there.dice, there.soft_dice) == (back.dice, pytest.approx(back.soft_dice))
    assert there.precision == back.recall or there.precision == there.recall == 0 or there.dice == back.dice == 0


# Whole volumes


class Fake(torch.nn.Module):
    """A network that gives the image back, or the same score everywhere."""

    def __init__(self, activation: str, score: float | None = None) -> None:
        super().__init__()
        self.settings: Any = SimpleNamespace(activation=activation)
        self.score = score

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[1:] == (1, 16, 16, 16)
        return image if self.score is None else torch.full_like(image, self.score)


shapes = st.tuples(*[st.integers(1, 37)] * 3)


@settings(max_examples=15, deadline=None)
@given(shapes, st.sampled_from([0.0, 0.25, 0.5]))
def test_a_constant_network_segments_every_shape_constantly(shape: tuple[int, int, int], window_overlap: float) -> None:
    soft = segment(Fake("sigmoid", 1.0), torch.randn(shape), 16, window_overlap)  # type: ignore[arg-type]
    assert soft.shape == shape
    torch.testing.assert_close(soft, torch.full(shape, 1.0).sigmoid())


@settings(max_examples=15, deadline=None)
@given(shapes, st.integers(0, 99))
def test_windows_are_stitched_where_they_were_taken(shape: tuple[int, int, int], seed: int) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    soft = segment(Fake("sigmoid"), image, 16, 0.25)  # type: ignore[arg-type]
    torch.testing.assert_close(soft, image.sigmoid(), atol=1e-5, rtol=1e-5)


def test_normalised_relu_is_of_the_volume_and_not_of_each_window() -> None:
    image = torch.full((48, 16, 16), 0.01)
    image[:8] = 2.0
    image[20] = -1.0
    soft = segment(Fake("normalised-relu"), image, 16, 0.0)  # type: ignore[arg-type]
    torch.testing.assert_close(soft, image.relu() / 2.0)


def test_normalised_relu_without_any_score_is_empty() -> None:
    soft = segment(Fake("normalised-relu", -1.0), torch.randn(20, 5, 17), 16, 0.25)  # type: ignore[arg-type]
    assert soft.shape == (20, 5, 17) and not soft.any()


@pytest.fixture
def volumes(tmp_path: Any) -> list[Volume]:
    """Two patients, of whom one has no lesion."""
    shape, affine = grid((2.0, 3.0, 4.0))
    image, label = patient(shape, affine)
    pairs = {"ill": (image, label), "well": (image, label * 0)}
    return [prepare(write_case(tmp_path / name, *pair, affine), 3.0) for name, pair in pairs.items()]


def biased(settings: Settings, by: float) -> dict[str, Tensor]:
    """Weights of a network that gives one score everywhere: all zero but the last bias."""
    weights = {name: value * 0 for name, value in initial_weights(settings.network, 0).items()}
    *_, last = (name for name in weights if name.endswith("bias"))
    return weights | {last: torch.full_like(weights[last], by)}


def test_each_volume_is_scored_in_its_own_grid(run_config: dict[str, Any], volumes: list[Volume]) -> None:
    options = Settings.from_run_config(run_config | {"patch-size": 16, "exemplar-mm": 96.0})
    nothing = evaluate(biased(options, -9.0), volumes, options, CPU)
    assert nothing == [Overlap(0.0, pytest.approx(0, abs=0.01), 0.0, 0.0), Overlap(1.0, 0.0, 1.0, 1.0)]
    everything = evaluate(biased(options, 9.0), volumes, options, CPU)
    assert [score.recall for score in everything] == [1.0, 0.0]
    # Precision is lesion over head, boxed and in the own grid.
    ill = volumes[0]
    own = ill.to_own_grid(torch.ones(ill.image.shape)) >= 0.5
    assert everything[0].precision == pytest.approx((ill.truth >= 128).sum() / own.sum())


def test_testing_twice_gives_the_same_scores_and_leaves_the_weights(
    run_config: dict[str, Any], volumes: list[Volume]
) -> None:
    options = Settings.from_run_config(run_config)
    weights = initial_weights(options.network, 3)
    before = {name: value.clone() for name, value in weights.items()}
    assert evaluate(weights, volumes, options, CPU) == evaluate(weights, volumes, options, CPU)
    assert all(torch.equal(weights[name], before[name]) for name in before)

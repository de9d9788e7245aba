"""Testing: whole volumes of any shape, and scores in each image's own grid."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from client.data.preprocessing import Volume, prepare
from client.evaluation.inference import (
    COMPARING,
    MOST_WINDOWS,
    WINDOWS,
    comparing,
    evaluate,
    segment,
    windows_at_once,
)
from shared.config.settings import Settings
from shared.cores import cores_here
from shared.model.network import initial_weights
from tests.support.datasets import grid, patient, write_case
from tests.support.examples import examples

CPU = torch.device("cpu")

# Whole volumes


class Fake(torch.nn.Module):
    """A network that gives the image back, or the same score everywhere."""

    def __init__(self, activation: str, score: float | None = None) -> None:
        super().__init__()
        self.settings: Any = SimpleNamespace(activation=activation, norm="instance", features=2)
        self.score = score

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[1:] == (1, 16, 16, 16)
        return image if self.score is None else torch.full_like(image, self.score)


shapes = st.tuples(*[st.integers(1, 37)] * 3)


@examples(0.15)
@given(shapes, st.sampled_from([0.0, 0.25, 0.5]))
def test_a_constant_network_segments_every_shape_constantly(shape: tuple[int, int, int], window_overlap: float) -> None:
    soft = segment(Fake("sigmoid", 1.0), torch.randn(shape), 16, window_overlap)  # type: ignore[arg-type]
    assert soft.shape == shape
    torch.testing.assert_close(soft, torch.full(shape, 1.0).sigmoid())


@examples(0.15)
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
    return [prepare(write_case(tmp_path / name, *pair, affine), 3.0, allow_empty=True) for name, pair in pairs.items()]


def biased(settings: Settings, by: float) -> dict[str, Tensor]:
    """Weights of a network that gives one score everywhere: all zero but the last bias."""
    weights = {name: value * 0 for name, value in initial_weights(settings.network, 0).items()}
    *_, last = (name for name in weights if name.endswith("bias"))
    return weights | {last: torch.full_like(weights[last], by)}


def test_each_volume_is_scored_in_its_own_grid(run_config: dict[str, Any], volumes: list[Volume]) -> None:
    options = Settings.from_run_config(run_config | {"patch-size": 16, "exemplar-mm": 96.0})
    nothing = evaluate(biased(options, -9.0), volumes, options, CPU)
    missed, right = nothing
    assert (missed.dice, missed.recall, missed.lesion_f1) == (0, 0, 0)
    assert missed.soft_dice == pytest.approx(0, abs=0.01)
    assert (right.dice, right.soft_dice, right.lesion_f1, right.hd95_mm) == (1, 0, 1, 0)
    # The lesion's 1.4 ml, and the diagonal of a field of view of 48 mm.
    assert missed.volume_difference_ml == pytest.approx(1.44, rel=0.1)
    assert missed.hd95_mm == pytest.approx(48 * 3**0.5)
    everything = evaluate(biased(options, 9.0), volumes, options, CPU)
    assert [score.recall for score in everything] == [1.0, 0.0]
    # Precision is lesion over head, boxed and in the own grid.
    ill = volumes[0]
    own = ill.to_own_grid(torch.ones(ill.image.shape)).numpy() >= 0.5
    assert everything[0].precision == pytest.approx((ill.truth >= 128).sum() / own.sum())


def test_testing_twice_gives_the_same_scores_and_leaves_the_weights(
    run_config: dict[str, Any], volumes: list[Volume]
) -> None:
    options = Settings.from_run_config(run_config)
    weights = initial_weights(options.network, 3)
    before = {name: value.clone() for name, value in weights.items()}
    assert evaluate(weights, volumes, options, CPU) == evaluate(weights, volumes, options, CPU)
    assert all(torch.equal(weights[name], before[name]) for name in before)


def test_scores_come_in_the_order_of_the_volumes_and_of_as_many_as_there_are(
    run_config: dict[str, Any], volumes: list[Volume]
) -> None:
    options = Settings.from_run_config(run_config | {"patch-size": 16, "exemplar-mm": 96.0})
    one, other = evaluate(biased(options, -9.0), volumes, options, CPU)
    many = evaluate(biased(options, -9.0), volumes * 4, options, CPU)
    assert many == [one, other] * 4


def test_more_volumes_than_may_wait_are_scored_in_order(
    run_config: dict[str, Any], volumes: list[Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.evaluation.inference.comparing", lambda device: 1)
    options = Settings.from_run_config(run_config | {"patch-size": 16, "exemplar-mm": 96.0})
    one, other = evaluate(biased(options, -9.0), volumes, options, CPU)
    assert evaluate(biased(options, -9.0), volumes * 4, options, CPU) == [one, other] * 4


@pytest.mark.parametrize(("free_gib", "windows"), [(80, MOST_WINDOWS), (4, 16), (0.1, 1)])
def test_as_many_windows_go_through_a_gpu_at_once_as_half_of_its_free_memory_holds(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, windows: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_gib * 2**30, 80 * 2**30))
    assert windows_at_once(32, 64, torch.device("cuda")) == windows
    assert windows_at_once(32, 64, CPU) == WINDOWS


def test_a_gpu_has_a_comparison_for_each_core_and_a_cpu_few() -> None:
    assert comparing(torch.device("cuda")) == max(COMPARING, cores_here())
    assert comparing(CPU) == COMPARING


def test_what_goes_wrong_in_a_comparison_is_raised(
    run_config: dict[str, Any], volumes: list[Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ArithmeticError("no score")

    monkeypatch.setattr("client.evaluation.inference.score", fail)
    options = Settings.from_run_config(run_config)
    with pytest.raises(ArithmeticError, match="no score"):
        evaluate(initial_weights(options.network, 0), volumes, options, CPU)

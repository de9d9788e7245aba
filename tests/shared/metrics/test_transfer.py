"""Transfer metrics: values worked out by hand, the authors' own matrices, and laws that must hold."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared.metrics.transfer import (
    FloatArray,
    accuracy,
    backward_transfer,
    backward_transfer_of_learnt,
    backward_transfer_over_k,
    backward_transfer_per_center,
    collapsed_stages,
    forgetting,
    intransigence,
    intransigence_per_center,
    learning_accuracy,
    own_scores,
)
from tests.conftest import ROOT

NAN = float("nan")
R = [[0.50, 0.30, 0.10], [0.40, 0.60, 0.25], [0.45, 0.50, 0.70]]

matrices = st.integers(2, 6).flatmap(lambda k: arrays(np.float64, (k, k), elements=st.floats(0, 1)))
shifts = st.floats(-1, 1)


def near(value: object) -> object:
    return pytest.approx(value, abs=1e-9)


def test_values_worked_out_by_hand() -> None:
    assert accuracy(R) == near((0.45 + 0.50 + 0.70) / 3)
    assert learning_accuracy(R) == near((0.50 + 0.60 + 0.70) / 3)
    assert backward_transfer_per_center(R) == near([-0.05, -0.10])
    assert backward_transfer(R) == near(-0.075)
    assert backward_transfer_over_k(R) == near(-0.05)
    assert forgetting(R) == near(0.075)


def test_forgetting_counts_from_the_best_earlier_score_wherever_it_was() -> None:
    assert forgetting([[0.5, 0.8, 0.0], [0.7, 0.6, 0.0], [0.4, 0.5, 0.9]]) == near((0.3 + 0.3) / 2)
    assert forgetting([[0.5, 0.2, 0.0], [0.5, 0.6, 0.0], [0.9, 0.8, 0.9]]) == near((-0.4 - 0.2) / 2)


@pytest.mark.parametrize(
    ("seed", "replay", "finetune"),
    [("12345", 0.069, -0.146), ("4242", 0.031, -0.117), ("1113", 0.059, -0.104), ("9", 0.087, -0.001)],
)
def test_the_authors_matrices_give_the_paper_s_transfer(
    published_matrices: Path, seed: str, replay: float, finetune: float
) -> None:
    published = json.loads(published_matrices.read_text())[seed]
    assert round(backward_transfer(published["replay"]), 3) == replay
    assert round(backward_transfer(published["finetune"]), 3) == finetune


@given(st.integers(2, 6), st.floats(0, 1))
def test_a_constant_matrix_transfers_nothing(k: int, score: float) -> None:
    matrix = np.full((k, k), score)
    assert backward_transfer(matrix) == 0
    assert backward_transfer_over_k(matrix) == 0
    assert forgetting(matrix) == 0
    assert accuracy(matrix) == near(score)
    assert learning_accuracy(matrix) == near(score)


@given(matrices, shifts)
def test_learning_more_at_the_own_stage_alone_is_that_much_forgotten(matrix: FloatArray, shift: float) -> None:
    k = len(matrix)
    better = matrix + shift * np.eye(k)
    assert backward_transfer(better) == near(backward_transfer(matrix) - shift)
    assert learning_accuracy(better) == near(learning_accuracy(matrix) + shift)
    assert accuracy(better) == near(accuracy(matrix) + shift / k)


@given(matrices, shifts)
def test_a_shift_of_all_scores_is_no_transfer(matrix: FloatArray, shift: float) -> None:
    assert backward_transfer(matrix + shift) == near(backward_transfer(matrix))
    assert forgetting(matrix + shift) == near(forgetting(matrix))
    assert accuracy(matrix + shift) == near(accuracy(matrix) + shift)
    assert learning_accuracy(matrix + shift) == near(learning_accuracy(matrix) + shift)


@given(matrices)
def test_the_code_s_transfer_is_the_paper_s_with_the_zero_term_counted(matrix: FloatArray) -> None:
    k = len(matrix)
    assert backward_transfer_over_k(matrix) == near(backward_transfer(matrix) * (k - 1) / k)
    assert backward_transfer_per_center(matrix).shape == (k - 1,)


@given(matrices)
def test_forgetting_is_at_least_the_loss_since_the_own_stage(matrix: FloatArray) -> None:
    # The own stage of a center before the last is one of the earlier stages whose best counts.
    assert forgetting(matrix) >= -backward_transfer(matrix) - 1e-12


@given(arrays(np.float64, (2, 2), elements=st.floats(0, 1)))
def test_with_two_centers_forgetting_is_backward_transfer_reversed(matrix: FloatArray) -> None:
    assert forgetting(matrix) == near(-backward_transfer(matrix))


@given(matrices, st.randoms(use_true_random=False))
def test_the_names_of_the_earlier_centers_do_not_matter(matrix: FloatArray, random) -> None:  # type: ignore[no-untyped-def]
    k = len(matrix)
    earlier = list(range(k - 1))
    random.shuffle(earlier)
    order = [*earlier, k - 1]
    renamed = matrix[np.ix_(order, order)]
    for metric in (accuracy, backward_transfer, backward_transfer_over_k, forgetting, learning_accuracy):
        assert metric(renamed) == near(metric(matrix))


@given(matrices, st.data())
def test_only_the_diagonal_and_the_last_row_make_backward_transfer(matrix: FloatArray, data: st.DataObject) -> None:
    other = data.draw(arrays(np.float64, matrix.shape, elements=st.floats(0, 1)))
    other[-1] = matrix[-1]
    np.fill_diagonal(other, np.diagonal(matrix))
    assert backward_transfer(other) == near(backward_transfer(matrix))
    assert accuracy(other) == near(accuracy(matrix))


@pytest.mark.parametrize("missing", [NAN, None])
def test_a_missing_cell_takes_its_pair_out_of_the_mean(missing: float | None) -> None:
    matrix = [[missing, 0.30, 0.10], [0.40, 0.60, missing], [0.45, 0.50, 0.70]]
    assert backward_transfer(matrix) == near(-0.10)
    assert learning_accuracy(matrix) == near(0.65)
    assert forgetting(matrix) == near(((0.40 - 0.45) + (0.60 - 0.50)) / 2)
    assert accuracy(matrix) == near(0.55)
    per_center = backward_transfer_per_center(matrix)
    assert math.isnan(per_center[0])
    assert per_center[1] == near(-0.10)


def test_where_every_pair_is_missing_there_is_no_number() -> None:
    matrix = [[NAN, 0.3], [NAN, NAN]]
    assert all(map(math.isnan, (accuracy(matrix), learning_accuracy(matrix), backward_transfer(matrix))))
    assert math.isnan(forgetting(matrix))
    assert forgetting([[NAN, 0.3, 0.1], [NAN, 0.6, 0.1], [0.5, 0.5, 0.5]]) == near(0.1)


def test_one_center_has_learnt_but_transferred_nothing() -> None:
    assert accuracy([[0.7]]) == learning_accuracy([[0.7]]) == 0.7
    assert backward_transfer_per_center([[0.7]]).shape == (0,)
    for value in (backward_transfer([[0.7]]), backward_transfer_over_k([[0.7]]), forgetting([[0.7]])):
        assert math.isnan(value)


def test_intransigence_by_hand() -> None:
    pooled = [0.55, 0.60, 0.60]
    assert intransigence_per_center(R, pooled) == near([0.05, 0.0, -0.10])
    assert intransigence(R, pooled) == near(-0.05 / 3)
    assert intransigence(R, [None, 0.60, 0.60]) == near(-0.05)
    assert math.isnan(intransigence([[NAN]], [0.5]))
    with pytest.raises(ValueError, match=r"have shape \(2,\), but must be \(3,\)"):
        intransigence(R, [0.5, 0.5])


@given(matrices)
def test_what_pooled_training_has_above_the_diagonal_is_intransigence(matrix: FloatArray) -> None:
    pooled = matrix[-1]
    assert intransigence(matrix, pooled) == near(accuracy(matrix) - learning_accuracy(matrix))


def test_a_stage_collapsed_where_its_model_finds_nothing_at_any_tested_center() -> None:
    assert collapsed_stages(R) == []
    assert collapsed_stages([[0.5, 0.1], [0.0, 0.09]]) == [1]
    assert collapsed_stages([[0.5, 0.1], [0.0, 0.1]]) == []
    assert collapsed_stages([[0.0, None, 0.01], [None, 0.0, None], [NAN, NAN, NAN]]) == [0], "one score does not tell"
    assert collapsed_stages([[0.02, 0.01]]) == [0]


@pytest.mark.parametrize("wrong", [[], [[]], [0.5, 0.5], [[0.5, 0.5]], [[0.5], [0.5]], [[[0.5]]]])
def test_a_matrix_that_is_not_square_is_refused(wrong: list[object]) -> None:
    for metric in (accuracy, backward_transfer, backward_transfer_over_k, forgetting, learning_accuracy):
        with pytest.raises(ValueError, match="K x K"):
            metric(wrong)


ORACLE = json.loads((ROOT / "tests" / "oracles" / "avalanche_transfer.json").read_text())["matrices"]


@pytest.mark.parametrize("case", ORACLE, ids=[f"{case['kind']}-{len(case['R'])}" for case in ORACLE])
def test_values_are_those_of_avalanche(case: dict[str, object]) -> None:
    r = np.array(case["R"])
    assert accuracy(r) == near(case["acc"])
    assert backward_transfer(r) == near(case["bwt"])
    assert backward_transfer_per_center(r) == near(case["bwt_per_center"])


def test_forgetting_is_avalanche_s_where_the_own_visit_is_the_best_and_else_no_less() -> None:
    """Chaudhry et al. take the best earlier score, Avalanche the one of the own visit."""
    peaked = [case for case in ORACLE if case["kind"] == "peaked"]
    assert len(peaked) == 5
    for case in peaked:
        assert forgetting(case["R"]) == near(case["forgetting"])
    for case in ORACLE:
        assert forgetting(case["R"]) >= case["forgetting"] - 1e-9


def test_what_was_never_learnt_counts_in_no_backward_transfer() -> None:
    r = [[0.05, 0.5, 0.2], [0.0, 0.6, 0.1], [0.3, 0.5, 0.7]]
    assert list(own_scores(r)) == [0.05, 0.6, 0.7]
    assert backward_transfer(r) == pytest.approx((0.25 - 0.1) / 2)
    assert backward_transfer_of_learnt(r) == pytest.approx(-0.1)
    assert math.isnan(backward_transfer_of_learnt([[0.05, 0.5], [0.3, 0.6]]))
    assert list(own_scores([[0.5, 0.05, 0.7]])) == [0.5, 0.05, 0.7], "one row, where all train at once"


def test_a_center_that_could_not_be_tested_is_not_called_unlearnt() -> None:
    r = [[None, 0.5], [0.3, 0.6]]
    assert math.isnan(own_scores(r)[0]) and math.isnan(backward_transfer_of_learnt(r))

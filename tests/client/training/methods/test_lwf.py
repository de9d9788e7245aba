"""Learning without Forgetting: how far two answers are apart, and that the student is drawn to the teacher's."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.losses.dice import DiceLoss

from client.training.losses import distance
from client.training.methods.lwf import LwF
from shared.config.settings import Settings
from shared.model.network import initial_weights, network_with, scores_of
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainRequest
from tests.support.examples import examples
from tests.support.paper import batch_of, on_paper, voxels

CPU = torch.device("cpu")


def penalty(teacher: Any, student: Any, images: torch.Tensor, weight: float = 1.0) -> torch.Tensor:
    cost = LwF(teacher, weight).penalty(student, batch_of(images), student(images))
    assert cost is not None
    return cost


def test_the_distance_by_hand() -> None:
    """(0.75 - 0.5)^2 twice, over 0.75^2 and 0.5^2 twice and 1."""
    assert distance(voxels(0.75, 0.75), voxels(0.5, 0.5)).item() == pytest.approx(0.125 / (1.125 + 0.5 + 1), rel=1e-5)


def test_by_hand_for_sigmoid() -> None:
    """Scores 0 are answers of 0.5, scores log 3 are answers of 0.75; the weight is 2."""
    student = on_paper(0, math.log(3))
    assert penalty(on_paper(0, 0), student, voxels(1, 5), 2.0).item() == pytest.approx(2 / 21, rel=1e-5)


def test_by_hand_for_normalised_relu() -> None:
    """Scores (1, 2) are answers (0.5, 1), scores (2, 2) are (1, 1)."""
    teacher, student = (on_paper(gain, bias, "normalised-relu") for gain, bias in ((1, 0), (0, 2)))
    assert penalty(teacher, student, voxels(1, 2)).item() == pytest.approx(0.25 / (1.25 + 2 + 1), rel=1e-5)


@examples(0.5)
@given(seed=st.integers(0, 2**31), share=st.floats(0, 1))
def test_between_answers_of_0_and_1_it_is_the_dice_loss_of_the_training(seed: int, share: float) -> None:
    """Over the batch as a whole, smoothed by 1."""
    random = torch.Generator().manual_seed(seed)
    one, other = ((torch.rand(2, 1, 4, 4, 4, generator=random) < share).float() for _ in range(2))
    dice = DiceLoss(batch=True, smooth_nr=1.0, smooth_dr=1.0)
    assert distance(one, other).item() == pytest.approx(dice(one, other).item(), abs=1e-6)


@examples(0.5)
@given(seed=st.integers(0, 2**31))
def test_it_is_zero_for_equal_soft_answers_and_for_no_others(seed: int) -> None:
    """The training's loss is not zero where two soft answers agree: it would draw the student away from its teacher."""
    random = torch.Generator().manual_seed(seed)
    one, other = (torch.rand(2, 1, 3, 3, 3, generator=random) for _ in range(2))
    assert distance(one, one) == 0
    assert 0 < distance(one, other) < 1
    assert distance(one, other).item() == pytest.approx(distance(other, one).item(), abs=1e-6)
    assert DiceLoss(batch=True)(one, one) > 0.1


@examples(0.5)
@given(seed=st.integers(0, 2**31))
def test_it_is_the_formula_that_its_module_gives(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    one, other = (torch.rand(2, 1, 3, 3, 3, generator=random).double() for _ in range(2))
    expected = (one - other).square().sum() / (one.square().sum() + other.square().sum() + 1)
    assert distance(one, other).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(("bias", "direction"), [(1.0, 1.0), (-1.0, -1.0)])
def test_a_step_down_leads_towards_the_teacher(bias: float, direction: float) -> None:
    student = on_paper(0, bias)
    penalty(on_paper(0, 0), student, voxels(1, 2)).backward()  # type: ignore[no-untyped-call]
    assert math.copysign(1, student.bias.grad.item()) == direction


def test_at_the_teacher_there_is_no_penalty_and_no_pull() -> None:
    teacher, student = on_paper(0.3, -1), on_paper(0.3, -1)
    loss = penalty(teacher, student, voxels(1, 2, 3))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert (student.gain.grad.item(), student.bias.grad.item()) == pytest.approx((0, 0), abs=1e-7)
    assert teacher.gain.grad is None, "the teacher learns nothing"


@pytest.mark.parametrize("activation", ["sigmoid", "normalised-relu"])
def test_the_teacher_is_the_model_that_came_and_stays_it(run_config: dict[str, Any], activation: str) -> None:
    settings = Settings.from_run_config(
        run_config | {"activation": activation, "loss": "dice", "distillation-weight": 3.0}
    )
    weights = initial_weights(settings.network, 5)
    request = TrainRequest(TrainTask(run="0" * 32, stage=1, center="amu", contribute=False), weights, ())
    hold = LwF.begin(request, settings, CPU)
    student = network_with(weights, settings.network, CPU).train()
    images = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))

    def cost(hold: LwF) -> float:
        penalty = hold.penalty(student, batch_of(images), scores_of(student, images))
        assert penalty is not None
        return penalty.item()

    assert cost(hold) == 0
    with torch.no_grad():
        student.head.weight += 1.0
    assert cost(hold) > 0
    assert cost(hold) == pytest.approx(3 * cost(LwF(hold.teacher, 1.0)))
    assert hold.teacher is not None
    assert all(torch.equal(value, weights[name]) for name, value in hold.teacher.state_dict().items())


def test_at_the_first_center_there_is_no_teacher(run_config: dict[str, Any]) -> None:
    settings = Settings.from_run_config(run_config)
    task = TrainTask(run="0" * 32, stage=0, center="amu", contribute=False)
    hold = LwF.begin(TrainRequest(task, initial_weights(settings.network, 5), ()), settings, CPU)
    assert hold.penalty(on_paper(0, 0), batch_of(voxels(1)), voxels(1)) is None

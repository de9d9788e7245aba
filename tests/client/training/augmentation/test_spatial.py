"""Moving: known turns and scalings, an elastic field that folds nothing, labels that stay on their images."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from client.training.augmentation.draws import ELASTIC, ELASTIC_SPANS, MATRIX, Parameters, rotations
from client.training.augmentation.spatial import displacements, moved, places
from tests.client.training.augmentation.test_intensity import parameters

SIZE, MARGIN = 16, 4


def by(matrix: Tensor) -> Parameters:
    return parameters(**{name: float(value) for name, value in zip(MATRIX, matrix.flatten(), strict=True)})


def patches(channels: int = 1) -> Tensor:
    return torch.rand(1, channels, *(SIZE + 2 * MARGIN,) * 3, generator=torch.Generator().manual_seed(0))


def middle(larger: Tensor) -> Tensor:
    inner = slice(MARGIN, MARGIN + SIZE)
    return larger[..., inner, inner, inner]


def test_the_identity_is_the_middle() -> None:
    torch.testing.assert_close(moved(patches(2), parameters(), SIZE), middle(patches(2)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("axis", range(3))
def test_a_quarter_turn_is_that_of_pytorch(axis: int) -> None:
    angles = np.zeros((3, 1))
    angles[axis] = math.pi / 2
    turned = moved(patches(), by(torch.from_numpy(rotations(angles))[0]), SIZE)
    plane = [2 + (axis + 1) % 3, 2 + (axis + 2) % 3]
    torch.testing.assert_close(turned, torch.rot90(middle(patches()), -1, plane), atol=1e-5, rtol=0)


def test_a_shift_of_axes_takes_each_axis_for_what_it_is() -> None:
    """The first axis is looked up along the third, the second along the first, the third along the second."""
    matrix = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    got = moved(patches(), by(matrix), SIZE)
    torch.testing.assert_close(got, middle(patches()).permute(0, 1, 4, 2, 3), atol=1e-5, rtol=0)


def test_a_scale_below_1_makes_things_larger() -> None:
    """A ramp along the second axis rises half as steeply, about the same middle."""
    ramp = torch.arange(float(SIZE + 2 * MARGIN)).view(1, 1, 1, -1, 1).expand_as(patches())
    got = moved(ramp, by(torch.eye(3) * 0.5), SIZE)[0, 0, 3, :, 5]
    expected = (torch.arange(float(SIZE)) - (SIZE - 1) / 2) * 0.5 + (SIZE + 2 * MARGIN - 1) / 2
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_angles_turn_about_their_axes_one_after_another() -> None:
    one = rotations(np.array([[0.3], [0.2], [-0.4]]))[0]
    np.testing.assert_allclose(one @ one.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(one) == pytest.approx(1)
    about = [
        rotations(np.array([[angle * (k == axis)] for k in range(3)]))[0] for axis, angle in enumerate((0.3, 0.2, -0.4))
    ]
    np.testing.assert_allclose(one, about[2] @ about[1] @ about[0], atol=1e-12)


def test_the_elastic_field_folds_nothing_and_moves_within_its_bound() -> None:
    drawn = parameters(32, elastic=1.0)
    field = displacements(drawn, SIZE)
    assert 0 < field.abs().max() <= ELASTIC * SIZE / ELASTIC_SPANS
    assert not torch.equal(field[0], field[1]) and not torch.equal(field[0, 0], field[0, 1])
    at = places(drawn, SIZE)
    steps = [at.diff(dim=1 + axis)[:, : SIZE - 1, : SIZE - 1, : SIZE - 1] for axis in range(3)]
    jacobian = torch.linalg.det(torch.stack(steps, -1))
    assert jacobian.min() > 0 and jacobian.std() > 0.02


def test_all_channels_are_moved_alike() -> None:
    one = patches()
    twice = moved(torch.cat([one, one], 1), parameters(elastic=1.0), SIZE)
    assert torch.equal(twice[:, 0], twice[:, 1])
    assert not torch.allclose(twice[:, :1], middle(one), atol=1e-2)

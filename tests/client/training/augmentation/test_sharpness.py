"""Blur and thick slices as matrices: their rows, known values, and what they leave as it is."""

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from client.training.augmentation.sharpness import blurring, sharpness, slicing
from tests.client.training.augmentation.test_intensity import AIR, head, parameters

DEVIATIONS = torch.tensor([0.0, 0.5, 1.0])


def test_the_weights_of_each_row_sum_to_1() -> None:
    thick, phase = torch.rand(50) * 3 + 1, torch.rand(50)
    for matrix in (blurring(16, DEVIATIONS), slicing(16, thick, phase)):
        torch.testing.assert_close(matrix.sum(-1), torch.ones(matrix.shape[:2]))
        assert matrix.min() >= 0


def test_no_blur_and_slices_as_thick_as_voxels_are_the_identity() -> None:
    assert torch.equal(blurring(8, torch.zeros(1))[0], torch.eye(8))
    assert torch.equal(slicing(8, torch.ones(1), torch.zeros(1))[0], torch.eye(8))
    before = head()
    assert torch.equal(sharpness(before, parameters(2)), before)


def test_a_row_of_the_blur_is_a_gaussian() -> None:
    weights = [math.exp(-(k**2) / 2) for k in range(-8, 8)]
    expected = [weight / sum(weights) for weight in weights]
    assert blurring(16, torch.ones(1))[0, 8].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_blurred_patch_is_scipy_s() -> None:
    before = head(1, 24)
    got = sharpness(before, parameters(blur=1.0))[0, 6:18, 6:18, 6:18]  # away from faces, which are treated otherwise
    expected = gaussian_filter(before[0].numpy(), 1.0, truncate=6)[6:18, 6:18, 6:18]
    torch.testing.assert_close(got, torch.from_numpy(expected), atol=1e-4, rtol=0)


def test_slices_of_two_voxels_are_known_values() -> None:
    """Slices at -2, 0, 2, 4: voxel 1 lies half way between those about 0 and 2."""
    matrix = slicing(5, torch.tensor([2.0]), torch.zeros(1))[0]
    deviation = math.sqrt(3) / (2 * math.sqrt(2 * math.log(2)))

    def slice_about(at: int) -> torch.Tensor:
        weights = torch.exp(-((torch.arange(5.0) - at) ** 2) / (2 * deviation**2))
        return weights / weights.sum()

    torch.testing.assert_close(matrix[2], slice_about(2))
    torch.testing.assert_close(matrix[1], (slice_about(0) + slice_about(2)) / 2)


@pytest.mark.parametrize("axis", range(3))
def test_thick_slices_lie_across_one_axis_and_leave_the_others_sharp(axis: int) -> None:
    before = head(1)
    after = sharpness(before, parameters(thick=4.0, phase=0.3, axis=axis))
    matrix = slicing(16, torch.tensor([4.0]), torch.tensor([0.3]))[0]
    expected = torch.tensordot(matrix, before[0], dims=([1], [axis])).movedim(0, axis)
    torch.testing.assert_close(after[0], expected, atol=1e-5, rtol=0)


def test_an_even_patch_stays_even() -> None:
    air = torch.full((1, 16, 16, 16), AIR)
    after = sharpness(air, parameters(blur=0.8, thick=3.3, phase=0.6, axis=1.0))
    torch.testing.assert_close(after, air, atol=1e-5, rtol=0)

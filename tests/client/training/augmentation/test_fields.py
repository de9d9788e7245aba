"""Noise and smooth fields: the same from the same seed, and of the distribution that they claim."""

import pytest
import torch

from client.training.augmentation.fields import along_axes, bspline, grown, hashed, normals, uniforms

SEEDS = torch.tensor([0.0, 1.0, 2.0**24 - 1])


def test_the_hash_is_the_one_that_was_published() -> None:
    """By hand from Wellons' lowbias32: 1 -> 1 * 0x7feb352d -> ^ >> 15 -> * 0x846ca68b -> ^ >> 16."""
    value = 0x7FEB352D
    value ^= value >> 15
    value = value * 0x846CA68B & 0xFFFFFFFF
    value ^= value >> 16
    assert hashed(torch.tensor([0, 1])).tolist() == [0, value]
    whole = hashed(torch.arange(2**16))
    assert len(whole.unique()) == 2**16 and whole.min() >= 0 and whole.max() < 2**32


def test_noise_follows_from_its_seed_and_stream_alone() -> None:
    there = normals(SEEDS, 0, 1000)
    assert torch.equal(there, normals(SEEDS, 0, 1000))
    assert torch.equal(there[1:2], normals(SEEDS[1:2], 0, 1000)), "whatever lies beside it in a batch"
    assert not torch.equal(there, normals(SEEDS, 1, 1000))
    pairs = torch.corrcoef(torch.cat([there, normals(SEEDS, 1, 1000)]))
    assert (pairs - torch.eye(6)).abs().max() < 0.12, "3.8 deviations of what 1000 independent pairs have"


def test_normals_have_the_moments_of_the_normal_distribution() -> None:
    drawn = normals(SEEDS, 0, 2**18).double()
    assert drawn.mean().abs() < 0.005 and (drawn.square().mean() - 1).abs() < 0.01
    assert (drawn**3).mean().abs() < 0.02 and ((drawn**4).mean() - 3).abs() < 0.05
    assert (drawn.abs() > 1.96).double().mean() == pytest.approx(0.05, abs=0.002)
    assert drawn.isfinite().all() and 4 < drawn.abs().max() < 4.9
    next_to = (drawn[:, 1:] * drawn[:, :-1]).mean(1)
    assert next_to.abs().max() < 0.01, "neighbours have nothing to do with each other"


def test_uniforms_are_even() -> None:
    drawn = uniforms(SEEDS, 2, 2**16)
    assert drawn.min() >= 0 and drawn.max() < 1
    counts = torch.histc(drawn, 16, 0, 1)
    assert (counts / counts.sum() - 1 / 16).abs().max() < 0.002


def test_a_spline_is_a_partition_of_one_and_reproduces_a_line() -> None:
    for size, spans in ((16, 1), (32, 3), (24, 5)):
        matrix = bspline(size, spans, SEEDS.device)
        assert matrix.shape == (size, spans + 3)
        torch.testing.assert_close(matrix.sum(1), torch.ones(size))
        line = matrix @ torch.arange(-1.0, spans + 2)
        torch.testing.assert_close(line, (torch.arange(size) + 0.5) * spans / size, atol=1e-5, rtol=0)


def test_a_spline_s_value_at_a_knot_is_that_of_the_formula() -> None:
    """(1, 4, 1) / 6 of the three coefficients about it; three voxels over three spans have their knots between."""
    assert bspline(1, 2, SEEDS.device).tolist()[0] == pytest.approx([0, 1 / 6, 4 / 6, 1 / 6, 0], abs=1e-6)


def test_a_matrix_goes_along_its_axis() -> None:
    values = torch.randn(2, 3, 4, 5)
    first, second, third = torch.randn(2, 6, 3), torch.randn(7, 4), torch.randn(2, 8, 5)
    got = along_axes(values, first, second, third)
    torch.testing.assert_close(got, torch.einsum("bai,cj,bdk,bijk->bacd", first, second, third, values))


def test_equal_coefficients_give_an_even_field() -> None:
    torch.testing.assert_close(grown(torch.full((2, 4, 4, 4), 3.0), 16), torch.full((2, 16, 16, 16), 3.0))

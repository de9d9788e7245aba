"""The way from the prepared grid to an image's own: MONAI's, in fewer steps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import SpatialResample
from numpy.typing import NDArray

from client.data import resampling
from client.data.preprocessing import prepare
from client.data.resampling import to_grid
from tests.support.datasets import PLAIN, TALL, patient_case
from tests.support.examples import examples


def by_monai(values: torch.Tensor, affine: NDArray, onto: NDArray, shape: tuple[int, ...]) -> torch.Tensor:
    there = SpatialResample(mode="bilinear", padding_mode="zeros", align_corners=True)(
        MetaTensor(values[None], affine=torch.from_numpy(affine)), dst_affine=torch.from_numpy(onto), spatial_size=shape
    )
    return torch.as_tensor(there)[0].float()


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SLA"])
@pytest.mark.parametrize("tilt", [0.0, 12.0])
@pytest.mark.parametrize(("voxel", "spacing"), [(PLAIN, 2.0), (TALL, 2.0), ((2.0, 1.0, 2.0), 1.0), ((2.0,) * 3, 2.0)])
def test_the_way_back_is_monai_s(
    tmp_path: Path, voxel: tuple[float, float, float], spacing: float, axcodes: str, tilt: float
) -> None:
    volume = prepare(patient_case(tmp_path, voxel, axcodes, tilt), spacing)
    soft = torch.rand(volume.image.shape, generator=torch.Generator().manual_seed(0))
    grid = volume.affine, volume.own_affine, volume.truth.shape
    made, expected = to_grid(soft, *grid), by_monai(soft, *grid)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-7)
    assert torch.equal(made >= 0.5, expected >= 0.5)


def test_straight_axes_do_not_take_the_general_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("resampled in general")

    volume = prepare(patient_case(tmp_path, TALL, "SLA"), 2.0)
    monkeypatch.setattr(resampling, "_oblique", fail)
    assert volume.to_own_grid(torch.ones(volume.image.shape)).shape == volume.truth.shape


edges = st.tuples(*[st.integers(2, 7)] * 3)


@examples(0.5)
@given(
    edges,
    edges,
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-2.0, -1.0, 0.4, 1.0, 1.5])] * 3),
    st.tuples(*[st.sampled_from([-3.0, 0.0, 0.25, 2.0, 5.0, 40.0])] * 3),
)
def test_every_straight_way_is_monai_s(
    shape: tuple[int, ...], there: tuple[int, ...], order: list[int], steps: tuple[float, ...], start: tuple[float, ...]
) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    affine, way = np.diag([1.0, 2.0, 0.5, 1.0]), np.eye(4)
    way[:3, :3] = np.diag(steps)[order]
    way[:3, 3] = start
    torch.testing.assert_close(
        to_grid(values, affine, affine @ way, there), by_monai(values, affine, affine @ way, there), rtol=0, atol=2e-7
    )


def test_an_equal_grid_gives_the_values_back() -> None:
    values, affine = torch.rand(4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0])
    assert torch.equal(to_grid(values, affine, affine + 1e-6, (4, 5, 6)), values)


def test_a_part_of_the_grid_is_cut_out_as_it_is() -> None:
    values, affine, onto = torch.rand(6, 7, 8), np.eye(4), np.diag([1.0, -1.0, 1.0, 1.0])
    onto[:3, 3] = (2, 5, 3)
    assert torch.equal(to_grid(values, affine, onto, (3, 4, 5)), values[2:5, 2:6, 3:].flip(1))

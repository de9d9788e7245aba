"""What was made quicker in the phantoms is to the bit what the plain way gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nilearn import datasets
from numpy.typing import NDArray
from scipy import ndimage

from shared.phantoms.anatomy import ORIGIN, Anatomy, _in_brain
from shared.phantoms.atlas import BRAIN, _on_field, tissue_maps
from shared.phantoms.grids import CACHED, FIELD_ORIGIN, FIELD_SIZE, Array, Grid, interpolate, mix
from shared.phantoms.scanner import SLAB, _slabs
from shared.seeds import generator
from tests.support.examples import examples


def plain_mix(values: Array, axis: int, first: NDArray[np.intp], weights: Array) -> Array:
    shape = [1] * values.ndim
    shape[axis] = -1
    mixed = np.zeros((), dtype=np.float32)
    for knot, weight in enumerate(weights.astype(np.float32)):
        mixed = mixed + np.take(values, first + knot, axis=axis) * weight.reshape(shape)
    return mixed


@examples(0.3)
@given(st.integers(0, 99), st.integers(-3, 2), st.sampled_from([2, 4]), st.sampled_from([3, CACHED // 40]))
def test_fields_are_mixed_part_by_part(seed: int, axis: int, knots: int, points: int) -> None:
    random = np.random.default_rng(seed)
    values = random.standard_normal((5, 6, 7), dtype=np.float32)[:, 1:]
    first = random.integers(0, values.shape[axis] - knots + 1, points)
    weights = random.standard_normal((knots, points), dtype=np.float32)
    assert np.array_equal(mix(values, axis, first, weights), plain_mix(values, axis, first, weights))


@pytest.mark.parametrize("voxel", [(1.0, 1.0, 1.0), (2.0, 2.0, 3.0)])
def test_the_brain_is_where_interpolation_finds_it(voxel: tuple[float, float, float]) -> None:
    _, _, brain = tissue_maps(voxel)
    heads = Anatomy(generator(0, "phantom", "bwh", 1, "anatomy")).template_points(Grid.covering((3.0,) * 3).axes())
    random = np.random.default_rng(0)
    anywhere = random.uniform(-9, np.array(FIELD_SIZE) + 9, (20, 500, 3)).T.astype(np.float32)[..., None]
    anywhere[:, :, :10] = np.rint(anywhere[:, :, :10])
    for points in (heads - ORIGIN.reshape(3, 1, 1, 1), anywhere.swapaxes(1, 2)):
        for strip in (0.5, 0.8):
            expected = ndimage.map_coordinates(brain, points, order=1) > strip
            assert expected.any() and not expected.all()
            assert np.array_equal(_in_brain(points, strip, voxel), expected)


@pytest.mark.parametrize("count", [7, CACHED + 3])
def test_maps_are_read_between_their_voxels(count: int) -> None:
    random = np.random.default_rng(0)
    maps = random.standard_normal((2, 8, 9, 11), dtype=np.float32)
    points = (random.uniform(-0.3, 1.3, (3, count)) * [[7], [8], [10]]).astype(np.float32)
    for read, values in zip(interpolate(list(maps), points), maps, strict=True):
        assert np.allclose(read, ndimage.map_coordinates(values, points, order=1, mode="nearest"), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 5, 5), (7, 300, 300), (40, 150, 150), (3, 1000, 1000)])
def test_slabs_are_the_whole_once(shape: tuple[int, ...]) -> None:
    slabs = _slabs(shape)
    assert np.array_equal(np.concatenate([np.arange(shape[0])[slab] for slab in slabs]), np.arange(shape[0]))
    assert all(len(range(shape[0])[slab]) * shape[1] * shape[2] <= max(SLAB, shape[1] * shape[2]) for slab in slabs)


def test_templates_are_those_of_nilearn() -> None:
    def on_field(load: Callable[..., Any]) -> NDArray:
        image, room = load(resolution=1), 50
        start = (np.array(FIELD_ORIGIN) - image.affine[:3, 3]).astype(int) + room
        field = tuple(slice(a, a + int(n)) for a, n in zip(start, FIELD_SIZE, strict=True))
        return np.pad(np.asarray(image.dataobj), room)[field]

    assert np.array_equal(_on_field("gm"), on_field(datasets.load_mni152_gm_template))
    assert np.array_equal(_on_field("wm"), on_field(datasets.load_mni152_wm_template))
    assert np.array_equal(_on_field("t1") > BRAIN, on_field(datasets.load_mni152_brain_mask) > 0)

"""Where the head is, and what a volume becomes: the same whatever the zero, the scale and some wild voxels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.data.head import find_head
from client.data.inventory import Case
from client.data.layouts import find_cases
from client.data.nifti import read_nifti
from client.data.preprocessing import Volume, prepare
from client.data.skull_stripping import skull_share
from shared.phantoms.centers import CENTERS
from shared.phantoms.subject import make_patient
from tests.client.data.test_skull_stripping import FLAIR, T2W, head
from tests.support.datasets import grid, patient, write_case
from tests.support.examples import examples
from tests.support.oddities import in_mask, padded, z_scored

SHAPE, AFFINE = grid((1.5, 1.5, 1.5))
IMAGE, LABEL = patient(SHAPE, AFFINE)
INSIDE = IMAGE > 0


def prepared(folder: Path, image: NDArray, spacing: float = 2.0) -> Volume:
    return prepare(write_case(folder, image.astype(np.float32), LABEL, AFFINE), spacing)


def values(volume: Volume) -> NDArray[np.float64]:
    return np.asarray(volume.image, dtype=np.float64)


def difference(one: Volume, other: Volume) -> NDArray[np.float64]:
    """Of two volumes of one patient, in standard deviations of the head."""
    assert one.image.shape == other.image.shape, "the head is cropped to another box"
    np.testing.assert_allclose(one.affine, other.affine)
    return np.abs(values(one) - values(other))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    return prepared(tmp_path_factory.mktemp("clean"), IMAGE)


# The scale and the zero


@examples(0.4, fixture=True)
@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-30, 30))
def test_neither_gain_nor_offset_changes_a_volume(tmp_path: Path, clean: Volume, gain: float, offset: float) -> None:
    """The offset in spans of the image's own intensities."""
    changed = (IMAGE.astype(np.float64) + offset * float(np.ptp(IMAGE))) * gain
    volume = prepared(tmp_path, changed)
    assert difference(volume, clean).max() < 0.02
    assert volume.air == pytest.approx(clean.air, abs=0.02)


@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("tissue", [FLAIR, T2W], ids=["FLAIR", "T2w"])
@pytest.mark.parametrize("offset", [-200.0, -1024.0, 200.0])
def test_a_head_is_the_same_with_any_zero(tissue: dict[str, float], stripped: bool, offset: float) -> None:
    image, affine = head(tissue, (3.0, 3.0, 3.0), stripped)
    plain, moved = find_head(image), find_head(image + np.float32(offset))
    assert np.count_nonzero(plain.mask != moved.mask) <= 1e-4 * image.size
    assert skull_share(moved, affine) == pytest.approx(skull_share(plain, affine), abs=0.01)


FORMS: dict[str, Callable[[NDArray], NDArray]] = {
    "z-scored over all": lambda image: z_scored(image, image > -1),
    "z-scored over the brain": lambda image: z_scored(image, image > 0),
    "z-scored in its mask": in_mask,
    "air amid the brain": lambda image: np.where(image > 0, image, np.median(image[image > 0])),
    "air above the brain": lambda image: np.where(image > 0, image, image.max() + 100),
    "air far below": lambda image: np.where(image > 0, image, -32768),
    "corners of -32768": lambda image: padded(image, -32768),
    "MNI-padded": lambda image: np.pad(image, 9),
    "padded with another value": lambda image: np.pad(z_scored(image, image > -1), 9),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_air_of_one_value_is_found_wherever_that_lies(form: Callable[[NDArray], NDArray]) -> None:
    image = form(IMAGE).astype(np.float32)
    found = find_head(image).mask
    inside = np.pad(INSIDE, 9) if image.shape != IMAGE.shape else INSIDE
    assert np.count_nonzero(found != inside) <= 0.002 * np.count_nonzero(inside)


ON_ITS_GRID = {name: form for name, form in FORMS.items() if "padded" not in name}


@pytest.mark.parametrize("form", ON_ITS_GRID.values(), ids=ON_ITS_GRID)
def test_a_volume_is_nearly_the_same_in_every_form(
    tmp_path: Path, clean: Volume, form: Callable[[NDArray], NDArray]
) -> None:
    """But at the head's edge, where what a voxel has of air is of another depth."""
    away = difference(prepared(tmp_path, form(IMAGE)), clean)
    within = values(clean) > clean.air
    assert np.median(away[within]) < 0.15 and np.percentile(away[within], 80) < 0.3


def test_padding_changes_nothing(tmp_path: Path, clean: Volume) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] -= AFFINE[:3, :3] @ np.full(3, 8)
    case = write_case(tmp_path, np.pad(IMAGE - 200, 8, constant_values=-200), np.pad(LABEL, 8), affine)
    volume = prepare(case, 1.5)
    assert difference(volume, prepared(tmp_path / "plain", IMAGE, 1.5)).max() < 0.02


@pytest.mark.parametrize("sigma", [3.0, 8.0])
def test_noise_around_a_whole_head_is_air(sigma: float) -> None:
    image, _ = head(FLAIR, (3.0, 3.0, 3.0), stripped=False)
    air = image < 25
    random = np.random.default_rng(0)
    noise = np.hypot(*(random.normal(0, sigma, (2, *image.shape))))
    noisy = np.where(air, noise, image).astype(np.float32)
    for form in (noisy, noisy - 700, z_scored(noisy, noisy > -1), padded(noisy, 0), np.rint(noisy)):
        found = find_head(form.astype(np.float32))
        assert np.count_nonzero(found.mask & air) < 0.01 * np.count_nonzero(air)
        assert np.count_nonzero(~found.mask & (image > 150)) < 0.01 * np.count_nonzero(image > 150)


def test_an_image_that_is_all_brain_is_all_head() -> None:
    box = IMAGE[12:20, 12:20, 12:20]
    assert find_head(box).mask.all() and find_head(box - 1000).mask.all()


# Wild voxels


@examples(0.5, fixture=True)
@given(
    count=st.integers(1, 32),
    value=st.sampled_from([-1e6, -32768, -5000, 400, 600, 2000, 32767, 65535, 1e6]),
    seed=st.integers(0, 99),
)
def test_a_thousandth_of_wild_voxels_changes_little(
    tmp_path: Path, clean: Volume, count: int, value: float, seed: int
) -> None:
    """Wherever they lie: in the head, in air, or at the border."""
    image = IMAGE.copy()
    image.flat[np.random.default_rng(seed).permutation(IMAGE.size)[:count]] = value
    volume = prepared(tmp_path, image)
    within = values(clean) > clean.air
    lattice = np.rint((volume.affine[:3, 3] - clean.affine[:3, 3]) / 2.0).astype(int)
    box = tuple(slice(-low, -low + edge) for low, edge in zip(lattice, clean.image.shape, strict=True))
    assert (lattice <= 0).all(), "the head is cropped"
    away = np.abs(values(volume)[box] - values(clean))[within]
    assert np.median(away) < 0.15 and np.percentile(away, 95) < 0.3


def test_a_hot_voxel_becomes_its_surroundings(tmp_path: Path, clean: Volume) -> None:
    image = IMAGE.copy()
    image[20, 16, 16] = 1e5
    image[2, 2, 2] = 3e5  # in air
    volume = prepared(tmp_path, image)
    assert difference(volume, clean).max() < 0.3
    (warned,) = volume.warnings
    assert warned.code == "outliers" and "2 of up to 300000 (" in warned.text
    assert "times the head's 99.9th percentile" in warned.text


def test_small_bright_lesions_are_no_spikes() -> None:
    """Twice as bright as what is around them, and a voxel wide."""
    image, _ = patient(SHAPE, AFFINE)
    places = [(15, 15, 15), (15, 18, 12), (17, 12, 16)]
    for place in places:
        image[place] = 230
    found = find_head(image)
    assert all(found.image[place] == 230 for place in places) and not found.spikes.hot


@pytest.mark.parametrize("center", ["milan", "rennes", "karo"])
def test_nothing_of_a_simulated_patient_is_lost(center: str) -> None:
    for stored in make_patient(CENTERS[center], 1, 2.0, 0).images.values():
        image = stored.astype(np.float32)
        found = find_head(image)
        np.testing.assert_array_equal(found.image, image)
        # What was air by a share of the greatest values, from zero, is air.
        assert np.count_nonzero(found.mask != (image > 0.02 * np.percentile(image, 99.5))) < 1e-3 * image.size
        assert not found.spikes.hot and not found.spikes.cold


# Real patients


def _cases(folder: Path) -> list[Case]:
    return find_cases(folder, ("FLAIR", "T2w"))


def _image(case: Case) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    read = read_nifti(case.image, "image")
    return read.array, read.affine  # type: ignore[union-attr]


def test_real_brains_are_as_large_as_brains_and_lose_nothing(real_hospitals: Path) -> None:
    for case in _cases(real_hospitals / "ljubljana"):
        image, affine = _image(case)
        found = find_head(image)
        assert 1000 < np.count_nonzero(found.mask) / 1000 < 1500
        assert np.count_nonzero((found.image != image) & found.mask) == 0
        assert skull_share(found, affine) < 0.4
        scored = find_head(in_mask(np.where(found.mask, image, 0)).astype(np.float32))
        assert np.count_nonzero(scored.mask != found.mask) < 5e-3 * np.count_nonzero(found.mask)
        assert skull_share(scored, affine) < 0.5


def test_real_heads_are_told_from_their_noise(real_hospitals: Path) -> None:
    for case in _cases(real_hospitals / "tabriz"):
        image, affine = _image(case)
        found = find_head(image)
        voxel = abs(np.linalg.det(affine[:3, :3])) / 1000
        assert 2000 < np.count_nonzero(found.mask) * voxel < 4500
        assert skull_share(found, affine) > 0.9
        assert skull_share(find_head(image - 5000), affine) > 0.9
        assert skull_share(find_head(padded(image, -32768)), affine) > 0.9

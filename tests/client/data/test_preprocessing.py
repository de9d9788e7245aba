"""Preparing a volume: one patient is one array however it was stored, and bad files are named."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.data.bids import find_cases
from client.data.preprocessing import CLIP, Volume, prepare
from client.data.volume_cache import open_volume
from client.evaluation.metrics import score
from shared.errors import DataError
from tests.support.datasets import PLAIN, TALL, grid, patient, patient_case, write_case, write_image


def milliliters(label: NDArray[np.uint8], affine: NDArray[np.float64]) -> float:
    """Volume of a soft label."""
    return float(label.sum(dtype=np.float64) / 255 * abs(np.linalg.det(affine[:3, :3])) / 1000)


def head_of(volume: Volume) -> NDArray[np.float32]:
    """Voxels that are not air."""
    image = np.asarray(volume.image, dtype=np.float32)
    return image[image > volume.air]


# What is prepared


@pytest.mark.parametrize("tilt", [0.0, 12.0])
@pytest.mark.parametrize("axcodes", ["LPS", "LAS", "PSR", "SLA"])
def test_the_same_patient_stored_otherwise_is_the_same_array(tmp_path: Path, axcodes: str, tilt: float) -> None:
    voxel = (1.0, 1.2, 2.0)
    upright = prepare(patient_case(tmp_path / "upright", voxel, tilt=tilt), 2.0)
    stored = prepare(patient_case(tmp_path / "stored", voxel, axcodes, tilt), 2.0)
    assert stored.truth.shape != upright.truth.shape or axcodes in ("LPS", "LAS")
    np.testing.assert_allclose(stored.affine, upright.affine, atol=1e-3)
    np.testing.assert_allclose(stored.image.astype(float), upright.image.astype(float), atol=0.02)
    np.testing.assert_allclose(stored.label.astype(float), upright.label.astype(float), atol=1)


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SLA"])
def test_the_grid_is_isotropic_and_upright(tmp_path: Path, axcodes: str) -> None:
    volume = prepare(patient_case(tmp_path, TALL, axcodes), 2.0)
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([2.0, 2.0, 2.0]), atol=1e-4)
    assert volume.image.shape == volume.label.shape


def test_a_tilted_image_keeps_its_tilt_and_gets_the_spacing(tmp_path: Path) -> None:
    volume = prepare(patient_case(tmp_path, TALL, tilt=12.0), 2.0)
    np.testing.assert_allclose(np.linalg.norm(volume.affine[:3, :3], axis=0), 2.0, atol=1e-4)
    assert abs(volume.affine[1, 0]) > 0.1


def test_air_around_the_head_is_cut_away_and_the_affine_knows_it(tmp_path: Path) -> None:
    volume = prepare(patient_case(tmp_path, PLAIN), 2.0)
    # The head is an ellipsoid of 36 x 42 x 32 mm around the origin.
    np.testing.assert_allclose(np.array(volume.image.shape) * 2.0, [36, 42, 32], atol=4.1)
    middle = volume.affine[:3, :3] @ ((np.array(volume.image.shape) - 1) / 2) + volume.affine[:3, 3]
    np.testing.assert_allclose(middle, 0, atol=2.0)


@pytest.mark.parametrize("scale", [0.001, 1.0, 1000.0])
def test_the_head_has_mean_0_and_deviation_1_whatever_the_scanner_s_scale(tmp_path: Path, scale: float) -> None:
    shape, affine = grid(PLAIN)
    image, label = patient(shape, affine)
    volume = prepare(write_case(tmp_path, image * np.float32(scale), label, affine), 2.0)
    assert volume.image.dtype == np.float16
    assert head_of(volume).mean() == pytest.approx(0, abs=0.01)
    assert head_of(volume).std() == pytest.approx(1, abs=0.01)


def test_a_hot_structure_is_clipped(tmp_path: Path) -> None:
    shape, affine = grid(PLAIN)
    image, label = patient(shape, affine)
    image[22:26, 22:26, 22:26] = 1e5
    volume = prepare(write_case(tmp_path, image, label, affine), 1.0)
    assert float(volume.image.max()) == CLIP


def test_negative_voxels_are_air_too(tmp_path: Path) -> None:
    shape, affine = grid(PLAIN)
    image, label = patient(shape, affine)
    ringing = prepare(write_case(tmp_path, np.where(image > 0, image, -3), label, affine), 1.0)
    assert head_of(ringing).mean() == pytest.approx(0, abs=0.01)
    assert head_of(ringing).size == pytest.approx((image > 0).sum(), rel=0.01)


def test_detail_finer_than_the_new_grid_vanishes(tmp_path: Path) -> None:
    shape, affine = grid(PLAIN)
    image, label = patient(shape, affine)
    stripes = np.where(image > 0, 30 * (-1.0) ** np.arange(shape[0])[:, None, None], 0).astype(np.float32)
    plain, striped = (
        prepare(write_case(tmp_path / name, array, label, affine), 3.0)
        for name, array in {"plain": image, "striped": image + stripes}.items()
    )
    # At the head's edge half a stripe is left; kept whole, the stripes would be about 1.
    np.testing.assert_allclose(striped.image.astype(float), plain.image.astype(float), atol=0.2)


def test_a_soft_label_stays_soft(tmp_path: Path) -> None:
    volume = prepare(patient_case(tmp_path, PLAIN), 2.0)
    for label in (volume.label, volume.truth):
        assert label.dtype == np.uint8 and label.max() > 250 and label.min() == 0
        assert ((label > 10) & (label < 245)).any()


def test_a_binary_label_stays_binary_in_its_own_grid(tmp_path: Path) -> None:
    shape, affine = grid(PLAIN)
    image, label = patient(shape, affine)
    volume = prepare(write_case(tmp_path, image, (label >= 0.5).astype(np.uint8), affine), 2.0)
    assert set(np.unique(volume.truth)) == {0, 255}
    np.testing.assert_array_equal(volume.truth == 255, label >= 0.5)


@pytest.mark.parametrize(
    ("voxel", "spacing"), [(PLAIN, 2.0), (PLAIN, 4.0), (TALL, 2.0), ((0.5, 0.5, 4.0), 1.0), ((2.0, 2.0, 2.0), 1.0)]
)
def test_resampling_keeps_the_lesion_s_volume_within_5_percent(
    tmp_path: Path, voxel: tuple[float, float, float], spacing: float
) -> None:
    volume = prepare(patient_case(tmp_path, voxel), spacing)
    truth = milliliters(volume.truth, volume.own_affine)
    assert truth == pytest.approx(1.44, rel=0.1)
    assert milliliters(volume.label, volume.affine) == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SLA"])
@pytest.mark.parametrize("tilt", [0.0, 12.0])
@pytest.mark.parametrize(("voxel", "spacing"), [(PLAIN, 2.0), (TALL, 2.0), ((2.0, 1.0, 2.0), 1.0)])
def test_the_way_back_to_the_own_grid(
    tmp_path: Path, voxel: tuple[float, float, float], spacing: float, axcodes: str, tilt: float
) -> None:
    volume = prepare(patient_case(tmp_path, voxel, axcodes, tilt), spacing)
    back = volume.to_own_grid(torch.from_numpy(volume.label.astype(np.float32) / 255)).numpy()
    assert back.shape == volume.truth.shape and back.dtype == np.float32
    assert back.min() >= 0 and back.max() <= 1 + 1e-6
    assert score(back, volume.truth.astype(np.float32) / 255, volume.own_affine).dice > 0.9


# What cannot be used

Damage = Callable[[NDArray, NDArray, NDArray], tuple[NDArray, NDArray, NDArray, NDArray]]


def _nan(image: NDArray, label: NDArray, affine: NDArray) -> tuple[NDArray, ...]:
    image[3, 3, 3] = np.nan
    return image, label, affine, affine


def _infinite_label(image: NDArray, label: NDArray, affine: NDArray) -> tuple[NDArray, ...]:
    label[3, 3, 3] = np.inf
    return image, label, affine, affine


def _shifted(affine: NDArray) -> NDArray:
    moved = affine.copy()
    moved[0, 3] += 3
    return moved


@pytest.mark.parametrize(
    ("damage", "named", "said"),
    [
        (lambda i, la, a: (np.stack([i, i], -1), np.stack([la, la], -1), a, a), "FLAIR", "must be one 3D volume"),
        (lambda i, la, a: (i[..., :1], la[..., :1], a, a), "FLAIR", "must be one 3D volume"),
        (lambda i, la, a: (i, la[:-1], a, a), "lesion-manual", "does not lie on its image's grid"),
        (lambda i, la, a: (i, la, a, _shifted(a)), "lesion-manual", "does not lie on its image's grid"),
        (_nan, "FLAIR", "NaN or infinity"),
        (_infinite_label, "lesion-manual", "NaN or infinity"),
        (lambda i, la, a: (i, la * 255, a, a), "lesion-manual", r"from 0 to 255, but a lesion label lies in \[0, 1\]"),
        (lambda i, la, a: (i, la - 1, a, a), "lesion-manual", "from -1 to 0"),
        (lambda i, la, a: (i, la, a @ np.diag([1, 1, 0, 1]), a @ np.diag([1, 1, 0, 1])), "FLAIR", "singular affine"),
        (lambda i, la, a: (i * 0, la, a, a), "FLAIR", "nothing but air"),
    ],
)
def test_an_unusable_pair_is_named_with_its_reason(tmp_path: Path, damage: Damage, named: str, said: str) -> None:
    shape, affine = grid((4.0, 4.0, 4.0))
    case = write_case(tmp_path, *damage(*patient(shape, affine), affine))
    with pytest.raises(DataError, match=f"{named}.*{said}"):
        prepare(case, 4.0)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garbled(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 40] = bytes(byte ^ 0xFF for byte in raw[middle : middle + 40])
    path.write_bytes(raw)


def _unknown_type(path: Path) -> None:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[70:72] = (9999).to_bytes(2, "little")
    path.write_bytes(gzip.compress(raw))


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _no_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncated, "is a gzip file that ends early: copy it again"),
        (_garbled, "is a gzip file that is damaged"),
        (_unknown_type, "cannot be decoded"),
        (lambda path: path.write_bytes(b""), "is an empty file: copy it again"),
        (lambda path: path.write_bytes(b"not an image"), "is no whole gzip file"),
        (lambda path: path.unlink(), "does not exist"),
        (_loop, "is a symbolic link that leads back to itself"),
        (_no_folder, "cannot be read"),
    ],
    ids=["truncated", "garbled", "unknown-type", "empty", "text", "missing", "symlink-loop", "folder"],
)
@pytest.mark.parametrize("which", ["image", "label"])
def test_an_unreadable_file_is_named(tmp_path: Path, damage: Callable[[Path], None], said: str, which: str) -> None:
    shape, affine = grid((4.0, 4.0, 4.0))
    random = np.random.default_rng(0)
    noise = random.random(shape, dtype=np.float32)
    case = write_case(tmp_path, noise, noise, affine)
    damage(getattr(case, which))
    with pytest.raises(DataError, match=f"{getattr(case, which).name} {said}") as caught:
        open_volume(case, 4.0, tmp_path / "cache")
    assert caught.value.public == "cannot be read"


def _header(path: Path, offset: int, value: bytes) -> None:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[offset : offset + len(value)] = value
    path.write_bytes(gzip.compress(raw))


@pytest.mark.parametrize(
    ("damage", "said", "public"),
    [
        (
            lambda p: write_image(p, np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4)),
            "must hold one number a voxel",
            "is of a wrong type",
        ),
        (lambda p: write_image(p, np.ones((12, 12, 12), np.complex64), np.eye(4)), "one number a voxel", "wrong type"),
        (lambda p: write_image(p, np.ones((12, 12, 12, 2), np.float32), np.eye(4)), "one 3D volume", "wrong shape"),
        (lambda p: write_image(p, np.ones((0, 12, 12), np.float32), np.eye(4)), "one 3D volume", "wrong shape"),
        # dim at byte 40: a header that claims 2^44 voxels
        (lambda p: _header(p, 42, (30000).to_bytes(2, "little") * 3), "one 3D volume", "wrong shape"),
        # qform_code and sform_code at byte 252
        (lambda p: _header(p, 252, b"\0\0\0\0"), "has no affine", "has no affine"),
        # srow_x at byte 280
        (lambda p: _header(p, 280, np.float32("nan").tobytes()), "singular affine", "singular affine"),
    ],
    ids=["colours", "complex", "4D", "zero-size", "boundless", "no-affine", "nan-affine"],
)
def test_an_image_of_a_wrong_kind_is_named_and_told_without_its_path(
    tmp_path: Path, damage: Callable[[Path], None], said: str, public: str
) -> None:
    case = patient_case(tmp_path, (4.0, 4.0, 4.0))
    damage(case.image)
    with pytest.raises(DataError, match=f"{case.image.name} .*{said}") as caught:
        open_volume(case, 4.0, tmp_path / "cache")
    assert public in caught.value.public
    assert str(tmp_path) not in caught.value.public


# Real patients


@pytest.mark.parametrize("center", ["ljubljana", "tabriz"])
def test_real_patients_are_prepared(real_hospitals: Path, center: str) -> None:
    case = find_cases(real_hospitals / center, ("FLAIR",))[0]
    volume = prepare(case, 3.0)
    # A head is between 10 and 24 cm long, wide and high.
    assert all(100 <= 3 * edge <= 240 for edge in volume.image.shape)
    assert head_of(volume).mean() == pytest.approx(0, abs=0.05)
    assert head_of(volume).std() == pytest.approx(1, abs=0.05)
    truth = milliliters(volume.truth, volume.own_affine)
    assert 0.1 < truth < 100
    assert milliliters(volume.label, volume.affine) == pytest.approx(truth, rel=0.05)

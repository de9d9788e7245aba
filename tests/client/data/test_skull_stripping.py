"""A head is told from a brain by its skull, whatever the contrast, resolution, orientation and coverage."""

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from client.data.head import find_head
from client.data.skull_stripping import is_whole_head
from client.data.skull_stripping import skull_share as share_of_head
from shared.phantoms.centers import CENTERS
from shared.phantoms.subject import make_patient

BRAIN = (62.0, 78.0, 60.0)
"""Half axes of the brain in mm; the skull is 6 mm around it, the scalp another 6."""

FLAIR = {"brain": 300.0, "fluid": 40.0, "bone": 25.0, "scalp": 500.0}
T2W = {"brain": 200.0, "fluid": 600.0, "bone": 20.0, "scalp": 300.0}


def head(tissue: dict[str, float], voxel: tuple[float, float, float], stripped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Image and affine of an ellipsoidal head with fluid around a folded brain, and noise everywhere."""
    shape = [round(220 / edge) for edge in voxel]
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * voxel
    x, y, z = (np.arange(n).reshape([-1 if i == j else 1 for j in range(3)]) for i, n in enumerate(shape))
    x, y, z = (part * edge + affine[i, 3] for i, (part, edge) in enumerate(zip((x, y, z), voxel, strict=True)))
    depth = 70 * (np.sqrt((x / BRAIN[0]) ** 2 + (y / BRAIN[1]) ** 2 + (z / BRAIN[2]) ** 2) - 1)  # about mm
    fold = np.sin(x / 4) * np.sin(y / 4) * np.sin(z / 4) > 0.6
    image = np.select(
        [depth < -18, depth < 0, depth < 6, depth < 12],
        [tissue["brain"], np.where(fold, tissue["fluid"], 1.1 * tissue["brain"]), tissue["bone"], tissue["scalp"]],
        0.0,
    )
    if stripped:
        image = np.where(depth < 0, image, 0)
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return np.where(image > 0, image + noise, 0 if stripped else np.abs(noise)).astype(np.float32), affine


def skull_share(image: np.ndarray, affine: np.ndarray) -> float:
    return share_of_head(find_head(image), affine)


@pytest.mark.parametrize("tissue", [FLAIR, T2W], ids=["FLAIR", "T2w"])
@pytest.mark.parametrize("voxel", [(2.0, 2.0, 2.0), (1.0, 1.0, 6.0), (6.0, 1.0, 1.0)])
def test_a_head_is_told_from_its_brain(tissue: dict[str, float], voxel: tuple[float, float, float]) -> None:
    assert skull_share(*head(tissue, voxel, stripped=False)) > 0.9
    assert skull_share(*head(tissue, voxel, stripped=True)) < 0.4


def test_a_part_of_the_head_is_enough() -> None:
    image, affine = head(FLAIR, (2.0, 2.0, 4.0), stripped=False)
    assert is_whole_head(find_head(image[:, :, 25:38]), affine)


def test_the_scale_and_the_zero_of_intensities_do_not_matter() -> None:
    image, affine = head(FLAIR, (2.0, 2.0, 4.0), stripped=False)
    assert skull_share(image * np.float32(1e-3), affine) == pytest.approx(skull_share(image, affine), abs=0.01)


@pytest.mark.parametrize("axcodes", ["LPS", "PSR", "SAL"])
def test_the_order_of_axes_does_not_matter_where_slices_are_thick(axcodes: str) -> None:
    image, affine = head(FLAIR, (1.0, 1.0, 6.0), stripped=False)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axcodes)))
    turned = nibabel.Nifti1Image(image, affine).as_reoriented(turn)
    assert skull_share(np.asarray(turned.dataobj), turned.affine) == pytest.approx(skull_share(image, affine), abs=0.05)


@pytest.mark.parametrize("center", ["milan", "rennes"])
def test_simulated_brains_are_stripped(center: str) -> None:
    patient = make_patient(CENTERS[center], 1, 2.0, 0)
    (image,) = patient.images.values()
    assert skull_share(image.astype(np.float32), patient.affine) < 0.2


@pytest.mark.parametrize("image", [np.zeros((9, 9, 9)), np.ones((9, 9, 9)), np.eye(9)[:, :, None] * np.ones(2)])
def test_what_is_no_head_has_no_skull(image: np.ndarray) -> None:
    assert not is_whole_head(find_head(image.astype(np.float32)), np.eye(4))

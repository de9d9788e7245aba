"""A T2w that was moved comes back onto its FLAIR to less than a millimetre, and is never made worse."""

import numpy as np
import pytest
import SimpleITK as sitk

from client.data.grids import corners
from client.preparation.registration import register, to_sitk
from client.preparation.volume import ScanVolume
from shared.errors import DataError
from tests.support.heads import simulated_brains, with_skull


def moved(image: ScanVolume, turn: tuple[float, ...], shift: tuple[float, ...]) -> tuple[ScanVolume, sitk.Transform]:
    """An image after a head's motion, and the way from where a point is to where it was."""
    motion = sitk.Euler3DTransform()
    motion.SetRotation(*turn)
    motion.SetTranslation(shift)
    made = sitk.Resample(to_sitk(image), to_sitk(image), motion, sitk.sitkLinear, 0.0)
    return image.like(sitk.GetArrayFromImage(made).transpose(2, 1, 0)), motion


def ends_of_brain(image: ScanVolume, brain: np.ndarray) -> np.ndarray:
    """The eight corners around the brain in LPS."""
    where = np.argwhere(brain)
    low, high = where.min(axis=0), where.max(axis=0)
    points = corners(tuple(high - low + 1), image.affine) + image.affine[:3, :3] @ low
    return np.asarray(points * [-1, -1, 1])


MOTIONS = [
    ((0.08, -0.05, 0.1), (6.0, -4.0, 9.0)),
    ((0.2, 0.1, -0.15), (20.0, -10.0, 15.0)),
    ((0.02, 0.0, 0.0), (0.0, 0.7, 0.0)),
]
"""Radians and mm."""


SLOW = pytest.mark.slow
CASES = [
    pytest.param(voxel, skull, motion, id=f"{name}-{'head' if skull else 'stripped'}-{number}", marks=marks)
    for voxel, name in (((4.0, 4.0, 4.0), "4mm"), ((2.0, 2.0, 2.0), "2mm"), ((1.0, 1.0, 5.0), "slices"))
    for skull in (False, True)
    for number, motion in enumerate(MOTIONS)
    for marks in [() if name == "4mm" and not skull and number == 0 else SLOW]
]


@pytest.mark.parametrize(("voxel", "skull", "motion"), CASES)
def test_the_corners_of_the_brain_are_found(
    voxel: tuple[float, float, float], skull: bool, motion: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    flair, t2w = simulated_brains(voxel).values()
    if skull:
        flair, t2w = with_skull(flair, "FLAIR"), with_skull(t2w, "T2w")
    moving, way = moved(t2w.image, *motion)
    found = register(flair.image, moving, flair.brain)
    for point in ends_of_brain(flair.image, flair.brain):
        back = way.TransformPoint(found.transform.TransformPoint(point.tolist()))
        # A millimetre, or a third of a voxel where that is more.
        assert np.linalg.norm(np.array(back) - point) < max(1.0, min(voxel) / 3)
    assert found.after > found.before


def test_what_lies_well_is_left_alone() -> None:
    flair, t2w = simulated_brains((4.0,) * 3).values()
    found = register(flair.image, t2w.image, flair.brain)
    assert found.moved_mm < 1.0
    assert found.after >= found.before


@SLOW
def test_the_same_images_give_the_same_result() -> None:
    flair, t2w = simulated_brains((4.0,) * 3).values()
    moving, _ = moved(t2w.image, (0.08, -0.05, 0.1), (6.0, -4.0, 9.0))
    one, other = (register(flair.image, moving, flair.brain) for _ in range(2))
    assert one.transform.GetParameters() == other.transform.GetParameters()


@SLOW
def test_images_that_do_not_belong_together_are_refused() -> None:
    flair, t2w = simulated_brains((4.0,) * 3).values()
    noise = np.random.default_rng(0).normal(100, 10, flair.image.array.shape).astype(np.float32)
    with pytest.raises(DataError, match="whether both show one patient"):
        register(flair.image, flair.image.like(noise), flair.brain)
    affine = t2w.image.affine.copy()
    affine[2, 3] += 20 * 4.0
    part = ScanVolume(t2w.image.array[:, :, 20:30], affine)
    with pytest.raises(DataError, match="of its FLAIR's brain"):
        register(flair.image, part, flair.brain)

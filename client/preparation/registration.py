"""Rigid registration of a T2w to the FLAIR of its session, by SimpleITK (Lowekamp et al. 2013).

Three rotations and three shifts, found on three resolutions by the mutual information of Mattes et al. 2003. The
image is interpolated once. Threads and seed are fixed, so that the same images give the same result.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.preparation.extra import extra
from client.preparation.volume import Affine, Volume
from shared.errors import DataError

FINEST = 2.0
"""mm; the grid of the last resolution, or the image's own where that is coarser."""

SHRINK, SMOOTH = (4, 2, 1), (4.0, 2.0, 0.0)
"""Factors and mm of the three resolutions."""

BINS, SHARE, SEED = 50, 0.3, 1
STEPS = 200

FARTHEST, MOST_TURN = 150.0, 45.0
"""mm and degrees; more is no way a patient moved between two series."""

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Registration:
    """Where a moving image lies in a fixed one."""

    transform: Any
    """SimpleITK's, from points of the fixed image to those of the moving one, in LPS."""
    before: float
    after: float
    """Mutual information in nats of the two images as they lay, and as they lie now: more is better."""
    moved_mm: float
    """How far the corners of the fixed image's head lie from where they were, at most."""

    def resample(self, moving: Volume, fixed: Volume, *, nearest: bool = False) -> Volume:
        """The moving image on the fixed one's grid, interpolated once; 0 where it saw nothing."""
        sitk = extra("SimpleITK")
        method = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
        made = sitk.Resample(to_sitk(moving), to_sitk(fixed), self.transform, method, 0.0, sitk.sitkFloat32)
        return fixed.like(sitk.GetArrayFromImage(made).transpose(2, 1, 0))


def register(fixed: Volume, moving: Volume, brain: NDArray[np.bool_]) -> Registration:
    """Find how `moving` lies in `fixed`, by the voxels of `fixed` in and around its brain.

    Raises `DataError` where they lie better as they came, or where what was found is no way a head moves.
    """
    sitk = extra("SimpleITK")
    fixed_image, moving_image = _even(to_sitk(fixed)), to_sitk(moving)
    mask = sitk.Resample(to_sitk(fixed.like(brain)), fixed_image, sitk.Transform(), sitk.sitkNearestNeighbor)
    mask = sitk.BinaryDilate(sitk.Cast(mask > 0.5, sitk.sitkUInt8), [3, 3, 3])
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(mask)
    method.SetInterpolator(sitk.sitkLinear)
    middle = _middle(fixed, brain)
    as_it_lay = sitk.Euler3DTransform()
    as_it_lay.SetCenter(middle)
    start, _ = _best_start(sitk, method, fixed_image, moving_image, as_it_lay)
    before = _information(method, fixed_image, moving_image, as_it_lay)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(SHARE, SEED)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-4, STEPS, 0.5)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SMOOTH)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(fixed_image, moving_image)
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1]
        raise DataError(f"cannot be registered to its FLAIR ({why}): see whether both show one patient") from None
    after = _information(_whole(sitk, mask), fixed_image, moving_image, start)
    moved = _moved(start, fixed, brain)
    turn = float(np.rad2deg(np.abs([start.GetAngleX(), start.GetAngleY(), start.GetAngleZ()]).max()))
    if after < before and moved <= float(fixed.spacing.max()):
        return Registration(as_it_lay, before, before, 0.0)  # they lay well, to what can be told
    if after < before:
        text = f"lies better on its FLAIR as it came than registered (mutual information {before:.3f} and {after:.3f})"
        raise DataError(f"{text}: see whether both show one patient, or take one of them off the table")
    if turn > MOST_TURN or np.linalg.norm(start.GetTranslation()) > FARTHEST:
        text = f"would be turned by {turn:.0f} degrees and moved by {moved:.0f} mm to lie on its FLAIR"
        raise DataError(f"{text}, which no head does: see whether both show one patient")
    return Registration(start, before, after, moved)


def to_sitk(volume: Volume) -> Any:
    """A volume as SimpleITK has it."""
    sitk = extra("SimpleITK")
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose(2, 1, 0)))
    affine: Affine = _LPS @ volume.affine
    image.SetSpacing([float(edge) for edge in volume.spacing])
    image.SetOrigin([float(value) for value in affine[:3, 3]])
    image.SetDirection([float(value) for value in (affine[:3, :3] / volume.spacing).ravel()])
    return image


def _even(image: Any) -> Any:
    """An image on voxels that are as long as wide, at least `FINEST`: slices of 6 mm would be shrunk to nothing."""
    sitk = extra("SimpleITK")
    edge = max(FINEST, min(image.GetSpacing()))
    size = [max(1, round(n * own / edge)) for n, own in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    # Its voxels at the edge lie half of one inside the image's.
    shift = [(edge - own) / 2 for own in image.GetSpacing()]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin = np.array(image.GetOrigin()) + direction @ shift
    return sitk.Resample(
        *(image, size, sitk.Transform(), sitk.sitkLinear, origin.tolist(), [edge] * 3, image.GetDirection()),
        *(0.0, sitk.sitkFloat32),
    )


def _whole(sitk: Any, mask: Any) -> Any:
    """The measure over all voxels, without optimizer."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(mask)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _information(method: Any, fixed: Any, moving: Any, transform: Any) -> float:
    """Mutual information in nats; 0 where the images hardly overlap."""
    method.SetInitialTransform(transform, inPlace=False)
    try:
        return -float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:
        return 0.0


def _best_start(sitk: Any, method: Any, fixed: Any, moving: Any, as_it_lay: Any) -> tuple[Any, float]:
    """Where to begin: as the scanner placed them, or middle on middle, for a source may have lost its place."""
    starts = [sitk.Euler3DTransform(as_it_lay)]
    for way in (sitk.CenteredTransformInitializerFilter.GEOMETRY, sitk.CenteredTransformInitializerFilter.MOMENTS):
        made = sitk.Euler3DTransform(sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), way))
        centered = sitk.Euler3DTransform()
        centered.SetCenter(as_it_lay.GetCenter())
        centered.SetTranslation(made.GetTranslation())
        starts.append(centered)
    measured = [_information(method, fixed, moving, start) for start in starts]
    best = int(np.argmax(measured))
    return starts[best], measured[best]


def _middle(volume: Volume, brain: NDArray[np.bool_]) -> list[float]:
    index = np.argwhere(brain).mean(axis=0) if brain.any() else (np.array(volume.array.shape) - 1) / 2
    return [float(value) for value in (_LPS @ volume.affine @ [*index, 1.0])[:3]]


def _moved(transform: Any, volume: Volume, brain: NDArray[np.bool_]) -> float:
    index = np.argwhere(brain) if brain.any() else np.argwhere(np.ones(volume.array.shape, dtype=bool))
    low, high = index.min(axis=0), index.max(axis=0)
    ends = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    points = (ends @ volume.affine[:3, :3].T + volume.affine[:3, 3]) * [-1, -1, 1]
    return max(float(np.linalg.norm(np.array(transform.TransformPoint(p.tolist())) - p)) for p in points)

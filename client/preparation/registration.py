"""Rigid registration of a T2w to the FLAIR of its session, by SimpleITK (Lowekamp et al. 2013).

Three rotations and three shifts, found from coarse to fine by the mutual information of Mattes et al. 2003. The image
is interpolated once. Threads and seed are fixed, so that the same images give the same result.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from client.preparation.extra import extra
from client.preparation.volume import Affine, ScanVolume
from shared.errors import DataError

FINEST = 2.0
"""mm; the grid on which images are compared, or the image's own where that is coarser."""

BINS, SEED = 40, 1

FARTHEST, MOST_TURN = 150.0, 45.0
"""mm and degrees; more is no way a patient moved between two series."""

SEEN = 0.5
"""The share of the brain that the moving image must show."""

LEAST, DOUBTFUL = 0.15, 0.5
"""nats; below the first two images do not show one head, and below the second perhaps not.

FLAIR and T2w of one real patient (ljubljana, 1 mm) share 0.82 and 0.83, of two patients 0.42.
"""

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ASKEW = Rotation.from_euler("xyz", (7, 8, 9), degrees=True).as_matrix()


@dataclass(frozen=True)
class Search:
    """One search, from where the last one ended."""

    inside: bool
    """By the brain alone; else by the whole image, whose outline and scalp lead the way from afar."""
    shrink: tuple[int, ...]
    smooth_mm: tuple[float, ...]
    samples: int
    """Voxels that are looked at in each step, of the finest grid."""
    first_step: float
    last_step: float
    """mm; the search ends when its steps are shorter."""
    steps: int


SEARCHES = (
    Search(
        False, shrink=(3, 2, 1), smooth_mm=(6.0, 3.0, 1.0), samples=150_000, first_step=4.0, last_step=0.01, steps=200
    ),
    Search(True, shrink=(1,), smooth_mm=(0.0,), samples=60_000, first_step=1.0, last_step=0.002, steps=150),
)


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

    def resample(self, moving: ScanVolume, fixed: ScanVolume, *, nearest: bool = False) -> ScanVolume:
        """The moving image on the fixed one's grid, interpolated once; 0 where it saw nothing."""
        sitk = extra("SimpleITK")
        method = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
        made = sitk.Resample(to_sitk(moving), to_sitk(fixed), self.transform, method, 0.0, sitk.sitkFloat32)
        return fixed.like(sitk.GetArrayFromImage(made).transpose(2, 1, 0))


def register(fixed: ScanVolume, moving: ScanVolume, brain: NDArray[np.bool_]) -> Registration:
    """Find how `moving` lies in `fixed`, by the voxels of `fixed` in and around its brain.

    Where they lie best as they came, they stay. Raises `DataError` where they do not show one head, or where what was
    found is no way a head moves.
    """
    with _one_thread():
        return _registered(fixed, moving, brain)


@contextmanager
def _one_thread() -> Iterator[None]:
    """In which sums are made in one order, so that they come out the same."""
    process = extra("SimpleITK").ProcessObject
    before = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(before)


def _registered(fixed: ScanVolume, moving: ScanVolume, brain: NDArray[np.bool_]) -> Registration:
    sitk = extra("SimpleITK")
    fixed_image, moving_image = _even(to_sitk(fixed)), to_sitk(moving)
    mask = sitk.Resample(to_sitk(fixed.like(brain)), fixed_image, sitk.Transform(), sitk.sitkNearestNeighbor)
    mask = sitk.BinaryDilate(sitk.Cast(mask > 0.5, sitk.sitkUInt8), [3, 3, 3])
    measure = _measure(sitk, mask)
    as_it_lay = sitk.Euler3DTransform()
    as_it_lay.SetCenter(_middle(fixed, brain))
    before = _information(measure, fixed_image, moving_image, as_it_lay)
    places = _starts(sitk, fixed_image, moving_image, as_it_lay)
    for search in SEARCHES:
        # Whichever lies best so far, so that a search that went astray costs nothing.
        start = max(places, key=lambda place: _information(measure, fixed_image, moving_image, place))
        places = [start, _searched(sitk, search, mask, fixed_image, moving_image, sitk.Euler3DTransform(start))]
    start = max(places, key=lambda place: _information(measure, fixed_image, moving_image, place))
    after = _information(measure, fixed_image, moving_image, start)
    moved = _moved(start, fixed, brain)
    turn = float(np.rad2deg(np.abs([start.GetAngleX(), start.GetAngleY(), start.GetAngleZ()]).max()))
    if after < LEAST or after < before:
        text = f"cannot be registered to its FLAIR (mutual information {before:.3f} before and {after:.3f} after)"
        raise DataError(f"{text}: see whether both show one patient, or give each a label of its own")
    found = Registration(start, before, after, moved)
    seen = found.resample(moving.like(np.ones(moving.array.shape)), fixed, nearest=True).array[brain > 0]
    if seen.size and (share := float(seen.mean())) < SEEN:
        text = f"shows {share:.0%} of its FLAIR's brain once it is registered to it"
        raise DataError(f"{text}: see whether both show one patient, or give each a label of its own")
    if turn > MOST_TURN or np.linalg.norm(start.GetTranslation()) > FARTHEST:
        text = f"would be turned by {turn:.0f} degrees and moved by {moved:.0f} mm to lie on its FLAIR"
        raise DataError(f"{text}, which no head does: see whether both show one patient")
    return found


def to_sitk(volume: ScanVolume) -> Any:
    """A volume as SimpleITK has it."""
    sitk = extra("SimpleITK")
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose(2, 1, 0)))
    affine: Affine = _LPS @ volume.affine
    image.SetSpacing([float(edge) for edge in volume.spacing])
    image.SetOrigin([float(value) for value in affine[:3, 3]])
    image.SetDirection([float(value) for value in (affine[:3, :3] / volume.spacing).ravel()])
    return image


def _even(image: Any) -> Any:
    """An image on voxels that are as long as wide, at least `FINEST`: slices of 6 mm would be shrunk to nothing.

    They lie askew to the image's own. Where voxel lies on voxel nothing is interpolated, by which two images would seem
    to fit best as they came (Pluim et al., Computer Vision and Image Understanding 77:211-232, 2000).
    """
    sitk = extra("SimpleITK")
    edge = max(FINEST, min(image.GetSpacing()))
    size = [max(1, round(n * own / edge)) for n, own in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
    askew = direction @ _ASKEW
    origin = middle - askew @ ((np.array(size) - 1) * edge / 2)
    return sitk.Resample(
        *(image, size, sitk.Transform(), sitk.sitkLinear, origin.tolist(), [edge] * 3, askew.ravel().tolist()),
        *(0.0, sitk.sitkFloat32),
    )


def _measure(sitk: Any, mask: Any) -> Any:
    """The measure over all voxels of a mask; None: of the image."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _searched(sitk: Any, search: Search, mask: Any, fixed: Any, moving: Any, start: Any) -> Any:
    """Where a search from `start` ends."""
    method = _measure(sitk, mask if search.inside else None)
    method.SetMetricSamplingStrategy(method.RANDOM)
    there = np.count_nonzero(sitk.GetArrayViewFromImage(mask)) if search.inside else fixed.GetNumberOfPixels()
    method.SetMetricSamplingPercentage(min(1.0, search.samples / max(there, 1)), SEED)
    method.SetOptimizerAsRegularStepGradientDescent(search.first_step, search.last_step, search.steps, 0.5)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(search.shrink)
    method.SetSmoothingSigmasPerLevel(search.smooth_mm)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1]
        raise DataError(f"cannot be registered to its FLAIR ({why}): see whether both show one patient") from None
    return start


def _information(method: Any, fixed: Any, moving: Any, transform: Any) -> float:
    """Mutual information in nats; 0 where the images hardly overlap."""
    method.SetInitialTransform(transform, inPlace=False)
    try:
        return -float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:
        return 0.0


def _starts(sitk: Any, fixed: Any, moving: Any, as_it_lay: Any) -> list[Any]:
    """Where to begin: as the scanner placed them, or middle on middle, for a source may have lost its place."""
    starts = [as_it_lay]
    for way in (sitk.CenteredTransformInitializerFilter.GEOMETRY, sitk.CenteredTransformInitializerFilter.MOMENTS):
        made = sitk.Euler3DTransform(sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), way))
        centered = sitk.Euler3DTransform()
        centered.SetCenter(as_it_lay.GetCenter())
        centered.SetTranslation(made.GetTranslation())
        starts.append(centered)
    return starts


def _middle(volume: ScanVolume, brain: NDArray[np.bool_]) -> list[float]:
    index = np.argwhere(brain).mean(axis=0) if brain.any() else (np.array(volume.array.shape) - 1) / 2
    return [float(value) for value in (_LPS @ volume.affine @ [*index, 1.0])[:3]]


def _moved(transform: Any, volume: ScanVolume, brain: NDArray[np.bool_]) -> float:
    index = np.argwhere(brain) if brain.any() else np.argwhere(np.ones(volume.array.shape, dtype=bool))
    low, high = index.min(axis=0), index.max(axis=0)
    ends = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    points = (ends @ volume.affine[:3, :3].T + volume.affine[:3, 3]) * [-1, -1, 1]
    return max(float(np.linalg.norm(np.array(transform.TransformPoint(p.tolist())) - p)) for p in points)

"""The MNI152 tissue maps that nilearn ships, and what follows: ventricles, distances, places of lesions.

Source: ICBM 2009a nonlinear symmetric (Fonov et al. 2011). The files are read as `nilearn.datasets.load_mni152_*` does,
whose import alone takes longer than all else here.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped,unused-ignore]

from shared.phantoms.grids import FIELD_ORIGIN, FIELD_SIZE, Array, Triple

Place = Literal["periventricular", "juxtacortical", "deep", "infratentorial"]
BRAIN = 0.2
"""Of the T1 template's greatest value: brighter is brain, as in nilearn's mask."""
COARSE = 2  # distances are smooth: every second millimetre is enough and eight times faster


@dataclass(frozen=True)
class Atlas:
    """Maps on the field of view at 1 mm (tissues) and 2 mm (distances)."""

    gm: Array
    wm: Array
    brain: Array
    """1 in the brain, 0 outside."""
    depth: Array
    """mm below the brain's outside; at 2 mm."""
    ventricle_distance: Array
    """mm to the lateral ventricles, 0 inside; at 2 mm."""
    ventricle_direction: tuple[Array, Array, Array]
    """Unit vector away from the lateral ventricles, smoothed; at 2 mm."""
    places: dict[Place, tuple[NDArray[np.float32], NDArray[np.float64]]]
    """Where lesions may start: points (n, 3) in mm and their cumulative probability (n,)."""


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """Load and derive the maps, once a process (about 2 s)."""
    gm, wm, brain = _on_field("gm"), _on_field("wm"), _on_field("t1") > BRAIN
    brain = _largest(ndimage.binary_opening(brain, iterations=2))
    csf = np.where(brain, 1 - gm - wm, 0)

    depth = ndimage.distance_transform_edt(thin(brain), sampling=COARSE).astype(np.float32)
    ventricles = _lateral_ventricles(csf > 0.5)
    distance = ndimage.distance_transform_edt(~thin(ventricles), sampling=COARSE).astype(np.float32)

    # Between ventricle and white matter the maps show a film of grey matter that is only the mixture of both.
    film = gm - ndimage.grey_opening(gm, size=5)
    film *= thicken(distance, brain.shape) < 6
    gm, wm = gm - film, wm + film

    return Atlas(
        gm=gm,
        wm=wm,
        brain=brain.astype(np.float32),
        depth=depth,
        ventricle_distance=distance,
        ventricle_direction=uphill(distance),
        places=_places(thin(gm), thin(wm), depth, distance),
    )


@lru_cache(maxsize=4)
def tissue_maps(voxel: Triple) -> tuple[Array, Array, Array]:
    """Return grey matter, white matter and brain at 1 mm, averaged over a voxel of this size (mm)."""
    atlas = load_atlas()
    # The variance of a box of the voxel's size, less that of the 1 mm that the maps have already.
    sigma = [float(np.sqrt(max(size**2 - 1, 0) / 12)) for size in voxel]
    gm, wm, brain = (ndimage.gaussian_filter(values, sigma, truncate=3) for values in (atlas.gm, atlas.wm, atlas.brain))
    return gm, wm, brain


@lru_cache(maxsize=4)
def brain_bounds(voxel: Triple) -> tuple[Array, Array]:
    """Return the least and the greatest value of the brain of `tissue_maps` at the eight corners of each cell.

    Between them lies what is interpolated in the cell; the least is 0 at the rim, for beyond it all is 0.
    """
    _, _, brain = tissue_maps(voxel)
    low = high = brain
    for axis in range(3):
        end = brain.shape[axis] - 1
        low, high = (
            pick(values.take(range(end), axis), values.take(range(1, end + 1), axis))
            for pick, values in ((np.minimum, low), (np.maximum, high))
        )
    inner = np.zeros_like(low)
    inner[1:-1, 1:-1, 1:-1] = low[1:-1, 1:-1, 1:-1]
    return inner, high


def is_infratentorial(x: Any, y: Any, z: Any) -> Any:
    """Whether MNI152 positions in mm lie in the cerebellum or the brain stem."""
    temporal = (np.abs(x) > 24) & (y > -36)
    return (z < -16) & (y < -8) & ~temporal


def _on_field(name: str) -> Array:
    """Return a template at 1 mm on the field of view, 1 where it is greatest and 0 where the template ends."""
    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise ImportError("nilearn, which ships the MNI152 templates, is not installed: install wardround anew")
    file = Path(package.origin).parent / "datasets" / "data" / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    image: Any = nibabel.load(file)  # type: ignore[attr-defined,unused-ignore]
    values = np.asarray(image.dataobj).astype(np.float32)
    values /= values.max()
    start = (np.asarray(FIELD_ORIGIN) - image.affine[:3, 3]).round().astype(int)
    stop = start + np.asarray(FIELD_SIZE, dtype=int)
    inside = tuple(slice(max(a, 0), b) for a, b in zip(start, stop, strict=True))
    cut = values[inside]
    before = np.maximum(-start, 0)
    after = np.asarray(FIELD_SIZE, dtype=int) - before - cut.shape
    return np.pad(cut, list(zip(before, after, strict=True)))


def uphill(distance: Array) -> tuple[Array, Array, Array]:
    """Return the unit vector along which a distance at 2 mm grows, smoothed; shorter where it hardly does."""
    gradient = np.stack(np.gradient(ndimage.gaussian_filter(distance, 2), COARSE))
    gradient /= np.maximum(np.sqrt((gradient**2).sum(axis=0)), 0.2)
    return gradient[0], gradient[1], gradient[2]


def thin(values: NDArray[Any]) -> NDArray[Any]:
    """Return every second value along each axis: a map at 2 mm of one at 1 mm."""
    return values[::COARSE, ::COARSE, ::COARSE]


def thicken(values: Array, shape: tuple[int, ...]) -> Array:
    """Return a map at 1 mm, of a shape, with each value of one at 2 mm twice along each axis."""
    for axis in range(3):
        values = np.repeat(values, COARSE, axis=axis)
    return values[: shape[0], : shape[1], : shape[2]]


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    return np.asarray(labels == 1 + int(np.argmax(sizes[1:])))


def _lateral_ventricles(fluid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep of the fluid the lateral ventricles: not the third, cisterns, insula or sulci."""
    axes = (start + np.arange(size) for start, size in zip(FIELD_ORIGIN, FIELD_SIZE, strict=True))
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    box = (np.abs(x) < 36) & (y > -62) & (y < 38) & (z > -3) & (z < 34)
    cistern = (np.abs(x) < 9) & (y < -24)
    third = (np.abs(x) < 4) & (z < 8)
    return _largest(fluid & box & ~cistern & ~third)


def _places(gm: Array, wm: Array, depth: Array, ventricles: Array) -> dict[Place, tuple[Array, NDArray[np.float64]]]:
    """Return where lesions start, by the McDonald criteria's regions (Thompson et al. 2018)."""
    index = np.indices(wm.shape, dtype=np.float32)
    points = np.moveaxis(index, 0, -1) * COARSE + np.asarray(FIELD_ORIGIN, dtype=np.float32)
    x, y, z = (points[..., axis] for axis in range(3))
    cortex = ndimage.distance_transform_edt(~((gm > 0.5) & (depth < 28) & (ventricles > 10)), sampling=COARSE)

    below = is_infratentorial(x, y, z)
    white = (wm > 0.5) & ~below
    stem = np.exp(-((x / 10) ** 2 + ((y + 27) / 9) ** 2 + ((z + 32) / 14) ** 2))
    peduncles = np.exp(-(((np.abs(x) - 19) / 9) ** 2 + ((y + 54) / 12) ** 2 + ((z + 36) / 9) ** 2))
    weights: dict[Place, Any] = {
        "periventricular": white * (ventricles > 0) * (ventricles < 10) * np.exp(-ventricles / 4),
        "juxtacortical": white * (ventricles > 10) * (cortex < 5) * np.exp(-cortex / 3),
        "deep": white * (ventricles > 6) * (ventricles < 30) * (cortex > 4),
        "infratentorial": below * (gm + wm > 0.9) * (wm > 0.35) * (depth > 4) * (stem + peduncles),
    }
    places: dict[Place, tuple[Array, NDArray[np.float64]]] = {}
    for place, weight in weights.items():
        chosen = weight > 1e-4
        total = np.cumsum(weight[chosen], dtype=np.float64)
        places[place] = (points[chosen], total / total[-1])
    return places

"""The folds: a ribbon of cortex, thin sulci, and leaves of the cerebellum, each patient's own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.phantoms.anatomy import Anatomy, Tissues
from shared.phantoms.atlas import is_infratentorial, load_atlas
from shared.phantoms.grids import Grid, SmoothField
from shared.phantoms.vessels import vessel_points
from shared.seeds import generator

FINE = Grid.covering((1.0, 1.0, 1.0))


def anatomy(subject: int) -> Anatomy:
    return Anatomy(generator(0, "phantom", "bwh", subject, "anatomy"))


@pytest.fixture(scope="module")
def fine() -> list[Tissues]:
    return [anatomy(subject).tissues(FINE) for subject in (1, 2)]


def cerebrum(tissues: Tissues, subject: int) -> NDArray[np.bool_]:
    """Where there is cortex and no other grey matter, about."""
    points = anatomy(subject).template_points(FINE.axes())
    return np.asarray(
        tissues.brain & ~is_infratentorial(*points) & (tissues.ventricle_distance > 20) & (tissues.nuclei < 0.05)
    )


def test_fractions_fill_the_brain_and_nothing_else(fine: list[Tissues]) -> None:
    for tissues in fine:
        parts = np.stack([tissues.gm, tissues.wm, tissues.csf])
        assert parts.min() > -1e-5
        assert np.allclose(parts.sum(axis=0)[tissues.brain], 1, atol=1e-4)
        assert not parts[:, ~tissues.brain].any()


def test_the_cortex_is_a_ribbon_as_thick_as_peoples(fine: list[Tissues]) -> None:
    for subject, tissues in enumerate(fine, 1):
        where = cerebrum(tissues, subject)
        # The area between white matter and the rest is the integral of the gradient's length.
        area = np.sqrt(sum(np.square(part) for part in np.gradient(tissues.wm)))
        assert 2.0 < tissues.gm[where].sum() / area[where].sum() < 4.0
        sure = (np.maximum(tissues.gm, np.maximum(tissues.wm, tissues.csf)) > 0.8)[where]
        assert sure.mean() > 0.5, "a ribbon has sharp borders"


def test_tissues_have_the_volumes_of_people(fine: list[Tissues]) -> None:
    for tissues in fine:
        grey, white, fluid = (float(part.sum()) for part in (tissues.gm, tissues.wm, tissues.csf))
        assert 1.0 < grey / white < 1.6
        assert 0.05 < fluid / (grey + white + fluid) < 0.25


def test_sulci_are_thin_and_deep(fine: list[Tissues]) -> None:
    for subject, tissues in enumerate(fine, 1):
        where = cerebrum(tissues, subject) & (tissues.csf > 0.4)
        sulcal = float(where.sum()) / tissues.brain.sum()
        assert 0.02 < sulcal < 0.12
        depth = load_atlas().depth
        index = np.rint((anatomy(subject).template_points(FINE.axes()) + 88) / 2).astype(int)
        index[1] += 17  # the field begins 122 mm behind
        x, y, z = (part.clip(0, size - 1) for part, size in zip(index, depth.shape, strict=True))
        assert (depth[x, y, z][where] > 8).mean() > 0.2


def test_every_patient_has_folds_of_its_own(fine: list[Tissues]) -> None:
    one, other = (tissues.csf[:, :, 120:150] for tissues in fine)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.5


@pytest.mark.parametrize(("voxel", "off"), [((2.0, 2.0, 2.0), 0.12), ((2.0, 2.0, 4.0), 0.25)])
def test_the_same_tissues_at_another_voxel_size(
    fine: list[Tissues], voxel: tuple[float, float, float], off: float
) -> None:
    """Of thick slices more is cut away at the brain's rim, where fluid is."""
    coarse = anatomy(1).tissues(Grid.covering(voxel))
    for name in ("gm", "wm", "csf"):
        at_fine, at_coarse = (float(getattr(tissues, name).sum()) for tissues in (fine[0], coarse))
        assert at_coarse * np.prod(voxel) == pytest.approx(at_fine, rel=off), name
    again = anatomy(1).tissues(Grid.covering(voxel))
    assert np.array_equal(again.gm, coarse.gm) and np.array_equal(again.csf, coarse.csf)


def test_a_field_at_points_is_the_field_on_a_grid() -> None:
    field, axes = SmoothField(np.random.default_rng(0), 11.0), FINE.axes((30, 40, 50), (80, 90, 100))
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    on_grid, at = field(axes), field.at(points)
    assert np.corrcoef(on_grid.ravel(), at.ravel())[0, 1] > 0.97, "they differ in how the variance is evened out"
    assert field.at(points.reshape(3, -1)).std() == pytest.approx(on_grid.std(), rel=0.2)


def test_vessels_are_thin_dark_tubes(fine: list[Tissues]) -> None:
    for tissues in fine:
        share = np.zeros(FINE.shape, dtype=np.float32)
        share.ravel()[tissues.vessels.voxels] = tissues.vessels.share
        assert len(np.unique(tissues.vessels.voxels)) == len(tissues.vessels.voxels)
        assert 0 < share.max() <= 1
        assert 0.5 < share[tissues.brain].sum() / 1000 < 20, "ml"
    place = vessel_points()[0]
    index = tuple(np.rint(anatomy(1).world_points(place).T - FINE.affine[:3, 3]).astype(int).T)
    first = np.zeros(FINE.shape, dtype=np.float32)
    first.ravel()[fine[0].vessels.voxels] = fine[0].vessels.share
    assert (first[index] > 0.2).mean() > 0.9

"""What a scanner makes of tissues: as ever where nothing is varied, and lesions to be seen in whatever is."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.phantoms.anatomy import Anatomy, Tissues
from shared.phantoms.canvas import LesionMaps
from shared.phantoms.centers import CENTERS, VARIED, profile
from shared.phantoms.grids import Grid
from shared.phantoms.lesions import make_lesions
from shared.phantoms.relaxation import LESION_T2
from shared.phantoms.scanner import PLAIN, Effects, _filtered, scan
from shared.phantoms.signals import Contrast, draw_mixture
from shared.phantoms.variation import draw_takes
from shared.seeds import generator
from tests.support.plain_scanner import plain_scan

GRID = Grid.covering((3.0, 3.0, 3.0))
CONTRASTS: tuple[Contrast, ...] = ("FLAIR", "T2w")


@cache
def patient() -> tuple[Tissues, LesionMaps]:
    anatomy, rng = Anatomy(generator(0, "scanner", "anatomy")), generator(0, "scanner", "lesions")
    tissues = anatomy.tissues(GRID)
    return tissues, make_lesions(rng, 20.0, anatomy, tissues, GRID, 0.0)


@pytest.mark.parametrize("name", CENTERS)
def test_images_of_the_eight_are_to_the_bit_as_ever(name: str) -> None:
    tissues, lesions = patient()
    for contrast, take in draw_takes(CENTERS[name], 1, GRID, 0).items():
        for subject in range(2):
            expected = plain_scan(
                CENTERS[name].protocols[contrast], tissues, lesions, GRID, generator(0, name, subject)
            )
            image = scan(take.protocol, tissues, lesions, GRID, generator(0, name, subject), take.effects)
            assert np.array_equal(image, expected)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_a_random_mixture_is_what_its_contrast_is_called_by(contrast: Contrast) -> None:
    """Lesions are brighter than white matter, and fluid is darker than they in FLAIR and no darker in T2w."""
    t2 = np.linspace(*LESION_T2, 20, dtype=np.float32)
    mixtures = [draw_mixture(contrast, np.random.default_rng(k)) for k in range(500)]
    for one in mixtures:
        lesions = one.lesions(t2)
        assert lesions.min() > 1.05 and one.lesion > 1.15 and (np.diff(lesions) >= 0).all()
        assert one.means.fluid < one.lesion if contrast == "FLAIR" else one.means.fluid >= lesions.max() - 1e-6
    cortex = np.array([one.means.cortex for one in mixtures])
    assert (cortex < 0.9).mean() > 0.2 and (cortex > 1.1).mean() > 0.2, "else it is not random"


def medians(share: float) -> Iterator[tuple[Contrast, float, float, float]]:
    """Draw images of one anatomy from many hospitals: contrast, and medians of lesion, white matter and ventricle."""
    tissues, lesions = patient()
    white = (tissues.wm > 0.95) & (lesions.rim == 0) & (tissues.ventricle_distance > 8)
    ventricle = (tissues.csf > 0.95) & (tissues.ventricle_distance == 0) & (tissues.flow < 0.1)
    core = (lesions.fraction > 0.8) & (tissues.gm < 0.2)
    assert min(white.sum(), ventricle.sum(), core.sum()) > 50
    for number in range(2, 42):
        center = replace(profile(f"varied-{number}"), random_share=share)
        for contrast, take in draw_takes(center, number, GRID, 0).items():
            rng = generator(0, center.name, contrast)
            image: NDArray[np.int16] = scan(take.protocol, tissues, lesions, GRID, rng, take.effects)
            lesion, matter, fluid = (float(np.median(image[where])) for where in (core, white, ventricle))
            yield contrast, lesion, matter, fluid


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_lesions_are_seen_and_fluid_is_in_its_place(share: float) -> None:
    made = list(medians(share))
    assert np.mean([lesion > 1.05 * matter for _, lesion, matter, _ in made]) > 0.95
    assert np.mean([fluid < lesion for contrast, lesion, _, fluid in made if contrast == "FLAIR"]) > 0.95
    assert np.mean([fluid >= lesion for contrast, lesion, _, fluid in made if contrast == "T2w"]) > 0.95


def test_fewer_frequencies_ring_at_an_edge_and_keep_the_mean() -> None:
    step = np.zeros((64, 48, 4), dtype=np.float32)
    step[16:48] = 1
    assert _filtered(step, PLAIN) is step
    coarse = _filtered(step, Effects(matrix=(0.5, 1.0)))
    assert coarse.dtype == np.float32 and coarse.shape == step.shape
    assert coarse.max() > 1.02 and coarse.min() < -0.02
    assert coarse.mean() == pytest.approx(step.mean(), abs=1e-5)
    assert np.allclose(np.fft.rfft(coarse, axis=0)[17:], 0, atol=1e-3)
    sharp = _filtered(step, Effects(matrix=(0.5, 1.0), sharpening=0.5))
    assert sharp.max() > coarse.max() and sharp.mean() == pytest.approx(step.mean(), abs=1e-5)


def test_a_varied_hospital_has_both_contrasts_of_every_patient() -> None:
    assert VARIED.contrasts == CONTRASTS and VARIED.name not in CENTERS

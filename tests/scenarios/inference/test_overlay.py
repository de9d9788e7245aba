"""The picture of a segmentation: lesions are laid over the lower slices alone, and any image can be drawn."""

import io

import numpy as np
import pytest
from PIL import Image

from client.qc.slices import slices_of
from scenarios.inference.overlay import draw_overlay
from tests.support.datasets import grid, patient


def coloured(png: bytes) -> tuple[int, int]:
    """Pixels that are not grey, in the upper and in the lower half, the scale at the foot left out."""
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)[:-80]
    hue = picture.max(axis=2) - picture.min(axis=2) > 40
    middle = (len(hue) + 80) // 2
    return int(hue[:middle].sum()), int(hue[middle:].sum())


def test_lesions_are_laid_over_the_lower_slices() -> None:
    shape, affine = grid((2.0, 2.0, 2.0))
    image, label = patient(shape, affine)
    above, below = coloured(draw_overlay(slices_of(image, affine, label), "sub-01", "not for clinical use"))
    assert above == 0 and below > 500


def test_a_faint_lesion_is_shown_and_less_than_a_tenth_is_not() -> None:
    shape, affine = grid((2.0, 2.0, 2.0))
    image, label = patient(shape, affine)
    assert coloured(draw_overlay(slices_of(image, affine, label * 0.3), "", ""))[1] > 100
    assert coloured(draw_overlay(slices_of(image, affine, label * 0.05), "", "")) == (0, 0)


@pytest.mark.parametrize("cut", [np.s_[:, :, :2], np.s_[:2], np.s_[:, :2]])
def test_a_thin_image_is_still_a_picture(cut: tuple[slice, ...]) -> None:
    shape, affine = grid((2.0, 2.0, 2.0))
    image, label = (part[cut] for part in patient(shape, affine))
    assert draw_overlay(slices_of(image, np.diag([1e-3, 1.0, 1.0, 1.0]), label), "$x_1$", "").startswith(b"\x89PNG")

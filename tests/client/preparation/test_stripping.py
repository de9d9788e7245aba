"""A brain is found in FLAIR and T2w heads; a mask that is no brain's, or cuts lesions off, is refused."""

import numpy as np
import pytest

from client.preparation.stripping import brain_ml, check_brain, find_brain, share_cut
from client.preparation.volume import ScanVolume
from shared.errors import DataError
from tests.support.heads import in_slices, simulated_brains, with_skull


@pytest.mark.slow
@pytest.mark.parametrize(
    ("contrast", "thick", "least"), [("FLAIR", 1, 0.96), ("FLAIR", 3, 0.96), ("T2w", 1, 0.88), ("T2w", 3, 0.85)]
)
def test_deepbet_finds_the_brain(contrast: str, thick: int, least: float) -> None:
    """Least Dice of the mask; what it is worth on more heads, tests/oracles/skull_stripping.py prints."""
    head = with_skull(simulated_brains((2.0, 2.0, 2.0))[contrast], contrast)
    head = in_slices(head, thick) if thick > 1 else head
    found = find_brain(head.image)
    assert 2 * np.count_nonzero(found & head.brain) / (np.count_nonzero(found) + np.count_nonzero(head.brain)) > least
    assert share_cut(found, head.image.like(head.label)) < 0.001


def test_an_image_without_a_brain_is_refused() -> None:
    with pytest.raises(DataError, match="--mask"):
        find_brain(ScanVolume(np.zeros((20, 20, 20), dtype=np.float32), np.diag([9.0, 9.0, 9.0, 1.0])))


def test_a_mask_that_is_no_brains_is_refused() -> None:
    image = ScanVolume(np.ones((20, 20, 20), dtype=np.float32), np.diag([5.0, 5.0, 5.0, 1.0]))  # 1000 ml
    whole = np.ones(image.array.shape, dtype=bool)
    label = image.like(np.zeros(image.array.shape))
    label.array[:10, 0, 0] = 1
    check_brain(whole, image, label)
    with pytest.raises(DataError, match="500 ml"):
        check_brain(whole & (np.arange(20) < 10), image, label)
    cut = whole.copy()
    cut[0, 0, 0] = False
    assert brain_ml(cut, image) == pytest.approx(999.875)
    with pytest.raises(DataError, match=r"loses 10\.0% of its lesion voxels"):
        check_brain(cut, image, label)

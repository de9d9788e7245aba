"""Pictures and page: whole, self-contained, and safe with whatever a file is named."""

import base64
import io
import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.data.layouts import take_inventory
from client.qc.dataset_check import DatasetCheck, check_inventory
from client.qc.html_page import write_page
from client.qc.montage import OUTLINE, draw_case, draw_montage, title
from client.qc.slices import slices_of
from shared.errors import ResultsError
from tests.support.datasets import grid, patient, write_dataset

WHEN = datetime(2022, 10, 27, 12, 30)


@pytest.fixture(scope="module")
def checkup(tmp_path_factory: pytest.TempPathFactory) -> DatasetCheck:
    folder = write_dataset(tmp_path_factory.mktemp("data"), ["sub-1", "sub-2", "sub-<b>$x_1$"], voxel=2.0)
    (folder / "sub-2/anat/sub-2_FLAIR.nii.gz").write_bytes(b"")
    return check_inventory(take_inventory(folder, ("FLAIR",)))


def coloured(png: bytes) -> int:
    """How many dots have the outline's colour."""
    dots = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    colour = [int(OUTLINE[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(dots - colour).max(axis=-1) < 40).sum())


def test_the_lesion_is_outlined_and_nothing_else() -> None:
    shape, affine = grid((2.0, 2.0, 2.0))
    image, label = patient(shape, affine)
    assert coloured(draw_case(slices_of(image, affine, label))) > 100
    assert coloured(draw_case(slices_of(image, affine, None))) == 0


@pytest.mark.parametrize("label", [np.ones((4, 4, 4)), np.eye(4)[:, :, None] * np.ones(4), np.zeros((4, 4, 4))])
def test_any_label_can_be_drawn(label: np.ndarray) -> None:
    image = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    for cut in (slice(None), slice(1)):
        view = slices_of(image[cut], np.diag([1e-3, 1.0, 1.0, 1.0]), label[cut].astype(np.float32))
        assert draw_case(view).startswith(b"\x89PNG")


def test_the_montage_shows_every_image_that_could_be_read(checkup: DatasetCheck, tmp_path: Path) -> None:
    draw_montage(checkup.checked, tmp_path / "montage.png")
    with Image.open(tmp_path / "montage.png") as picture:
        one_wide = picture.size
    draw_montage(checkup.checked * 2, tmp_path / "montage.png")
    with Image.open(tmp_path / "montage.png") as picture:
        assert picture.size == (2 * one_wide[0], one_wide[1]), "four cases, two in a row"


def test_a_montage_of_nothing_says_so(tmp_path: Path) -> None:
    draw_montage([], tmp_path / "montage.png")
    assert (tmp_path / "montage.png").stat().st_size > 0


def test_the_title_tells_lesions_and_verdict(checkup: DatasetCheck) -> None:
    titles = [title(one) for one in checkup.checked]
    assert re.fullmatch(r"sub-1  ·  FLAIR  ·  1\.4 ml in 1 lesion", titles[0])
    assert titles[1] == "sub-2  ·  FLAIR  ·  SET ASIDE"


def test_the_page_needs_no_other_file(checkup: DatasetCheck, tmp_path: Path) -> None:
    write_page(checkup, tmp_path / "check.html", WHEN)
    page = (tmp_path / "check.html").read_text()
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 2 == page.count("<img")
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert "<script" not in page and "http" not in page and "2022-10-27 12:30" in page


def test_the_page_says_the_verdict_and_the_mend(checkup: DatasetCheck, tmp_path: Path) -> None:
    write_page(checkup, tmp_path / "check.html", WHEN)
    page = (tmp_path / "check.html").read_text()
    assert "Some set aside" in page and "2 of 3 images can be used" in page
    assert "image is an empty file: copy it again from its source" in page
    assert "26-connectivity" in page


def test_a_name_is_text_and_never_markup(checkup: DatasetCheck, tmp_path: Path) -> None:
    write_page(checkup, tmp_path / "check.html", WHEN)
    page = (tmp_path / "check.html").read_text()
    assert "sub-<b>" not in page and "sub-&lt;b&gt;$x_1$" in page


def test_what_cannot_be_written_is_named(checkup: DatasetCheck, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"montage.png cannot be written"):
        draw_montage(checkup.checked, tmp_path / "nowhere/montage.png")
    with pytest.raises(ResultsError, match=r"check.html cannot be written"):
        write_page(checkup, tmp_path / "nowhere/check.html", WHEN)

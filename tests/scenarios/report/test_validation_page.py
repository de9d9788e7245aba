"""The page of an external validation: its numbers, its worst slices, and whose eyes it is for."""

import base64
import html
import io
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from scenarios.inference.external_validation import ExternalValidation, ScoredCase
from scenarios.inference.worst_slices import FALSE, HIT, MISSED, ErrorSlice, ErrorView
from scenarios.report.error_slices import COLORS, COVER, draw_errors
from scenarios.report.style import DARK, LIGHT
from scenarios.report.validation_page import WORST, headline, worst_of, write_validation
from shared.errors import ResultsError
from tests.support.browser import CHROMIUM, look_at
from tests.support.validated import case, mask

TRUTH = mask((0, 0, 4, 0), (2, 10, 20, 9))
PART, NOTHING = mask((0, 2, 4, 0), (0, 20, 21, 0)), mask()


def cases() -> list[ScoredCase]:
    return [
        *(
            case(TRUTH, PART, "here", f"sub-{i}", contrast, slices=True)
            for i in (1, 2)
            for contrast in ("FLAIR", "T2w")
        ),
        case(TRUTH, NOTHING, "a <b>there</b>", "sub-1", warnings=("slices are thick",), slices=True),
        case(TRUTH, TRUTH, "a <b>there</b>", "sub-2", slices=True),
        case(NOTHING, mask((0, 0, 2, 0)), "here", "sub-3", slices=True),
    ]


def written(folder: Path, scored: list[ScoredCase]) -> Path:
    page = folder / "page.html"
    found = ExternalValidation(tuple(scored), ("sub-9_FLAIR.nii.gz has no lesion label",))
    write_validation(found, "runs/x", page, datetime(2026, 1, 2, 3, 4))
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("validation"), cases())


def text_of(page: Path) -> str:
    """What a reader sees."""
    body = re.sub(r"<style.*?</style>", " ", page.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


def test_the_page_says_first_that_it_shows_patients_and_only_its_owner_may_read_it(page: Path) -> None:
    text = text_of(page)
    assert text.index("Confidential. This page shows slices of the patients of here, a <b>there</b>") < 150
    assert page.stat().st_mode & 0o077 == 0


def test_the_page_has_the_means_and_all_that_was_found(page: Path) -> None:
    """2 of 14 voxels are hit and 1 of 3 is false in the four images of `here`: Dice 4/17; 0 and 1 at the other."""
    text = text_of(page)
    assert f"Mean Dice {(4 * 4 / 17 + 1) / 6:.3f} over 6 images of 4 patients (95% interval " in text
    assert "Of 12 labelled lesions 6 are missed; 4 of the 10 found are false." in text
    assert "here FLAIR 2 2 0.235 (–) 0.500 (–) 0.143 (–) 0.667 (–)" in text
    assert "a <b>there</b> FLAIR 2 2 0.500 (–)" in text
    assert "here FLAIR 1.4 0.3 4 2 2 0 of 0 2 of 4 0 of 0" in text
    assert "here · sub-3 · FLAIR: 0.10 ml found, in 1 lesion" in text
    assert "sub-1 FLAIR: slices are thick" in text and "sub-9_FLAIR.nii.gz has no lesion label" in text


def test_where_there_is_no_interval_the_page_says_why(tmp_path: Path) -> None:
    text = text_of(written(tmp_path, cases()[:2]))
    assert "Mean Dice 0.235 over 2 images of 1 patient." in text
    assert "There is no interval: fewer than 3 patients" in text


def test_the_worst_images_come_first_and_a_perfect_one_has_no_slices(page: Path) -> None:
    text = text_of(page)
    titles = re.findall(r"<h3>(.*?)</h3>", page.read_text())
    assert titles[0] == html.escape("a <b>there</b>") + " · sub-1 · FLAIR" and titles[-1].endswith("sub-2 · FLAIR")
    assert len(titles) == 6 and page.read_text().count("data:image/png") == 5
    assert "no voxel is missed or false." in text
    many = [case(TRUTH, PART, "here", f"sub-{i}") for i in range(9)]
    assert len(worst_of(many)) == WORST


def test_images_without_lesions_alone_have_a_page_too(tmp_path: Path) -> None:
    assert headline([]) == "No image has a lesion, so that there is no mean."
    assert "No image has a lesion" in text_of(written(tmp_path, [case(NOTHING, NOTHING)]))


def test_the_page_asks_for_nothing_from_outside_and_takes_no_name_for_html(page: Path) -> None:
    content = page.read_text()
    assert "<script" not in content and "<b>there</b>" not in content
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", content)
    assert all(len(words) > 40 for words in re.findall(r'<img src="[^"]*" alt="([^"]+)"', content))
    assert "Files:" not in content and "File:" not in content, "there are none beside it"


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(ResultsError, match="give another --html"):
        written(tmp_path, cases()[:1])


def test_hits_misses_and_false_voxels_have_a_colour_each_and_words_lie_below() -> None:
    """On black, each third of the lower slice has its colour, and the upper one is bare."""
    kinds = np.repeat(np.array([HIT, MISSED, FALSE], np.uint8), 10)[None].repeat(30, axis=0)
    black = ErrorSlice(np.zeros((30, 30), np.uint8), kinds, 0.5, 0.1, 0.2, 0.3)
    drawn = imread(io.BytesIO(draw_errors(ErrorView((black,), 1.0, True))))[..., :3]
    tall = drawn.shape[1]
    upper, lower = drawn[tall // 2], drawn[tall + tall // 2]
    assert upper[tall // 4 : -tall // 4].max() == 0
    for place, kind in enumerate((HIT, MISSED, FALSE)):
        expected = np.multiply(to_rgb(COLORS[kind]), COVER)
        assert lower[round((place + 0.5) * tall / 3)] == pytest.approx(expected, abs=0.02)
    assert drawn[2 * tall + 4 :].max() > 0.8, "the words"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light")])
def test_a_browser_finds_nothing_wrong(page: Path, scheme: Any, width: int) -> None:
    seen = look_at(page, scheme, width)
    assert seen.said == seen.outside == []
    assert seen.images == [True] * 6
    assert seen.overflow <= 0, "the page is wider than its window"
    ink = (DARK if scheme == "dark" else LIGHT).ink
    assert seen.colors[0] == f"rgb({', '.join(str(int(ink[i : i + 2], 16)) for i in (1, 3, 5))})"
    (figure,) = [base64.b64decode(uri.partition(",")[2]).decode() for uri in seen.shown if "svg" in uri[:20]]
    assert ink in figure, "the figure's words have the page's colour"

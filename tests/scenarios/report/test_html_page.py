"""The page: complete in itself, true to the study, and opened in a real browser."""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenarios.report.html_page import NAMES, PAGE, PARTS, make_report, write_page
from scenarios.report.overlays import Example, Examples
from scenarios.report.style import DARK, LIGHT
from scenarios.results.study import Missing, RunEntry, Study, run_entry
from shared.errors import ResultsError
from tests.support.browser import CHROMIUM, look_at
from tests.support.studies import make_run, make_study, write_run

ACCS = {
    "replay": [0.601, 0.612, 0.623],
    "finetune": [0.502, 0.483, 0.514],
    "pooled": [0.611, 0.622, 0.634],
    "single": [0.545, 0.556, 0.567],
}
BWTS = {"replay": [-0.011, 0.022, -0.033], "finetune": [-0.141, -0.152, -0.163]}


def runs() -> list[RunEntry]:
    return [
        make_run(
            *(method, seed, acc, BWTS.get(method, [0, 0, 0])[seed]),
            far=acc - 0.2,
            folder=f"runs/{method}-{seed}",
            seconds=60.0,
        )
        for method, accs in ACCS.items()
        for seed, acc in enumerate(accs)
    ]


def examples() -> Examples:
    plane = np.linspace(0, 1, 30 * 24, dtype=np.float32).reshape(30, 24)
    lesion = np.zeros_like(plane)
    lesion[10:14, 8:12] = 1
    one = Example("here", "p", "FLAIR", plane, lesion, {"replay": lesion, "finetune": plane}, {"replay": 0.8}, 1.0)
    return Examples((one,), "The first test patient.")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    folder = tmp_path_factory.mktemp("study")
    missing = Missing(method="replay", seed=3, order_name="descending", reason="center <here> failed & stopped")
    made = make_study(
        runs(), missing=(missing,), settings={"steps": 3, "cache-dir": "/home/me"}, title="A <b>study</b>"
    )
    for run in made.runs:
        write_run(folder / run.folder, run)
    write_page(make_report(made, folder, examples()), folder)
    return made, folder


@pytest.fixture(scope="module")
def page(study: tuple[Study, Path]) -> str:
    return (study[1] / PAGE).read_text()


def text_of(page: str) -> str:
    """What a reader sees, drawings left out."""
    body = re.sub(r"<(style|svg).*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


def test_the_page_reads_in_the_order_of_the_question(page: str) -> None:
    text = text_of(page)
    parts = [
        "Learn continually, or train from scratch?",
        "Not decided: too few runs (replay scores higher than training on pooled data in 0 of 3 pairs, lower in 3).",
        "Table 1. Backward transfer",
        "Figure 1. Test Dice over all centers",
        "Figure 2. Test Dice at each center",
        "Figure 3. Test Dice where no model was ever trained",
        "Figure 4. Segmentations",
        "Table 3. Paired comparisons",
        "Figure 6. Test Dice of each patient",
        "Table 5. Cost of a run",
        "What to keep in mind",
        "How it was made",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_numbers_of_the_page_are_the_study_s(study: tuple[Study, Path], page: str) -> None:
    text = text_of(page)
    for summary in study[0].summary.values():
        assert f"{summary.acc.mean:.3f} ± {summary.acc.sd:.3f}" in text
    for method in ("replay", "finetune"):
        bwt = study[0].summary[method].bwt
        assert bwt is not None
        assert f"{bwt.mean:+.3f} ± {bwt.sd:.3f}".replace("-", "−") in text
    difference = np.mean(np.subtract(ACCS["replay"], ACCS["finetune"]))
    assert f"Difference to fine-tuning: {difference:+.3f}" in text


def test_three_seeds_are_not_called_significant(page: str) -> None:
    assert "smallest two-sided p of a sign-flip test is 0.25 with n = 3" in text_of(page)


def test_what_others_wrote_is_not_taken_for_html(page: str) -> None:
    assert "A <b>study</b>" not in page
    assert "center <here> failed & stopped" in text_of(page)


def test_missing_runs_and_shared_settings_are_named_but_no_one_s_folders(page: str) -> None:
    assert "replay, descending, seed 3: center <here> failed" in text_of(page)
    assert "<code>steps</code>" in page
    assert "/home/me" not in page


def test_the_page_asks_for_nothing_from_outside(page: str) -> None:
    assert "<script" not in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", page)
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page


def test_every_figure_has_words_for_those_who_cannot_see_it(page: str) -> None:
    figures = re.findall(r'<img src="[^"]*" alt="([^"]+)"', page)
    assert len(figures) == 6
    assert all(len(words) > 40 for words in figures)


def test_each_drawing_is_there_for_a_light_page_and_for_a_dark_one(study: tuple[Study, Path], page: str) -> None:
    found = re.findall(
        r'<source media="screen and \(prefers-color-scheme: dark\)" srcset="([^"]*)"><img src="([^"]*)"', page
    )
    assert len(found) == 5
    names = ("curves", "heatmaps", "evaluators", "differences", "subjects")
    for name, uris in zip(names, found, strict=True):
        dark, light = (base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")).decode() for uri in uris)
        assert light == (study[1] / PARTS / f"{name}.svg").read_text()
        assert LIGHT.ink in light and LIGHT.ink not in dark
        assert DARK.ink in dark and DARK.ink not in light


def test_no_two_parts_of_the_page_have_one_name(page: str) -> None:
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_tables_name_their_rows_and_columns(page: str) -> None:
    tables = re.findall(r"<table.*?</table>", page, flags=re.DOTALL)
    assert len(tables) == 5
    for table in tables:
        assert 'scope="col"' in table and 'scope="row"' in table and "aria-labelledby" in table


def test_each_figure_and_table_lies_beside_the_page(study: tuple[Study, Path]) -> None:
    parts = study[1] / PARTS
    for name in ("curves", "heatmaps", "evaluators", "slices", "differences", "subjects"):
        assert (parts / f"{name}.svg").read_text().rstrip().endswith("</svg>")
        assert (parts / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert len((parts / f"{name}.csv").read_text().splitlines()) > 1
    for name in ("transfer", "final", "comparisons", "scores", "costs"):
        assert len((parts / f"{name}.csv").read_text().splitlines()) > 1


def test_a_study_whose_runs_lie_nowhere_has_a_page_too(tmp_path: Path) -> None:
    study = make_study([make_run("replay", 0, 0.6), make_run("finetune", 0, 0.5)])
    report = make_report(study, tmp_path, Examples((), "", "There are no images."))
    text = text_of(write_page(report, tmp_path).read_text())
    assert "There are no images." in text
    assert "The runs have no record of their cost." in text
    assert "Patient by patient" not in text


def test_a_later_report_leaves_no_image_of_an_earlier_one(tmp_path: Path) -> None:
    study = make_study([make_run("replay", 0, 0.6), make_run("finetune", 0, 0.5)])
    shown = Examples(examples().shown, "The first.", confidential=True)
    page = write_page(make_report(study, tmp_path, shown), tmp_path)
    assert "These images may be patients'" in text_of(page.read_text())
    assert (tmp_path / PARTS / "slices.png").exists()
    (tmp_path / PARTS / "mine.csv").touch()
    page = write_page(make_report(study, tmp_path, Examples((), "", "There are none.")), tmp_path)
    assert not list((tmp_path / PARTS).glob("slices*"))
    assert (tmp_path / PARTS / "mine.csv").exists()
    assert "may be patients" not in text_of(page.read_text())


def test_every_part_has_a_name_that_is_cleared(study: tuple[Study, Path]) -> None:
    assert {path.stem for path in (study[1] / PARTS).iterdir()} == set(NAMES)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    report = make_report(make_study([make_run("replay", 0, 0.6)]), tmp_path, Examples((), ""))
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="file"):
        write_page(report, tmp_path / "file")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        (1200, "light"),
        pytest.param(390, "light", marks=pytest.mark.slow),
        pytest.param(1200, "dark", marks=pytest.mark.slow),
    ],
)
def test_a_browser_finds_nothing_wrong(study: tuple[Study, Path], scheme: Any, width: int) -> None:
    seen = look_at(study[1] / PAGE, scheme, width)
    assert seen.said == seen.outside == []
    assert seen.images == [True] * 6
    assert seen.overflow <= 0, "the page is wider than its window"
    assert seen.colors == (
        ["rgb(230, 233, 236)", "rgb(20, 23, 26)"] if scheme == "dark" else ["rgb(27, 31, 36)", "rgb(255, 255, 255)"]
    )
    ink = (DARK if scheme == "dark" else LIGHT).ink
    drawings = [base64.b64decode(uri.partition(",")[2]).decode() for uri in seen.shown if "svg" in uri[:20]]
    assert len(drawings) == 5
    assert all(ink in svg for svg in drawings), "the figures' words have the page's colour"
    assert [f"rgb({', '.join(str(int(ink[i : i + 2], 16)) for i in (1, 3, 5))})"] == seen.colors[:1]


def test_the_authors_matrices_give_their_page(published_matrices: Path, tmp_path: Path) -> None:
    read: dict[str, Any] = json.loads(published_matrices.read_text())
    found = []
    for seed, one in read.items():
        for method in ("replay", "finetune"):
            found.append(run_entry(method, int(seed), f"random-{seed}", one["order"], one[method]))
        found.append(run_entry("pooled", int(seed), "any", one["order"], [one["multi"]]))
    study = make_study(found, centers=tuple(sorted(found[0].order)))
    text = text_of(write_page(make_report(study, tmp_path, Examples((), "")), tmp_path).read_text())
    # Means of the four orders: (0.069 + 0.031 + 0.059 + 0.087) / 4 and -(0.146 + 0.117 + 0.104 + 0.001) / 4.
    assert "Backward transfer: replay +0.061, fine-tuning −0.092." in text
    assert (
        "Not decided: too few runs (replay scores higher than training on pooled data in 3 of 4 pairs, lower in 1)."
        in text
    )

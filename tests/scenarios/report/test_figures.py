"""The figures: what is drawn is what the study holds, and nothing is cut off or overlaps."""

import re
from collections.abc import Callable, Iterable
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from scenarios.report.case_scores import CaseScores, Details
from scenarios.report.comparisons import comparisons
from scenarios.report.curves import draw_curves
from scenarios.report.evaluators import draw_evaluators
from scenarios.report.figures import Picture, style, to_png, to_svg
from scenarios.report.forest_plot import draw_forest
from scenarios.report.heatmaps import average, draw_heatmaps
from scenarios.report.overlays import Example, Examples, draw_overlays
from scenarios.report.style import DARK, LIGHT, PALETTE, Look, Theme, look_of
from scenarios.report.subject_scores import HALF, draw_subjects, swarm
from scenarios.results.study import Costs, Study, run_entry
from shared.methods import METHODS
from tests.support.studies import make_run, make_study, study_of

FEW = ("replay", "pooled")
CENTERS = ("bwh", "karo", "rennes", "milan", "nih", "montp", "ucsf", "amu")


def big_study(orders: int, centers: tuple[str, ...] = CENTERS, methods: Iterable[str] = METHODS) -> Study:
    """Random matrices, of all methods where nothing else is said, and three evaluators."""
    k = len(centers)
    rng = np.random.default_rng(7)
    runs = []
    for method in methods:
        one_row = method in ("pooled", "fedavg")
        for i in range(1 if one_row or method == "single" else orders):
            order = tuple(rng.permutation(centers)) if orders > 1 else centers
            name = "any" if one_row or method == "single" else f"random-{i}" if orders > 1 else "descending"
            for seed in range(3):
                r = rng.uniform(0.1, 0.9, size=(1 if one_row else k, k)).tolist()
                beside = rng.uniform(0.1, 0.9, size=(len(r), 3)).tolist()
                evaluated = [f"{center}-2" for center in centers[:3]], beside
                runs.append(run_entry(method, seed, name, order, r, evaluated=evaluated))
    return make_study(runs, centers=centers)


def details_of(study: Study) -> Details:
    rng = np.random.default_rng(8)
    return Details(
        tuple(
            CaseScores(run.method, run.order_name, run.seed, center, f"{i}", "FLAIR", {"dice": float(rng.uniform())})
            for run in study.runs
            for center in study.centers
            for i in range(3)
        ),
        (),
        None,
    )


def drawn(study: Study) -> list[Picture]:
    found = [draw_curves(study), draw_heatmaps(study), draw_evaluators(study), draw_forest(comparisons(study))]
    return [picture for picture in [*found, draw_subjects(study, details_of(study))] if picture is not None]


def examples() -> Examples:
    plane = np.zeros((30, 24), dtype=np.float32)
    lesion = plane.copy()
    lesion[10:14, 8:12] = 1
    dice = {"finetune": 0.4, "replay": 0.8}
    shown = [
        Example(center, "p", "FLAIR", plane + 0.5, lesion, dict.fromkeys(dice, lesion * 0.9), dice, 1.0)
        for center in ("bwh", "milan")
    ]
    return Examples(tuple(shown), "The first ones.")


def words(figure: Figure) -> list[Text]:
    """All that is drawn; labels of ticks beyond the scale's ends exist, but are not."""
    FigureCanvasAgg(figure)  # lays out as the page's is; nothing is painted
    figure.draw_without_rendering()
    beyond = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    texts = figure.findobj(Text)
    return [text for text in texts if text.get_text().strip() and text.get_visible() and text not in beyond]


@pytest.mark.parametrize(
    "study",
    [
        pytest.param(lambda: big_study(1), id="one order", marks=pytest.mark.slow),
        pytest.param(lambda: big_study(3), id="three orders"),
        pytest.param(lambda: big_study(1, tuple(f"university-hospital-{i}" for i in range(12)), FEW), id="long names"),
        pytest.param(lambda: big_study(1, tuple(f"c{i}" for i in range(20)), FEW), id="twenty centers"),
    ],
)
def test_no_word_is_cut_off_and_no_two_overlap(study: Callable[[], Study]) -> None:
    pictures = drawn(study())
    assert len(pictures) == 5
    check_words(pictures)


def test_no_word_beside_a_slice_is_cut_off_or_lies_on_another() -> None:
    picture = draw_overlays(examples())
    assert picture is not None
    check_words([picture])


def check_words(pictures: list[Picture]) -> None:
    for picture in pictures:
        with style():
            texts = words(picture.figure)
            boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
        width, height = picture.figure.bbox.size
        for text, box in boxes:
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, f"{picture.name}: {text!r} is cut off"
        # Slanted labels have boxes that overlap where the letters do not.
        upright = [pair for text, pair in zip(texts, boxes, strict=True) if text.get_rotation() in (0, 90)]
        for (one, a), (other, b) in combinations(upright, 2):
            apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
            assert apart, f"{picture.name}: {one!r} lies on {other!r}"


def test_curves_hold_the_mean_over_centers_after_each_visit() -> None:
    r = [[0.6, 0.2], [0.5, 0.7]]
    runs = [run_entry("replay", 0, "descending", ("here", "there"), r), make_run("pooled", 0, 0.65)]
    picture = draw_curves(make_study(runs))
    assert picture is not None
    assert [row[:4] for row in picture.sheet.rows] == [
        ("replay", 1, 1, pytest.approx(0.4)),
        ("replay", 2, 1, pytest.approx(0.6)),
        ("pooled", None, 1, 0.65),
    ]
    line = picture.figure.axes[0].get_lines()[-1]
    assert list(line.get_ydata()) == pytest.approx([0.4, 0.6])
    assert "Pooled level at 0.650" in picture.alternative


def test_curves_leave_out_a_cell_without_a_score() -> None:
    run = run_entry("replay", 0, "descending", ("here", "there"), [[0.6, None], [0.5, 0.7]])
    picture = draw_curves(make_study([run]))
    assert picture is not None
    assert picture.sheet.rows[0][3] == pytest.approx(0.6)


def test_curves_and_heat_maps_say_what_was_not_asked_for() -> None:
    r = [[0.6, None], [0.5, 0.7]]
    study = make_study([run_entry("replay", 0, "descending", ("here", "there"), r, Costs(not_asked=1))])
    curves, heatmaps = draw_curves(study), draw_heatmaps(study)
    assert curves is not None and "a sample of the others" in curves.caption
    assert heatmaps is not None and "(1 cells were not asked for)" in heatmaps.caption


def test_without_a_sequential_method_there_are_no_curves_or_heat_maps() -> None:
    study = study_of({"pooled": [0.6], "single": [0.5]})
    assert draw_curves(study) is None
    assert draw_heatmaps(study) is None
    assert draw_forest(()) is None
    assert draw_subjects(study, Details((), (), None)) is None
    assert draw_overlays(Examples((), "")) is None


def test_small_differences_do_not_fill_the_scale() -> None:
    picture = draw_curves(study_of({"replay": [0.600, 0.601], "finetune": [0.599, 0.600]}))
    assert picture is not None
    bottom, top = picture.figure.axes[0].get_ylim()
    assert 0 <= bottom < top <= 1
    assert top - bottom >= 0.3 - 1e-9


def test_the_mean_matrix_counts_only_cells_that_there_are() -> None:
    r = [[[0.6, None], [0.5, 0.7]], [[0.8, 0.2], [0.5, None]]]
    found = average([run_entry("replay", i, "descending", ("here", "there"), r[i]) for i in (0, 1)])
    assert found.names == ("here", "there")
    assert found.mean.ravel().tolist() == pytest.approx([0.7, 0.2, 0.5, 0.7])
    assert found.count.tolist() == [[2, 1], [2, 1]]
    assert found.deviation[0, 0] == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert np.isnan(found.deviation[0, 1])


def test_a_cell_that_was_never_evaluated_is_hatched() -> None:
    run = run_entry("replay", 0, "descending", ("here", "there"), [[0.6, None], [0.5, 0.7]])
    picture = draw_heatmaps(make_study([run]))
    assert picture is not None
    assert [patch.get_hatch() for patch in picture.figure.axes[0].patches if patch.get_hatch()] == ["////"]
    assert "Hatched: not evaluated." in picture.caption
    assert {text.get_text() for text in picture.figure.axes[0].texts} == {"0.60", "0.50", "0.70"}


def test_different_orders_are_averaged_by_place() -> None:
    runs = [make_run("replay", 0, 0.6, order_name=name) for name in ("random-0", "random-1")]
    picture = draw_heatmaps(make_study(runs))
    assert picture is not None
    assert [label.get_text() for label in picture.figure.axes[0].get_xticklabels()] == ["1st", "2nd"]
    assert "places in the order" in picture.caption


def test_ink_is_readable_on_every_cell() -> None:
    """WCAG asks for a contrast of 4.5 for text; the map's middle greys allow a little less."""
    values = np.linspace(0, 1, 25).reshape(5, 5).tolist()
    picture = draw_heatmaps(
        make_study([run_entry("replay", 0, "given", tuple("abcde"), values)], centers=tuple("abcde"))
    )
    assert picture is not None
    axes = picture.figure.axes[0]
    FigureCanvasAgg(picture.figure).draw()
    mesh = axes.collections[0]
    for text, face in zip(axes.texts, mesh.get_facecolors(), strict=True):
        ink = [int(text.get_color()[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        light, dark = sorted((luminance(ink), luminance(face[:3])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.2, text.get_text()


def luminance(rgb: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_methods_are_told_apart_without_colour() -> None:
    """All that the palette holds, so that the next method has a look of its own."""
    looks = [Look("", "", "", *row) for row in PALETTE]
    assert len(looks) >= len(METHODS)
    assert len({str(look.dashes) for look in looks}) == len(looks)
    assert len({look.marker for look in looks}) == len(looks)
    assert len({look.color for look in looks}) == len({look.dark for look in looks}) == len(looks)


def test_every_colour_stands_out_from_its_page() -> None:
    """WCAG asks for a contrast of 3 for what is drawn."""
    for look in [Look("", "", "", *row) for row in PALETTE]:
        assert contrast(look.color, LIGHT.paper) >= 3, look
        assert contrast(look.dark, DARK.paper) >= 3, look


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_word_stands_out_from_its_page(theme: Theme) -> None:
    """WCAG asks for a contrast of 4.5 for text."""
    for color in (theme.ink, theme.quiet, theme.mark):
        for ground in (theme.paper, theme.card):
            assert contrast(color, ground) >= 4.5, (color, ground)


def contrast(color: str, ground: str) -> float:
    tones = [luminance([int(hexa[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for hexa in (color, ground)]
    return (max(tones) + 0.05) / (min(tones) + 0.05)


def test_a_method_that_nobody_knows_is_drawn_too() -> None:
    assert look_of("mine").name == "mine"
    assert draw_curves(study_of({"mine": [0.5], "replay": [0.6]})) is not None


def test_points_of_one_row_lie_within_it_side_by_side() -> None:
    places = swarm([0.5, 0.5, 0.5, 0.9])
    assert np.abs(places).max() <= HALF
    assert len(set(places[:3])) == 3
    assert places[3] == 0


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_a_figure_has_the_colours_of_its_page(theme: Theme) -> None:
    (other,) = {LIGHT, DARK} - {theme}
    study = study_of({"replay": [0.6, 0.61], "finetune": [0.5, 0.52], "pooled": [0.5, 0.5]})
    for picture in drawn(study):
        svg = to_svg(picture.dark_figure if theme.dark else picture.figure, picture.name)
        used = set(re.findall("#[0-9a-f]{6}", svg))
        assert theme.ink in used
        assert not used & {other.ink, other.quiet, *(other.color(method) for method in METHODS)}
        if picture.name in ("curves", "subjects"):
            assert theme.color("replay") in used


def test_the_same_figure_gives_the_same_svg_whose_references_lead_somewhere() -> None:
    picture, again = (draw_curves(study_of({"replay": [0.6], "pooled": [0.5]})) for _ in range(2))
    assert picture is not None and again is not None
    for figure, other in ((picture.figure, again.figure), (picture.dark_figure, again.dark_figure)):
        svg = to_svg(figure, picture.name)
        assert svg == to_svg(other, again.name)
        ids = re.findall(r'\bid="([^"]*)"', svg)
        assert ids and len(ids) == len(set(ids))
        assert {one[1:] for one in re.findall(r'href="([^"]*)"', svg)} <= set(ids)
        assert {*re.findall(r"url\(#([^)]*)\)", svg)} <= set(ids)


def test_pngs_are_on_white_and_images_on_black() -> None:
    curves, slices = draw_curves(study_of({"replay": [0.6]})), draw_overlays(examples())
    assert curves is not None and slices is not None
    for picture, corner in ((curves, (255, 255, 255)), (slices, (16, 18, 20))):
        png = to_png(picture.figure)
        assert png.startswith(b"\x89PNG")
        assert top_left(png) == corner


def top_left(png: bytes) -> tuple[int, ...]:
    import io

    from matplotlib.image import imread

    return tuple(round(float(c) * 255) for c in imread(io.BytesIO(png))[0, 0, :3])


def test_slices_say_whose_they_are_and_how_well_each_method_did() -> None:
    picture = draw_overlays(examples())
    assert picture is not None
    said = [text.get_text() for text in picture.figure.findobj(Text)]
    assert [word for word in said if "FLAIR" in word] == ["bwh · FLAIR", "milan · FLAIR"]
    assert said.count("0.40") == said.count("0.80") == 2
    assert "The first ones." in picture.caption
    assert picture.sheet.rows[0] == ("bwh", "p", "FLAIR", "finetune", 0.4)

"""A study file says what a study is, in a few lines, and its mistakes are named."""

from pathlib import Path

import pytest

from scenarios.study.config import read_study_file
from scenarios.study.plan import new_plan
from shared.clock import utc_now
from shared.errors import SettingsError
from shared.methods import METHODS
from tests.conftest import ROOT

STUDIES = sorted((ROOT / "scenarios" / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_the_project_is_valid(path: Path) -> None:
    plan = new_plan(read_study_file(path), 1, utc_now)
    assert len(plan.cells()) >= 12


def cells_of(name: str) -> list[str]:
    plan = new_plan(read_study_file(ROOT / "scenarios" / "studies" / name), 1, utc_now)
    return [cell.name for cell in plan.cells()]


def test_one_study_has_all_methods_over_the_descending_and_three_random_orders() -> None:
    cells = cells_of("all.toml")
    assert {cell.partition("-")[0] for cell in cells} == set(METHODS)
    free = [name for name, spec in METHODS.items() if spec.order_free]
    assert len(cells) == 3 * (len(free) + 4 * (len(METHODS) - len(free)))


def test_one_study_is_the_paper_s_whole_experiment() -> None:
    cells = cells_of("paper.toml")
    assert len(cells) == 9 * (2 + 2 * 2)
    assert {"single-seed8", "pooled-seed0", "replay-descending-seed4", "finetune-random-8-seed8"} <= set(cells)


def test_all_that_it_can_say(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'title = "Mine"\nmethods = ["replay"]\nseeds = [3, 5]\norders = ["descending", "random-2"]\n'
        'scenario = "mine.toml"\ncpus = 2\n[changes]\nsteps = 4\nlearning-rate = 1e-3\ndevice = "cpu"\n'
    )
    wish = read_study_file(path)
    assert (wish.title, wish.methods, wish.seeds) == ("Mine", ("replay",), (3, 5))
    assert wish.orders == ("descending", "random-2")
    assert wish.scenario == tmp_path / "mine.toml", "beside the study file"
    assert wish.changes == ("steps=4", "learning-rate=0.001", "device=cpu")
    assert wish.cpus == 2


def test_numbers_stand_for_lists(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text("seeds = 2\norders = 2\n")
    wish = read_study_file(path)
    assert (wish.seeds, wish.orders) == ((0, 1), ("random-0", "random-1"))
    assert wish.methods is None and wish.scenario is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = ", "is not TOML"),
        ("seed = 1", "unknown key seed: known are title, methods, seeds"),
        ("seeds = -1", "seeds"),
        ("seeds = 0", "seeds"),
        ("seeds = [-1]", r"seeds\.0"),
        ("orders = 'upwards'", "orders = .*write descending, or a number of random orders"),
        ("orders = ['random-x']", r"orders\.0"),
        ("orders = ['upwards']", r"orders\.0"),
        ("methods = 'replay'", "methods"),
        ("[changes.deep]\nx = 1", r"changes\.deep"),
    ],
)
def test_a_mistake_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words) as error:
        read_study_file(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml cannot be read"):
        read_study_file(tmp_path / "nowhere.toml")

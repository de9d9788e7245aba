"""The plan of a study: which runs it has, how it grows, and what it refuses."""

from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.study.plan import StudyPlan, Wish, new_plan, random_orders, read_orders
from shared.config.settings import Settings
from shared.errors import ResultsError, SettingsError
from tests.conftest import ROOT

SMOKE = ROOT / "scenarios" / "smoke.toml"
CENTERS = ("milan", "ucsf", "amu")


def now() -> datetime:
    return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def plan_of(**wish: Any) -> StudyPlan:
    return new_plan(Wish(**{"scenario": SMOKE} | wish), cpus=1, now=now)


def test_by_default_the_paper_s_four_methods_with_three_seeds() -> None:
    plan = plan_of()
    assert [cell.name for cell in plan.cells()][:4] == [
        "single-seed0",
        "pooled-seed0",
        "finetune-descending-seed0",
        "replay-descending-seed0",
    ]
    assert len(plan.cells()) == 4 * 3
    assert plan.created == "2026-01-02T03:04:05+00:00"
    assert plan.centers == CENTERS


def test_each_cell_is_a_complete_run() -> None:
    for cell in plan_of(changes=("steps=5",)).cells():
        run = cell.settings.run
        assert (run.method, run.seed, run.order, run.centers) == (cell.method, cell.seed, "descending", CENTERS)
        assert cell.settings.training.steps == 5


def test_a_random_order_is_given_to_every_method_and_seed_alike() -> None:
    plan = plan_of(methods=("finetune", "replay"), seeds=(0, 7), orders=read_orders("3"))
    cells = plan.cells()
    assert len(cells) == 2 * 2 * 3
    visited = {}
    for cell in cells:
        assert cell.settings.run.order == "given"
        assert sorted(cell.settings.run.centers) == sorted(CENTERS)
        visited.setdefault(cell.order_name, set()).add(cell.settings.run.centers)
    assert all(len(orders) == 1 for orders in visited.values())
    assert len({next(iter(orders)) for orders in visited.values()}) == 3


def test_each_seed_has_a_random_order_of_its_own_beside_the_descending_one() -> None:
    plan = plan_of(methods=("single", "replay", "finetune"), seeds=(0, 3), orders=("descending", "random"))
    cells = {cell.name: cell.settings.run for cell in plan.cells()}
    assert list(cells)[:5] == [
        "single-seed0",
        "replay-descending-seed0",
        "finetune-descending-seed0",
        "replay-random-0-seed0",
        "finetune-random-0-seed0",
    ]
    assert len(cells) == 2 * (1 + 2 * 2)
    assert cells["replay-random-3-seed3"].centers == cells["finetune-random-3-seed3"].centers
    assert cells["replay-random-3-seed3"].centers == random_orders(CENTERS, 4)[3], "as --orders 4 would have it"
    assert plan.order_names == ("descending", "random-0", "random-3")


def test_methods_without_an_order_run_once_a_seed() -> None:
    """Whatever the number of orders: they are the same experiment in each."""
    cells = plan_of(methods=("single", "replay", "pooled"), seeds=(0, 1), orders=read_orders("3")).cells()
    names = [cell.name for cell in cells]
    assert len(names) == len(set(names)) == 2 * (1 + 3 + 1)
    assert [name for name in names if "single" in name] == ["single-seed0", "single-seed1"]


@given(st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=8, unique=True), st.integers(1, 6))
def test_random_orders_differ_and_more_of_them_begin_alike(centers: list[str], count: int) -> None:
    orders = random_orders(centers, count)
    assert len(set(orders)) == count
    assert all(sorted(order) == sorted(centers) for order in orders)
    assert random_orders(centers, count - 1) == orders[:-1] if count > 1 else True


def test_more_orders_than_there_are_cannot_be_had() -> None:
    assert len(random_orders(("a", "b"), 2)) == 2
    with pytest.raises(SettingsError, match="2 centers have 2 orders, but 3 were asked for"):
        random_orders(("a", "b"), 3)


@pytest.mark.parametrize("words", ["", "0", "-1", "ascending", "1.5", "²"])
def test_orders_that_are_none_are_named(words: str) -> None:
    with pytest.raises(SettingsError, match="write descending, or a number of random orders"):
        read_orders(words)


def test_an_unknown_method_is_named_before_anything_runs() -> None:
    with pytest.raises(SettingsError, match="method = 'magic'"):
        plan_of(methods=("replay", "magic")).cells()


@pytest.mark.parametrize("key", ["method=replay", "seed=1", "order=random", " output-dir=x", "resume=true"])
def test_what_a_study_varies_is_not_changed_for_all(key: str) -> None:
    with pytest.raises(SettingsError, match="differs between the runs of a study; use --methods"):
        plan_of(changes=(key,))


def test_a_study_grows(tmp_path: Path) -> None:
    plan = plan_of(methods=("replay",), seeds=(0,))
    grown = plan.grown(Wish(methods=("finetune", "replay"), seeds=(0, 1), orders=("random-1",)), tmp_path)
    assert (grown.methods, grown.seeds, grown.orders) == (
        ("replay", "finetune"),
        (0, 1),
        ("descending", "random-1"),
    )
    assert {cell.name for cell in plan.cells()} < {cell.name for cell in grown.cells()}
    before = {cell.name: cell.settings for cell in plan.cells()}
    assert all(cell.settings == before.get(cell.name, cell.settings) for cell in grown.cells())


def test_a_study_goes_on_without_a_word(tmp_path: Path) -> None:
    plan = plan_of(changes=("steps=5",))
    assert plan.grown(Wish(), tmp_path) == plan
    assert plan.grown(Wish(scenario=SMOKE, changes=("steps=5",), cpus=1), tmp_path) == plan


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(changes=("steps=9",)), "steps = 9 here, 8 there"),
        (Wish(changes=("centers=milan,amu",)), "centers = 'milan,amu' here, 'milan,ucsf,amu' there"),
        (Wish(cpus=2), "cpus = 2 here, 1 there"),
        (Wish(scenario=ROOT / "scenarios" / "quickstart.toml"), "spacing = 2.0 here, 4.0 there"),
    ],
)
def test_another_study_is_refused_with_the_difference(wish: Wish, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"begun with other settings: .*{words}"):
        plan_of().grown(wish, tmp_path)


def test_a_study_of_another_version_is_refused(tmp_path: Path) -> None:
    plan = plan_of()
    older = plan.model_copy(update={"settings": {k: v for k, v in plan.settings.items() if k != "sealing"}})
    with pytest.raises(SettingsError, match=r"begun by another version of Wardround \(sealing is missing\)"):
        older.grown(Wish(), tmp_path)


def test_where_and_how_patiently_may_change(tmp_path: Path) -> None:
    grown = plan_of().grown(Wish(changes=("device=cpu", "patience-minutes=5")), tmp_path)
    assert all(cell.settings.training.device == "cpu" for cell in grown.cells())


def test_it_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    assert StudyPlan.load(tmp_path) is None
    plan = plan_of(orders=("descending", "random-4"))
    plan.save(tmp_path)
    assert StudyPlan.load(tmp_path) == plan
    text = (tmp_path / "plan.json").read_text()
    for damaged in (text[:50], text.replace("milan", "milano")):
        (tmp_path / "plan.json").write_text(damaged)
        with pytest.raises(ResultsError, match=r"plan\.json cannot be used .*: delete it"):
            StudyPlan.load(tmp_path)


def test_what_is_common_holds_every_other_key() -> None:
    common = plan_of().common
    assert set(Settings.keys()) - set(common) == {"method", "seed", "order", "output-dir", "resume"}
    for cell, (key, value) in product(plan_of().cells(), common.items()):
        assert cell.settings.to_run_config()[key] == value

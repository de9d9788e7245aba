"""The course: which stages a method has, and in which order."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config.groups import RunSettings
from shared.config.settings import Settings
from shared.course import Stage, check_pool, order_of_visits, plan_course
from shared.errors import SettingsError
from shared.methods import METHODS
from tests.support.examples import examples

EIGHT = ("bwh", "karo", "rennes", "milan", "nih", "montp", "ucsf", "amu")
SIZES = {"bwh": 80, "karo": 51, "rennes": 51, "milan": 47, "nih": 28, "montp": 13, "ucsf": 12, "amu": 8}


@pytest.fixture
def run(run_config: dict[str, Any]) -> RunSettings:
    return Settings.from_run_config(run_config | {"centers": ",".join(EIGHT)}).run


def ordered(run: RunSettings, **changes: object) -> tuple[str, ...]:
    return order_of_visits(SIZES, run.model_copy(update=changes))


def test_given_is_the_order_in_which_the_centers_were_named(run: RunSettings) -> None:
    given_order = ("amu", "bwh", "milan")
    assert ordered(run, order="given", centers=given_order) == given_order


def test_descending_goes_by_training_subjects_and_keeps_ties_as_given(run: RunSettings) -> None:
    assert ordered(run, order="descending", centers=EIGHT[::-1]) == (
        "bwh", "rennes", "karo", "milan", "nih", "montp", "ucsf", "amu"
    )  # fmt: skip
    assert ordered(run, order="descending") == EIGHT


@examples(fixture=True)
@given(seed=st.integers(0, 2**31 - 1))
def test_random_is_a_permutation_that_the_seed_fixes(run: RunSettings, seed: int) -> None:
    order = ordered(run, order="random", seed=seed)
    assert sorted(order) == sorted(EIGHT)
    assert ordered(run, order="random", seed=seed) == order


def test_seeds_give_different_orders(run: RunSettings) -> None:
    orders = {ordered(run, order="random", seed=seed) for seed in range(20)}
    assert len(orders) == 20
    assert {order[0] for order in orders} > {order[0] for order in list(orders)[:1]}


def stages(run: RunSettings, method: str, order: tuple[str, ...] = ("milan", "ucsf", "amu")) -> tuple[Stage, ...]:
    return plan_course(order, run.model_copy(update={"method": method}))


@pytest.mark.parametrize("method", ["single", "finetune", "replay", "lwf", "ewc"])
def test_a_sequential_method_visits_every_center_once_in_order(run: RunSettings, method: str) -> None:
    course = stages(run, method)
    assert [(stage.index, stage.center) for stage in course] == [(0, "milan"), (1, "ucsf"), (2, "amu")]
    assert all(stage.pool == () for stage in course)


@pytest.mark.parametrize(
    ("method", "starts", "replays"),
    [
        ("single", ["initial", "initial", "initial"], False),
        ("finetune", ["initial", "carried", "carried"], False),
        ("replay", ["initial", "carried", "carried"], True),
        ("lwf", ["initial", "carried", "carried"], False),
        ("ewc", ["initial", "carried", "carried"], False),
    ],
)
def test_a_method_is_where_a_stage_starts_and_whether_memory_travels(
    run: RunSettings, method: str, starts: list[str], replays: bool
) -> None:
    course = stages(run, method)
    assert [stage.start for stage in course] == starts
    assert {stage.replay for stage in course} == {replays}


def test_pooled_is_one_stage_on_all_data_with_the_steps_of_all_stages(run: RunSettings) -> None:
    order = ("milan", "ucsf", "amu")
    assert stages(run, "pooled") == (Stage(0, "milan", "initial", replay=False, tests=order, pool=order),)


def test_fedavg_is_rounds_at_all_centers_of_which_the_last_is_tested(run: RunSettings) -> None:
    order = ("milan", "ucsf", "amu")
    course = stages(run.model_copy(update={"rounds": 3}), "fedavg")
    assert [(stage.index, stage.rounds, stage.start) for stage in course] == [
        (0, 3, "initial"), (1, 3, "carried"), (2, 3, "carried")
    ]  # fmt: skip
    assert [stage.tested for stage in course] == [False, False, True]
    assert {stage.centers for stage in course} == {order}
    assert not any(stage.replay or stage.pool for stage in course)
    assert {(stage.kind, stage.where) for stage in course} == {("round", "all centers at once")}


@pytest.mark.parametrize("method", ["single", "finetune", "replay", "pooled", "lwf", "ewc"])
def test_of_every_other_method_each_stage_is_tested(run: RunSettings, method: str) -> None:
    assert all(stage.tested and stage.kind == "stage" for stage in stages(run, method))


@pytest.mark.parametrize("method", ["single", "finetune", "replay", "pooled", "lwf", "ewc"])
def test_a_single_center_is_one_stage(run: RunSettings, method: str) -> None:
    (stage,) = stages(run, method, ("amu",))
    assert (stage.index, stage.center, stage.start) == (0, "amu", "initial")


SEQUENTIAL = ["single", "finetune", "replay", "lwf", "ewc"]


@pytest.mark.parametrize("method", SEQUENTIAL)
def test_every_model_is_tested_at_all_centers_by_default(run: RunSettings, method: str) -> None:
    assert all(stage.tests == EIGHT for stage in stages(run, method, EIGHT))


@pytest.mark.parametrize("method", SEQUENTIAL)
@pytest.mark.parametrize("others", [0, 3])
def test_a_sample_has_the_stage_s_own_center_and_the_last_row_is_whole(
    run: RunSettings, method: str, others: int
) -> None:
    course = stages(run.model_copy(update={"tested_others": others}), method, EIGHT)
    for stage in course[:-1]:
        assert stage.center in stage.tests and len(stage.tests) == 1 + others
        assert stage.tests == tuple(center for center in EIGHT if center in stage.tests), "in the order of the visits"
    assert course[-1].tests == EIGHT


@pytest.mark.parametrize("method", ["pooled", "fedavg"])
def test_the_one_row_of_other_methods_is_whole(run: RunSettings, method: str) -> None:
    course = stages(run.model_copy(update={"tested_others": 0, "rounds": 2}), method)
    assert [stage.tests for stage in course if stage.tested] == [("milan", "ucsf", "amu")]


def test_the_sample_hangs_on_the_seed_and_reaches_every_center(run: RunSettings) -> None:
    def sample(seed: int) -> list[tuple[str, ...]]:
        changed = run.model_copy(update={"tested_others": 2, "seed": seed})
        return [stage.tests for stage in stages(changed, "replay", EIGHT)[:-1]]

    assert sample(0) == sample(0)
    assert len({tuple(sample(seed)) for seed in range(10)}) == 10
    assert {center for seed in range(20) for tests in sample(seed) for center in tests} == set(EIGHT)


def test_one_more_center_asks_nobody_else_for_a_further_test(run: RunSettings) -> None:
    run = run.model_copy(update={"tested_others": 2})
    shorter, longer = stages(run, "replay", EIGHT[:7]), stages(run, "replay", EIGHT)
    for before, after in zip(shorter, longer, strict=False):
        assert set(after.tests) - set(before.tests) <= {EIGHT[7]}


EVALUATORS = ("milan-2", "ucsf-2")


@pytest.mark.parametrize("method", [*SEQUENTIAL, "pooled", "fedavg"])
@pytest.mark.parametrize("others", [-1, 0, 3])
def test_evaluators_test_whatever_is_tested_and_change_nothing_else(run: RunSettings, method: str, others: int) -> None:
    run = run.model_copy(update={"tested_others": others})
    plain, course = (
        stages(run.model_copy(update={"evaluators": evaluators}), method, EIGHT) for evaluators in ((), EVALUATORS)
    )
    for without, stage in zip(plain, course, strict=True):
        assert stage.tests == ((*without.tests, *EVALUATORS) if without.tested else ())
        assert replace(stage, tests=without.tests) == without


def test_pooled_training_is_refused_where_hospitals_keep_their_data(run: RunSettings) -> None:
    pooled = run.model_copy(update={"method": "pooled"})
    with pytest.raises(SettingsError, match=r"method = 'pooled'.*choose another method"):
        check_pool(pooled, simulated=False)


@pytest.mark.parametrize(
    ("method", "simulated"),
    [("pooled", True), *((method, False) for method in METHODS if method != "pooled")],
)
def test_every_other_combination_is_allowed(run: RunSettings, method: str, simulated: bool) -> None:
    assert check_pool(run.model_copy(update={"method": method}), simulated) is None

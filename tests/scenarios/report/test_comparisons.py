"""What is compared with what: planned contrasts, pairs, and two families of p values."""

import pytest

from scenarios.report.comparisons import (
    ACC,
    BWT,
    backward_per_center,
    comparisons,
    contrasts,
    final_scores,
    methods_of,
    sequential_methods,
)
from scenarios.results.study import run_entry
from tests.support.studies import make_run, make_study, study_of


def test_methods_stand_in_one_order_whatever_the_study_says() -> None:
    study = study_of({"single": [0.5], "unknown": [0.5], "finetune": [0.5], "pooled": [0.5], "replay": [0.5]})
    assert methods_of(study) == ("replay", "finetune", "pooled", "single", "unknown")
    assert sequential_methods(study) == ("replay", "finetune", "unknown")


def test_single_domain_ends_with_each_center_s_own_model() -> None:
    run = run_entry("single", 0, "any", ("a", "b"), [[0.6, 0.1], [0.2, 0.7]])
    assert final_scores(run) == {"a": 0.6, "b": 0.7}
    assert backward_per_center(run) == {}


def test_other_methods_end_with_their_last_model() -> None:
    run = run_entry("replay", 0, "given", ("a", "b", "c"), [[0.6, 0.1, 0.1], [0.5, 0.7, None], [0.4, 0.8, 0.9]])
    assert final_scores(run) == {"a": 0.4, "b": 0.8, "c": 0.9}
    assert backward_per_center(run) == pytest.approx({"a": -0.2, "b": 0.1})


def test_a_missing_cell_gives_no_transfer_at_its_center() -> None:
    run = run_entry("replay", 0, "given", ("a", "b"), [[None, 0.1], [0.4, 0.8]])
    assert backward_per_center(run) == {"a": None}


def test_replay_meets_every_method_and_fine_tuning_every_sequential_one() -> None:
    accs = {method: [0.5] for method in ("replay", "finetune", "lwf", "pooled", "single")}
    assert contrasts(study_of(accs)) == (
        ("replay", "finetune", ACC),
        ("replay", "pooled", ACC),
        ("replay", "finetune", BWT),
        ("replay", "lwf", ACC),
        ("replay", "single", ACC),
        ("lwf", "finetune", ACC),
        ("replay", "lwf", BWT),
        ("lwf", "finetune", BWT),
    )


def test_without_replay_the_first_sequential_method_leads() -> None:
    assert contrasts(study_of({"pooled": [0.5], "finetune": [0.5]})) == (("finetune", "pooled", ACC),)
    assert contrasts(study_of({"replay": [0.5]})) == ()


def test_runs_of_one_seed_and_order_make_a_pair() -> None:
    runs = [make_run("replay", 0, 0.6, order_name=name) for name in ("random-0", "random-1")]
    runs += [make_run("finetune", 0, 0.5, order_name="random-0"), make_run("finetune", 0, 0.3, order_name="random-1")]
    runs += [make_run("finetune", 7, 0.1, order_name="random-0")]  # without a partner
    acc = comparisons(make_study(runs))[0]
    assert (acc.first, acc.second, acc.measure, acc.unit) == ("replay", "finetune", ACC, "order and seed")
    assert acc.paired.differences == pytest.approx((0.1, 0.3))


def test_a_method_without_order_is_paired_by_seed_with_the_mean_over_orders() -> None:
    runs = [make_run("replay", s, 0.5 + 0.1 * i, order_name=f"random-{i}") for s in (0, 1) for i in (0, 1)]
    runs += [make_run("pooled", 0, 0.50), make_run("pooled", 1, 0.60)]
    pooled = comparisons(make_study(runs))[0]
    assert (pooled.second, pooled.unit) == ("pooled", "seed")
    assert pooled.paired.differences == pytest.approx((0.05, -0.05))


def test_the_question_s_comparisons_are_corrected_by_themselves() -> None:
    up = [0.60 + 0.01 * i for i in range(8)]
    study = study_of(
        {"replay": up, "finetune": [0.5] * 8, "pooled": [0.5] * 8, "single": [0.5] * 8, "fedavg": [0.5] * 8}
    )
    found = {(one.second, one.measure): one for one in comparisons(study)}
    least = 2 / 2**8
    # BWT is the same everywhere: p = 1. The two others of the family lie at the least p there is.
    assert found["finetune", ACC].corrected == pytest.approx(3 * least)
    assert found["pooled", ACC].corrected == pytest.approx(3 * least)
    assert found["finetune", BWT].corrected == 1.0
    assert found["single", ACC].corrected == pytest.approx(2 * least)
    assert [one.main for one in comparisons(study)] == [True, True, True, False, False]

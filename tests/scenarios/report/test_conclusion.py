"""The answer, for each direction that the numbers can take."""

import pytest

from scenarios.report.comparisons import comparisons
from scenarios.report.conclusion import Answer, answer
from scenarios.results.study import Study
from tests.support.studies import study_of

EIGHT = [0.60, 0.61, 0.62, 0.60, 0.61, 0.62, 0.60, 0.61]


def answered(study: Study) -> Answer:
    return answer(study, comparisons(study))


def moved(by: float, jitter: float = 0.004) -> list[float]:
    """Eight values that lie `by` from `EIGHT`, a little unevenly."""
    return [round(value + by + jitter * (i % 3 - 1), 6) for i, value in enumerate(EIGHT)]


def test_above_pooled_training() -> None:
    found = answered(study_of({"replay": EIGHT, "pooled": moved(-0.05)}))
    assert found.headline == "Learn continually: replay scores significantly higher than training on pooled data."
    assert "Difference to training on pooled data: +0.05" in found.details
    assert "higher in 8 of 8 pairs; p = 0.008 after correction" in found.details
    assert found.warnings == ()


def test_below_pooled_training() -> None:
    found = answered(study_of({"replay": EIGHT, "pooled": moved(0.05)}))
    assert found.headline == (
        "Train from scratch, where data may be pooled: replay scores significantly lower than training on pooled data."
    )
    assert "Difference to training on pooled data: −0.05" in found.details
    assert "higher in 0 of 8 pairs; p = 0.008 after correction" in found.details


def test_below_pooled_training_by_less_than_the_margin() -> None:
    found = answered(study_of({"replay": EIGHT, "pooled": moved(0.01)}))
    assert found.headline == "Learn continually: replay scores at most 0.02 lower than training on pooled data."
    assert "Difference to training on pooled data: −0.010 (95% interval −0.012 to −0.007;" in found.details
    assert "p = 0.008 after correction" in found.details, "lower for certain, but not by much"


def test_no_difference_and_a_narrow_interval() -> None:
    found = answered(study_of({"replay": EIGHT, "pooled": moved(0.0, jitter=0.008)}))
    assert found.headline == "Learn continually: replay scores at most 0.02 lower than training on pooled data."
    assert "p = 0.008" not in found.details


def test_no_difference_and_a_wide_interval() -> None:
    wide = [value + (0.1 if i % 2 else -0.1) for i, value in enumerate(EIGHT)]
    found = answered(study_of({"replay": EIGHT, "pooled": wide}))
    assert found.headline == (
        "Not decided: no significant difference between replay and training on pooled data in 8 pairs of runs."
    )


@pytest.mark.parametrize(
    ("pooled", "higher", "lower"),
    [
        ([0.5, 0.5, 0.5], 3, 0),
        ([0.7, 0.7, 0.7], 0, 3),
        ([0.5, 0.7, 0.7], 1, 2),
    ],
)
def test_three_pairs_decide_nothing_whatever_they_hold(pooled: list[float], higher: int, lower: int) -> None:
    found = answered(study_of({"replay": [0.60, 0.61, 0.62], "pooled": pooled}))
    assert found.headline == (
        "Not decided: too few runs (replay scores higher than training on pooled data "
        f"in {higher} of 3 pairs, lower in {lower})."
    )
    assert "the smallest two-sided p of a sign-flip test is 0.25 with n = 3" in found.warnings[0]
    assert "needs at least 6 pairs" in found.warnings[0]


def test_too_few_pairs_in_one_comparison_say_nothing_of_the_other() -> None:
    found = answered(study_of({"replay": EIGHT, "finetune": moved(-0.05), "pooled": EIGHT[:3]}))
    assert found.warnings[0].startswith("Too few runs in some comparisons for statistical significance:")
    alone = answered(study_of({"replay": EIGHT[:3], "pooled": EIGHT[:3]}))
    assert alone.warnings[0].startswith("Too few runs for statistical significance:")


def test_one_pair_has_no_spread() -> None:
    found = answered(study_of({"replay": [0.6], "finetune": [0.5]}, {"replay": [0.01], "finetune": [-0.2]}))
    assert found.headline == (
        "Training on pooled data was not run: too few runs "
        "(replay scores higher than fine-tuning in 1 of 1 pairs, lower in 0)."
    )
    assert found.details == (
        "Replay: mean test Dice 0.600 over all centers (1 run). Difference to fine-tuning: +0.100 "
        "(higher in 1 of 1 pairs). Backward transfer: replay +0.010, fine-tuning −0.200."
    )
    assert "only one pair of runs, so the spread between runs is unknown" in found.warnings[0]


def test_equal_pairs_are_neither_higher_nor_lower() -> None:
    found = answered(study_of({"replay": [0.6], "pooled": [0.6]}))
    assert found.headline == (
        "Not decided: too few runs (replay scores higher than training on pooled data in 0 of 1 pairs, lower in 0)."
    )
    assert "Difference to training on pooled data: +0.000" in found.details


def test_without_pooled_training_fine_tuning_is_what_is_left_to_compare_with() -> None:
    better = answered(study_of({"replay": EIGHT, "finetune": moved(-0.1)}))
    assert better.headline == (
        "Training on pooled data was not run: replay scores significantly higher than fine-tuning."
    )
    worse = answered(study_of({"replay": EIGHT, "finetune": moved(0.1)}))
    assert worse.headline == (
        "Training on pooled data was not run: replay scores significantly lower than fine-tuning."
    )
    same = answered(study_of({"replay": EIGHT, "finetune": moved(0.0, jitter=0.008)}))
    assert same.headline.endswith("no significant difference between replay and fine-tuning in 8 pairs of runs.")


def test_without_replay_another_method_leads() -> None:
    found = answered(study_of({"finetune": EIGHT, "pooled": moved(0.05)}))
    assert found.headline.startswith(
        "Train from scratch, where data may be pooled: fine-tuning scores significantly lower"
    )
    assert found.yardsticks == ()


def test_one_method_answers_nothing() -> None:
    found = answered(study_of({"replay": [0.6, 0.7]}))
    assert found.headline == "Not decided: there is no training on pooled data to compare replay with."
    assert found.details.startswith("Replay: mean test Dice 0.650 ± 0.071 over all centers (2 runs).")


def test_nothing_learns_continually() -> None:
    found = answered(study_of({"pooled": [0.6], "single": [0.5]}))
    assert found.headline == "No method here learns continually."
    assert "Pooled: mean test Dice 0.600" in found.details


def test_yardsticks_are_met_or_not() -> None:
    met = answered(study_of({"replay": [0.60, 0.60], "finetune": [0.50, 0.51], "pooled": [0.61, 0.61]})).yardsticks
    assert [one.met for one in met] == [True, True]
    assert met[0].observed == "+0.095 on average, from +0.090 to +0.100"
    missed = answered(study_of({"replay": [0.60, 0.60], "finetune": [0.55, 0.55], "pooled": [0.63, 0.63]})).yardsticks
    assert [one.met for one in missed] == [False, False]

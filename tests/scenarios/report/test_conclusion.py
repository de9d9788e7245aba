"""The answer in one sentence, in each direction that the numbers can take."""

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
    assert found.headline == "Learn continually: replay ends above training on pooled data."
    assert "0.05" in found.sentence and "above training on pooled data" in found.sentence
    assert "better in 8 of 8 pairs" in found.sentence
    assert found.warnings == ()


def test_below_pooled_training() -> None:
    found = answered(study_of({"replay": EIGHT, "pooled": moved(0.05)}))
    assert found.headline == "Train from scratch, where data may be pooled: replay ends below training on pooled data."
    assert "below training on pooled data" in found.sentence
    assert "better in 0 of 8 pairs" in found.sentence


def test_below_pooled_training_by_less_than_the_margin() -> None:
    found = answered(study_of({"replay": EIGHT, "pooled": moved(0.01)}))
    assert found.headline == (
        "Learn continually: replay ends measurably below, but not more than 0.02 below training on pooled data."
    )


def test_no_difference_and_a_narrow_interval() -> None:
    found = answered(study_of({"replay": EIGHT, "pooled": moved(0.0, jitter=0.008)}))
    assert found.headline == "Learn continually: replay ends not more than 0.02 below training on pooled data."


def test_no_difference_and_a_wide_interval() -> None:
    wide = [value + (0.1 if i % 2 else -0.1) for i, value in enumerate(EIGHT)]
    found = answered(study_of({"replay": EIGHT, "pooled": wide}))
    assert found.headline == "Not decided: replay and training on pooled data cannot be told apart by 8 pairs of runs."


@pytest.mark.parametrize(
    ("pooled", "lean"),
    [
        ([0.5, 0.5, 0.5], "all of them lean towards replay"),
        ([0.7, 0.7, 0.7], "all of them lean towards training on pooled data"),
        ([0.5, 0.7, 0.7], "they do not agree (1 for replay, 2 against)"),
    ],
)
def test_three_pairs_decide_nothing_whatever_they_hold(pooled: list[float], lean: str) -> None:
    found = answered(study_of({"replay": [0.60, 0.61, 0.62], "pooled": pooled}))
    assert found.headline == f"Not decided: 3 pairs of runs are too few, and {lean}."
    assert "the smallest two-sided p that a sign-flip test can give is 0.25 with n = 3" in found.warnings[0]
    assert "At least 6 pairs" in found.warnings[0]


def test_too_few_pairs_in_one_comparison_say_nothing_of_the_other() -> None:
    found = answered(study_of({"replay": EIGHT, "finetune": moved(-0.05), "pooled": EIGHT[:3]}))
    assert found.warnings[0].startswith("Too few runs in some comparisons to claim significance:")
    alone = answered(study_of({"replay": EIGHT[:3], "pooled": EIGHT[:3]}))
    assert alone.warnings[0].startswith("Too few runs to claim significance:")


def test_one_pair_has_no_spread() -> None:
    found = answered(study_of({"replay": [0.6], "finetune": [0.5]}, {"replay": [0.01], "finetune": [-0.2]}))
    assert found.headline == (
        "Training on pooled data was not run; "
        "against fine-tuning, 1 pair of runs is too few, and it leans towards replay."
    )
    assert found.sentence == (
        "Replay ends with a mean test Dice of 0.600 over all centers (1 run), 0.100 above fine-tuning "
        "(better in 1 of 1 pair); its backward transfer is +0.010, that of fine-tuning −0.200."
    )
    assert "no spread" in found.warnings[0]


def test_equal_pairs_lean_nowhere() -> None:
    found = answered(study_of({"replay": [0.6], "pooled": [0.6]}))
    assert found.headline == "Not decided: 1 pair of runs is too few, and it is even."
    assert "0.000 from training on pooled data" in found.sentence


def test_without_pooled_training_fine_tuning_is_what_is_left_to_compare_with() -> None:
    better = answered(study_of({"replay": EIGHT, "finetune": moved(-0.1)}))
    assert better.headline == "Training on pooled data was not run; replay ends above fine-tuning."
    worse = answered(study_of({"replay": EIGHT, "finetune": moved(0.1)}))
    assert worse.headline == "Training on pooled data was not run; replay ends below fine-tuning."
    same = answered(study_of({"replay": EIGHT, "finetune": moved(0.0, jitter=0.008)}))
    assert same.headline.endswith("replay and fine-tuning cannot be told apart by 8 pairs of runs.")


def test_without_replay_another_method_leads() -> None:
    found = answered(study_of({"finetune": EIGHT, "pooled": moved(0.05)}))
    assert found.headline.startswith("Train from scratch, where data may be pooled: fine-tuning ends below")
    assert found.yardsticks == ()


def test_one_method_answers_nothing() -> None:
    found = answered(study_of({"replay": [0.6, 0.7]}))
    assert found.headline == "Replay alone: the question needs training on pooled data to compare it with."
    assert found.sentence.startswith("Replay ends with a mean test Dice of 0.650 ± 0.071 over all centers (2 runs)")


def test_nothing_learns_continually() -> None:
    found = answered(study_of({"pooled": [0.6], "single": [0.5]}))
    assert found.headline == "No method here learns continually."
    assert "Training on pooled data ends with a mean test Dice of 0.600" in found.sentence


def test_yardsticks_are_met_or_not() -> None:
    met = answered(study_of({"replay": [0.60, 0.60], "finetune": [0.50, 0.51], "pooled": [0.61, 0.61]})).yardsticks
    assert [one.met for one in met] == [True, True]
    assert met[0].observed == "+0.095 on average, from +0.090 to +0.100"
    missed = answered(study_of({"replay": [0.60, 0.60], "finetune": [0.55, 0.55], "pooled": [0.63, 0.63]})).yardsticks
    assert [one.met for one in missed] == [False, False]

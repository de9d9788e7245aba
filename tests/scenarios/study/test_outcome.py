"""What a person reads at the end of a study."""

from pathlib import Path

from scenarios.results.study import Costs, Missing, Study, run_entry
from scenarios.study.outcome import describe_study

ORDER = ("milan", "ucsf")


def study() -> Study:
    return Study(
        title="",
        created="",
        methods=("single", "finetune", "replay", "pooled"),
        seeds=(0, 1),
        orders=("descending",),
        centers=ORDER,
        settings={},
        versions={},
        runs=(
            run_entry("single", 0, "any", ORDER, [[0.6, None], [None, 0.7]]),
            run_entry("finetune", 0, "descending", ORDER, [[0.6, 0.2], [0.3, 0.7]]),
            run_entry("finetune", 1, "descending", ORDER, [[0.6, None], [0.5, 0.7]]),
            run_entry("replay", 1, "descending", ORDER, [[0.6, None], [0.5, 0.7]], Costs(not_asked=1)),
        ),
        missing=(Missing(method="replay", seed=0, order_name="descending", reason="the disk is full"),),
    )


def test_each_method_has_a_line_with_mean_and_spread(tmp_path: Path) -> None:
    rows = [line.split("  ") for line in describe_study(study(), tmp_path).splitlines()[2:6]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells == [
        ["method", "runs", "ACC", "BWT", "learning accuracy"],
        ["single", "1", "0.650", "-", "0.650"],
        # ACC 0.5 and 0.6, BWT -0.3 and -0.1: the standard deviations are 0.1 and 0.2 over the root of 2
        ["finetune", "2", "0.550 ± 0.071", "-0.200 ± 0.141", "0.650 ± 0.000"],
        ["replay", "1", "0.600", "-0.100", "0.650"],
    ]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    text = describe_study(study(), tmp_path)
    assert "NOTE replay-descending-seed0 is missing: the disk is full" in text
    assert "NOTE the means leave out cells without a score, in finetune-descending-seed1\n" in text
    assert str(tmp_path / "study.json") in text

"""Every method's run goes on after a cut, and ends as if nothing had been."""

from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from scenarios.runner.resume import plan_resume
from shared.config.settings import Settings
from shared.results import read_results
from tests.support.cut_runs import CENTERS, Moment, cut_off, go_on, lasting, start

CUTS: dict[str, list[tuple[int, Moment]]] = {
    "single": [(4, "between")],
    "finetune": [(4, "between")],
    "pooled": [(2, "between")],
    "lwf": [(3, "before"), (3, "after"), (4, "between")],
    "ewc": [(3, "after"), (1, "after"), (2, "between"), (3, "before"), (4, "between"), (5, "after")],
    "mas": [(4, "between")],
    "derpp": [(3, "after"), (4, "between")],
    # The roll call, three rounds, and one round of tests.
    "fedavg": [(2, "after"), *(cut for cut in product(range(5), get_args(Moment)) if cut != (2, "after"))],
}
"""The first of each method by default, and all moments among them; replay's stand in test_whole_runs.py."""


@pytest.fixture(scope="module")
def whole_runs() -> dict[str, dict[str, Any]]:
    """What an undisturbed run of each method computes; each is run once."""
    return {}


@pytest.mark.parametrize(
    ("method", "cut", "moment"),
    [
        pytest.param(method, *cut, marks=[pytest.mark.slow] if number else [])
        for method, cuts in CUTS.items()
        for number, cut in enumerate(cuts)
    ],
)
def test_every_method_survives_a_cut(
    config: dict[str, Any],
    whole_runs: dict[str, dict[str, Any]],
    tmp_path: Path,
    method: str,
    cut: int,
    moment: Moment,
) -> None:
    config = config | {"method": method, "rounds": 3}
    assert Settings.from_run_config(config).run.method == method
    if method not in whole_runs:
        start(config, tmp_path / "whole")
        whole_runs[method] = lasting(tmp_path / "whole")
    cut_off(config, tmp_path / "cut", cut, moment)
    go_on(plan_resume(tmp_path / "cut", []))
    assert lasting(tmp_path / "cut") == whole_runs[method]


def test_a_round_goes_on_with_the_centers_that_had_not_answered(config: dict[str, Any], tmp_path: Path) -> None:
    config = config | {"method": "fedavg", "rounds": 3}
    cut_off(config, tmp_path, 2, "between")
    going = plan_resume(tmp_path, [])
    assert going.remains == "round 2/3: training at all centers at once"
    assert go_on(going).trains == 2 + 3
    assert not list((tmp_path / "journal").glob("round-*")), "an average takes the place of its parts"
    results = read_results(tmp_path)
    (stage,) = results.stages
    assert len(results.R) == 1
    assert {image.stage for image in results.test_scores} == {stage.stage} == {0}, "the row of R"
    assert (tmp_path / "matrix.csv").read_text().splitlines()[1].startswith("all,")
    assert stage.steps == 3 * 3, "as many as a sequential run takes"
    assert [part.round for part in stage.rounds] == [0, 1, 2]
    steps = [{center: at.steps for center, at in part.centers.items()} for part in stage.rounds]
    assert steps == [dict.fromkeys(CENTERS, 1)] * 3

"""What grows with the number of hospitals: the arithmetic, and the scenario that it is measured on."""

import math
from pathlib import Path

import pytest

from scenarios.benchmark.scaling import SCENARIO, SizedRun, line_ratio, measure, power, table
from scenarios.run_config import load_settings
from shared.phantoms.centers import profile
from tests.conftest import ROOT


def measured(centers: int) -> SizedRun:
    return SizedRun(
        centers=centers,
        stage_seconds=(4.0,) * (centers - 2),
        stage_cpu=(2.5,) * (centers - 2),
        beside_computing=tuple(2.0 + 0.1 * stage for stage in range(centers - 2)),
        tests=3 * (centers - 1) + centers,
        train_mb=tuple(0.5 + stage for stage in range(centers)),
        tests_mb=(1.5,) * centers,
        journal_mb=2.0 * centers,
        peak_mb={"hospital": 600.0, "coordinator": 100.0 * centers},
    )


def test_a_power_is_found_again() -> None:
    sizes = (4, 8, 16, 32)
    assert power(sizes, [7.0] * 4) == pytest.approx(0)
    assert power(sizes, [3.0 * size for size in sizes]) == pytest.approx(1)
    assert power(sizes, [0.5 * size**2 for size in sizes]) == pytest.approx(2)


def test_the_ratio_is_that_of_the_line_and_not_of_two_stages() -> None:
    assert line_ratio([2.0, 2.0, 2.0, 2.0]) == pytest.approx(1)
    assert line_ratio([1.0, 2.0, 3.0]) == pytest.approx(3)
    assert line_ratio([2.0, 4.0, 2.0, 4.0, 2.0]) == pytest.approx(1), "what goes up and down does not grow"
    assert math.isnan(line_ratio([1.0, 2.0]))


def test_the_table_has_a_line_for_each_figure_with_its_power() -> None:
    lines = {
        line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:]
        for line in table([measured(4), measured(8)]).splitlines()
    }
    assert lines["journal, MB"] == ["8", "16", "1.00"]
    assert lines["seconds a stage (mean)"] == ["4", "4", "0.00"]
    assert lines["tests"] == ["13", "29", "1.16"]
    assert lines["MB of the largest training message pair"][:2] == ["3.5", "7.5"]
    assert lines["the same, last stage over first"][:2] == ["nan", "1.25"]
    assert lines["peak MB, coordinator"] == ["400", "800", "1.00"]


def test_the_scenario_has_sixty_four_hospitals_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run = load_settings(SCENARIO, [], None).run
    assert len(run.centers) == 64 and run.method == "replay" and run.tested_others >= 0
    assert {profile(center).name for center in run.centers} == set(run.centers)


def test_a_run_that_was_measured_is_not_done_again(tmp_path: Path) -> None:
    (tmp_path / "4.json").write_text(measured(4).model_dump_json())
    assert measure(4, tmp_path, []) == measured(4)

"""What the report says of evaluators: by itself, and in no other figure or mean."""

from pathlib import Path

import pytest

from scenarios.report.case_scores import read_details
from scenarios.report.evaluators import draw_evaluators
from scenarios.report.result_tables import final_table, scores_table, transfer_table
from scenarios.results.study import Study, evaluator_scores, run_entry
from tests.support.studies import CENTERS, make_run, make_study, write_run

R = [[0.6, 0.2], [0.4, 0.8]]
EVALUATED = ("far", "away"), [[0.1, 0.3], [None, 0.5]]


def study() -> Study:
    """Two methods that have evaluators, and one that has none."""
    return make_study(
        [
            run_entry("replay", 0, "descending", CENTERS, R, evaluated=EVALUATED),
            run_entry("replay", 1, "descending", CENTERS, R, evaluated=(("away",), [[0.1], [0.3]])),
            run_entry("pooled", 0, "any", CENTERS, [[0.5, 0.7]], evaluated=(("far",), [[0.25]])),
            make_run("finetune", 0, 0.5),
        ]
    )


def test_a_run_s_score_at_an_evaluator_is_that_of_its_last_model_and_for_single_the_mean_of_all() -> None:
    last = run_entry("replay", 0, "descending", CENTERS, R, evaluated=EVALUATED)
    assert (last.acc, last.acc_evaluators, evaluator_scores(last)) == (
        pytest.approx(0.6),
        0.5,
        {"far": None, "away": 0.5},
    )
    every = run_entry("single", 0, "any", CENTERS, R, evaluated=EVALUATED)
    assert evaluator_scores(every) == {"far": 0.1, "away": 0.4} and every.acc_evaluators == 0.25
    none = make_run("replay", 0, 0.5)
    assert (none.evaluators, none.R_evaluators, none.acc_evaluators) == ((), (), None)


def test_the_figure_has_the_mean_of_each_stage_at_each_evaluator() -> None:
    picture = draw_evaluators(study())
    assert picture is not None and picture.figure is not None
    assert picture.sheet.rows == (
        ("replay", "here", "far", 0.1),
        ("replay", "here", "away", pytest.approx(0.2)),
        ("replay", "there", "far", None),
        ("replay", "there", "away", pytest.approx(0.4)),
        ("pooled", "all", "far", 0.25),
        ("pooled", "all", "away", None),
    )
    assert "no model was ever trained" in picture.title and "Replay 0.400, " in picture.alternative
    assert draw_evaluators(make_study([make_run("replay", 0, 0.5)])) is None


def test_the_tables_have_rows_of_their_own_and_their_other_rows_are_as_without() -> None:
    found = study()
    plain = found.model_copy(
        update={
            "runs": tuple(
                run.model_copy(update={"evaluators": (), "R_evaluators": (), "acc_evaluators": None})
                for run in found.runs
            )
        }
    )
    rows, without = transfer_table(found).rows, transfer_table(plain).rows
    assert [row for row in rows if row[0] != "Evaluators"] == list(without)
    assert [row for row in rows if row[0] == "Evaluators"] == [("Evaluators", "0.400 ± 0.141", "–", "0.250")]
    assert "far, away, where no model was trained" in transfer_table(found).caption
    rows, without = final_table(found).rows, final_table(plain).rows
    assert rows[:2] == without and [row[0] for row in rows[2:]] == [
        "far (never trained at)",
        "away (never trained at)",
    ]


@pytest.mark.parametrize("method", ["replay", "single", "pooled"])
def test_images_of_evaluators_are_in_no_score_over_test_cases(tmp_path: Path, method: str) -> None:
    evaluated, plain = make_run(method, 0, 0.6, far=0.1, folder="a"), make_run(method, 0, 0.6, folder="b")
    for run in (evaluated, plain):
        write_run(tmp_path / run.folder, run)
    details = read_details(make_study([evaluated]), tmp_path)
    assert {case.center for case in details.cases} == set(CENTERS)
    without = read_details(make_study([plain]), tmp_path)
    assert scores_table(details) == scores_table(without)

"""The tables: every number is the study's, in words and in CSV."""

import csv
import io

import pytest

from scenarios.report.case_scores import CaseScores, Details
from scenarios.report.comparisons import comparisons
from scenarios.report.result_tables import comparison_table, cost_table, final_table, scores_table, transfer_table
from scenarios.report.table import Table, p_value, score, signed
from scenarios.results.study import run_entry
from tests.support.studies import make_run, make_study, study_of


def numbers(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.sheet.to_csv())))


def row(table: Table, name: str) -> tuple[str, ...]:
    return next(row for row in table.rows if row[0] == name)


def test_transfer_per_center_and_method_with_its_spread() -> None:
    r = [[[0.6, 0.1], [0.5, 0.7]], [[0.6, 0.1], [0.3, 0.9]]]
    runs = [run_entry("replay", seed, "descending", ("here", "there"), r[seed]) for seed in (0, 1)]
    table = transfer_table(make_study([*runs, make_run("pooled", 0, 0.65)]))
    assert table.columns == ("", "Replay", "Pooled")
    assert row(table, "BWT here") == ("BWT here", "−0.200 ± 0.141", "–")
    assert row(table, "BWT there") == ("BWT there", "–", "–")
    assert row(table, "BWT") == ("BWT", "−0.200 ± 0.141", "–")
    assert row(table, "ACC") == ("ACC", "0.600 ± 0.000", "0.650")
    assert row(table, "Learning accuracy") == ("Learning accuracy", "0.700 ± 0.071", "–")
    assert row(table, "Intransigence") == ("Intransigence", "+0.000", "–"), "of seed 0, which has a pooled run"
    assert "below pooled training of the same seed" in table.caption
    assert row(table, "Runs") == ("Runs", "2", "1")
    found = {(one["row"], one["method"]): one for one in numbers(table)}
    assert float(found["BWT here", "replay"]["mean"]) == pytest.approx(-0.2)
    assert float(found["BWT here", "replay"]["least"]) == pytest.approx(-0.3)
    assert found["ACC", "pooled"]["sd"] == ""


def test_without_a_pooled_run_there_is_no_intransigence() -> None:
    table = transfer_table(study_of({"replay": [0.6]}))
    assert "Intransigence" not in {row[0] for row in table.rows} and "ntransigence" not in table.caption


def test_bold_rows_are_the_sums() -> None:
    table = transfer_table(study_of({"replay": [0.6]}))
    assert {table.rows[i][0] for i in table.strong} == {"BWT", "ACC"}


def test_final_scores_per_center() -> None:
    run = run_entry("single", 0, "any", ("here", "there"), [[0.6, 0.1], [0.2, 0.7]])
    assert final_table(make_study([run])).rows == (("here", "0.600"), ("there", "0.700"))


def test_comparisons_with_everything_that_a_reader_needs() -> None:
    study = study_of({"replay": [0.60, 0.62, 0.64], "finetune": [0.50, 0.50, 0.50]})
    table = comparison_table(comparisons(study))
    assert table is not None
    acc = dict(zip(table.columns, table.rows[0], strict=True))
    assert acc["First − second"] == "Replay − Fine-tuning"
    assert acc["Difference"] == "+0.120"
    assert acc["95% interval"] == "+0.070 to +0.170"
    assert acc["Better in"] == "3 of 3"
    assert acc["d_z"] == "+6.00"
    assert (acc["p"], acc["p (Holm)"]) == ("0.250", "0.500")
    assert numbers(table)[0]["pairs"] == "3"
    assert comparison_table(()) is None


def test_scores_by_name_whatever_a_run_has() -> None:
    cases = tuple(
        CaseScores(
            "replay", "descending", seed, "here", f"p{i}", "FLAIR", {"hd95_mm": mm, "lesion_f1": 0.5, "new_one": 1}
        )
        for seed, i, mm in ((0, 0, 10.0), (0, 1, 20.0), (1, 0, 30.0))
    )
    table = scores_table(Details(cases, (), None))
    assert table is not None
    assert table.rows == (("Lesion F1", "0.500 ± 0.000"), ("HD95, mm", "22.5 ± 10.6"), ("new one", "1.000 ± 0.000"))
    assert scores_table(Details((), (), None)) is None


def test_costs_are_means_over_runs() -> None:
    runs = [
        make_run("replay", seed, 0.6, seconds=100.0 + 20 * seed, training_seconds=50.0, bytes_moved=2_500_000)
        for seed in (0, 1)
    ]
    table = cost_table(make_study(runs))
    assert table is not None
    assert table.rows == (("Replay", "110 ± 14", "50 ± 0", "2.5 ± 0.0", "–"),)
    assert cost_table(study_of({"replay": [0.6]})) is None


def test_numbers_as_people_write_them() -> None:
    assert (signed(-0.12345), signed(0.0), signed(-0.0), signed(None)) == ("−0.123", "+0.000", "+0.000", "–")
    assert (score(0.5), score(None)) == ("0.500", "–")
    assert (p_value(0.25), p_value(0.0001), p_value(None)) == ("0.250", "< 0.001", "–")

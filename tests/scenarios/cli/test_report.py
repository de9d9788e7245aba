"""`wardround report`: of a study, of a run, of several runs; what does not fit together is said in one line."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scenarios.cli.main import main
from scenarios.cli.report import write_report
from scenarios.results.runs import study_of_runs
from scenarios.results.study import run_entry, write_study
from shared.errors import ResultsError
from shared.results import ExtendedRun, RunAttempt
from tests.support.results import make_history, make_results
from tests.support.studies import make_run, make_study, write_run

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["wardround", "report", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def write_runs(folder: Path) -> list[Path]:
    for method, acc in (("replay", 0.61), ("finetune", 0.52), ("pooled", 0.63)):
        write_run(folder / method, make_run(method, 0, acc))
    return [folder / "replay", folder / "finetune", folder / "pooled"]


def test_a_study_s_report_lies_in_its_folder(tmp_path: Path) -> None:
    write_study(tmp_path, make_study([make_run("replay", 0, 0.6), make_run("pooled", 0, 0.62)], title="Mine"))
    page = write_report(tmp_path)
    assert page == tmp_path / "report.html"
    assert "<title>Mine</title>" in page.read_text()


def test_a_run_has_a_report_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replay = write_runs(tmp_path)[0]
    assert call(monkeypatch, replay) == 0
    assert capsys.readouterr().out == f"report {replay / 'report.html'}\n"
    text = (replay / "report.html").read_text()
    assert "Not decided: there is no training on pooled data to compare replay with." in text
    assert "How much the results vary with another seed or order is unknown." in text


def test_several_runs_have_one_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = write_runs(tmp_path)
    assert call(monkeypatch, *folders, "--output", tmp_path / "all") == 0
    text = (tmp_path / "all" / "report.html").read_text()
    assert "Difference to training on pooled data: −0.020" in text
    assert "Difference to fine-tuning: +0.090" in text
    assert not (folders[0] / "report.html").exists()


def test_several_runs_need_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *write_runs(tmp_path)) == 1
    assert capsys.readouterr().err == "wardround: several runs need a folder for their report: give one by --output\n"


def test_a_folder_that_is_neither_study_nor_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, tmp_path / "nothing") == 1
    assert f"{tmp_path / 'nothing'} holds no results.json" in capsys.readouterr().err


def test_runs_become_a_study(tmp_path: Path) -> None:
    study = study_of_runs(write_runs(tmp_path), NOW)
    assert study.methods == ("replay", "finetune", "pooled")
    assert [run.order_name for run in study.runs] == ["descending", "descending", "any"]
    assert [run.acc for run in study.runs] == pytest.approx([0.61, 0.52, 0.63])
    assert study.settings == {"order": "descending", "data-dir": "", "steps": 3, "seed": 0}
    assert study.runs[0].training_seconds == 3.0
    assert [run.bytes_moved for run in study.runs] == [2 * 10, 2 * 10, None]
    assert study.title == "3 runs of replay, fine-tuning, training on pooled data"


def test_attempts_together_are_the_time_of_a_run(tmp_path: Path) -> None:
    started = "2026-11-24T10:00:00+00:00"
    attempts = [
        RunAttempt(started=started, flower_run=1, begins="stage 1/2", versions={}, ended=ended, reason=None)
        for ended in ("2026-11-24T10:01:00+00:00", None, "2026-11-24T10:00:30+00:00")
    ]
    for folder, extends in (("whole", None), ("extended", ExtendedRun(folder="/whole", run="other", centers=1))):
        history = make_history(attempts=attempts, extends=extends)
        write_run(tmp_path / folder, make_run("replay", 0, 0.6), history=history)
    assert study_of_runs([tmp_path / "whole"], NOW).runs[0].seconds == 90.0
    (extended,) = study_of_runs([tmp_path / "extended"], NOW).runs
    assert (extended.seconds, extended.bytes_moved) == (None, None)


def test_orders_that_differ_are_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make_run("replay", 0, 0.6))
    write_run(tmp_path / "b", make_run("replay", 0, 0.6, order_name="random-1"))
    study = study_of_runs([tmp_path / "a", tmp_path / "b"], NOW)
    assert {run.order_name: run.order for run in study.runs} == {
        "order-1": ("here", "there"),
        "order-2": ("there", "here"),
    }


def test_runs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make_run("replay", 0, 0.6))
    write_run(tmp_path / "again", make_run("replay", 0, 0.7))
    write_run(tmp_path / "other", run_entry("replay", 1, "given", ("x", "y"), [[0.5, 0.1], [0.4, 0.6]]))
    with pytest.raises(ResultsError, match="are runs of one method, order and seed: give one of them"):
        study_of_runs([tmp_path / "a", tmp_path / "again"], NOW)
    with pytest.raises(ResultsError, match="visited different centers"):
        study_of_runs([tmp_path / "a", tmp_path / "other"], NOW)


WHOLE = make_results(("a",), [[0.5]]).model_dump(mode="json")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        (json.dumps(WHOLE | {"R": [["x"]]}), "is damaged"),
        (json.dumps(WHOLE | {"R": [[0.5, 0.5]]}), "is damaged"),
        (json.dumps({key: value for key, value in WHOLE.items() if key != "stages"}), "is damaged"),
        (json.dumps(WHOLE | {"order": None}), "is damaged"),
        (json.dumps(WHOLE | {"order": []}), "is damaged"),
        (json.dumps(WHOLE | {"stages": []}), "is damaged"),
        (json.dumps(WHOLE | {"more": 1}), "is damaged"),
    ],
)
def test_damaged_results_are_named_with_what_to_do(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ResultsError, match=f"{expected}.*wardround resume"):
        study_of_runs([tmp_path], NOW)

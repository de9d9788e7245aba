"""`wardround compare` without running anything: what it refuses, keeps and prints; then real studies."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from scenarios.cli.main import main
from scenarios.results.study import read_study
from scenarios.runner.resume import HowLaunched
from scenarios.study.plan import StudyPlan, Wish, new_plan
from scenarios.study.run_folder import CellFolder
from shared.clock import utc_now
from shared.results import read_results
from tests.conftest import ROOT
from tests.scenarios.study.test_executor import write_results
from tests.support.watched import WARDROUND, Watched, command_of, left_after

SMOKE = str(ROOT / "scenarios" / "smoke.toml")


def call(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """Exit code of `wardround compare WORDS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["wardround", "compare", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """The folder of a study of two methods and one seed that is finished."""
    plan = new_plan(Wish(methods=("finetune", "pooled"), seeds=(0,), scenario=Path(SMOKE)), 1, utc_now)
    for cell in plan.cells():
        place = CellFolder(tmp_path, cell.name)
        place.prepare(cell)
        write_results(place.run, cell)
    plan.save(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--methods", "replay,magic"], "method = 'magic'"),
        (["--methods", ","], "--methods names none"),
        (["--orders", "upwards"], "orders = 'upwards': write descending, or a number"),
        (["--orders", "7"], "3 centers have 6 orders, but 7 were asked for"),
        (["-c", "seed=1"], "seed differs between the runs of a study; use --methods, --seeds"),
        (["-c", "steps=many"], "steps takes a whole number"),
        (["nowhere.toml"], "study file nowhere.toml cannot be read"),
        (["--published", "nowhere.json", "--seeds", "2"], "--published runs nothing"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input_ends_with_one_line_and_writes_nothing(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenario = [] if words[0] in ("nowhere.toml", "--published") else ["--scenario", SMOKE]
    assert call(monkeypatch, *words, *scenario, "--output", tmp_path / "new") == 1
    error = capsys.readouterr().err
    assert error.startswith("wardround: ") and error.count("\n") == 1
    assert expected in error
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").touch()
    assert call(monkeypatch, "--scenario", SMOKE, "--output", tmp_path) == 1
    assert "holds something else (precious): choose a new folder" in capsys.readouterr().err
    assert not (tmp_path / "plan.json").exists()


def test_a_finished_study_is_summed_up_without_running(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (done / "runs" / "pooled-seed0" / "results.json").stat()
    assert call(monkeypatch, "--output", done) == 0
    shown = capsys.readouterr().out
    assert "finetune  1     0.250  +0.000  0.250" in shown
    assert "pooled    1     0.250  -       -" in shown
    assert str(done / "study.json") in shown
    assert [run.name for run in read_study(done).runs] == ["pooled-seed0", "finetune-descending-seed0"]
    assert (done / "runs" / "pooled-seed0" / "results.json").stat() == before


def test_another_study_is_refused_with_the_difference(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = StudyPlan.load(done)
    assert call(monkeypatch, "-c", "steps=9", "--output", done) == 1
    assert "begun with other settings: steps = 9 here, 8 there" in capsys.readouterr().err
    assert StudyPlan.load(done) == plan


def test_a_run_that_is_another_is_named_and_the_exit_code_says_so(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = done / "runs" / "finetune-descending-seed0" / "results.json"
    content = json.loads(results.read_text())
    content["settings"]["seed"] = 5
    results.write_text(json.dumps(content))
    assert call(monkeypatch, "--output", done) == 1
    shown = capsys.readouterr()
    assert "NOTE finetune-descending-seed0 is missing" in shown.out
    assert "seed = 5 there, 0 in the plan" in shown.out
    assert "1 of 2 runs are missing: finetune-descending-seed0" in shown.err
    assert f"wardround compare --output {done}" in shown.err


def test_one_study_at_a_time_in_a_folder(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from shared.paths import claimed

    with claimed(done):
        assert call(monkeypatch, "--output", done) == 1
    assert "is in use by another run" in capsys.readouterr().err


def test_the_authors_matrices_make_a_study(
    published_matrices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--published", published_matrices, "--output", tmp_path / "theirs") == 0
    assert "replay    4     0.542" in capsys.readouterr().out
    assert len(read_study(tmp_path / "theirs").runs) == 16
    assert call(monkeypatch, "--published", published_matrices, "--output", tmp_path / "theirs") == 0, "once more"
    assert call(monkeypatch, "--scenario", SMOKE, "--output", tmp_path / "theirs") == 1
    assert "study.json): choose a new folder" in capsys.readouterr().err


# Real runs


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ctrl_c")
def test_a_real_study_is_cut_off_and_goes_on_to_the_results_of_lone_runs(undisturbed: Path, tmp_path: Path) -> None:
    """Two runs at once; Ctrl-C in the middle leaves nothing running; the same command ends it."""
    scenario = [SMOKE, "-c", "steps=120", "-c", "checkpoint-seconds=0.2"]
    words = ["--methods", "replay,pooled", "--seeds", "1", "--scenario", *scenario, "--jobs", "2", "--cpus", "1"]
    folder = tmp_path / "study"
    study = Watched(WARDROUND, "compare", *words, "--output", folder, log=tmp_path / "log")
    log = CellFolder(folder, "replay-descending-seed0").log
    study.until(lambda: log.is_file() and "milan: step 60/" in log.read_text(), "a run is in the middle")
    family = study.family("")
    assert sum("scenarios.cli" in command_of(pid) for pid in family) == 2
    os.kill(study.process.pid, signal.SIGINT)
    assert study.end() == 130, study.tail()
    hint = f"wardround: stopped; nothing is left running; go on with: wardround compare --output {folder}"
    assert hint in study.lines
    assert not left_after(family)
    assert [run.reason for run in read_study(folder).missing] == ["interrupted", "interrupted"]

    again = Watched(WARDROUND, "compare", "--output", folder, log=tmp_path / "log")
    assert again.end() == 0, again.tail()
    assert "replay-descending-seed0: goes on" in again.lines
    found = {run.method: run for run in read_study(folder).runs}
    assert found["replay"].R == read_results(undisturbed).R, "to the last bit"
    assert len(found["pooled"].R) == 1
    assert HowLaunched.load(folder / "runs" / "pooled-seed0") is not None
    for run in found.values():
        assert run.seconds is not None and run.seconds > 0
        assert run.peak_mb is None or run.peak_mb > 500


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_run_that_fails_is_named_and_the_others_are_summed_up(tmp_path: Path) -> None:
    """A weight beyond float32 makes the loss no number at the second center, in the ewc run alone."""
    words = ["--methods", "ewc,finetune", "--seeds", "1", "--scenario", SMOKE, "-c", "ewc-weight=1e39"]
    folder = tmp_path / "study"
    study = Watched(WARDROUND, "compare", *words, "--jobs", "1", "--output", folder, log=tmp_path / "log")
    assert study.end(500) == 1, study.tail()
    found = read_study(folder)
    assert [run.method for run in found.runs] == ["finetune"]
    (missing,) = found.missing
    assert missing.method == "ewc"
    assert "center ucsf did not train: the loss became nan" in missing.reason
    assert "or what holds the model (ewc-weight)" in missing.reason
    page = (folder / "report.html").read_text()
    assert "the loss became" in page and "1 of 2 planned runs are missing" in page

    again = Watched(WARDROUND, "compare", "--output", folder, log=tmp_path / "again")
    assert again.end(500) == 1, again.tail()
    assert "1 of 2 runs to do" in again.tail(), "only the failed run is tried again"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_whose_command_is_killed_leaves_nothing_running(tmp_path: Path) -> None:
    words = ["--methods", "finetune", "--seeds", "1", "--scenario", SMOKE, "-c", "steps=5000"]
    study = Watched(WARDROUND, "compare", *words, "--output", tmp_path / "study", log=tmp_path / "log")
    log = CellFolder(tmp_path / "study", "finetune-descending-seed0").log
    study.until(lambda: log.is_file() and "step " in log.read_text(), "a run trains")
    family = study.family("")
    os.kill(study.process.pid, signal.SIGKILL)
    study.end()
    assert not left_after(family, 60)

"""What a person sees of a study while it runs, and at its end."""

import io
from pathlib import Path

from rich.console import Console

from scenarios.results.study import Costs, Missing, Study, run_entry
from scenarios.study.executor import StudyProgress
from scenarios.study.plan import Cell, Wish, new_plan
from scenarios.study.run_folder import CellFolder
from scenarios.study.terminal import describe_study, display, watching
from scenarios.study.worker import Ending
from shared.clock import utc_now
from tests.conftest import ROOT

CELLS = new_plan(Wish(scenario=ROOT / "scenarios" / "smoke.toml", seeds=(0,)), 1, utc_now).cells()
SINGLE, POOLED, FINETUNE, REPLAY = CELLS


def result(cell: Cell) -> str:
    return "ACC 0.612"


def test_the_display_shows_what_runs_and_what_it_says(tmp_path: Path) -> None:
    progress = StudyProgress(CELLS, 2, [REPLAY], begun=0.0)
    progress.running = {FINETUNE.name: (FINETUNE, 60.0)}
    progress.failed = {POOLED.name: "the disk is full"}
    progress.seconds = {"single": [100.0]}
    log = CellFolder(tmp_path, FINETUNE.name).log
    log.parent.mkdir()
    log.write_text("stage 1/3: training at milan\nmilan: step 5/8, loss 0.9 [s]\n")
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(display(progress, tmp_path, now=90.0))
    shown = console.export_text()
    first, second = shown.splitlines()
    assert first.split()[0] == FINETUNE.name and "0:00:30" in first
    assert "milan: step 5/8, loss 0.9 [s]" in first, "brackets are no markup"
    assert "1/4 done, 1 running, 1 failed" in second
    assert "0:01:30 elapsed" in second
    assert "about 0:01:25 left" in second  # 70 s of the one and 100 s of the other, by two


def test_a_long_line_gives_way_to_name_and_time(tmp_path: Path) -> None:
    progress = StudyProgress(CELLS, 2, [], running={FINETUNE.name: (FINETUNE, 60.0), REPLAY.name: (REPLAY, 0.0)})
    log = CellFolder(tmp_path, FINETUNE.name).log
    log.parent.mkdir()
    log.write_text("word " * 50)
    console = Console(file=io.StringIO(), width=70, record=True)
    console.print(display(progress, tmp_path, now=90.0))
    first, second, *_ = console.export_text().splitlines()
    assert first.startswith(f"{FINETUNE.name} 0:00:30 word word") and first.rstrip().endswith("…")
    assert second.split() == [REPLAY.name, "0:01:30", "starting"]


def test_without_a_terminal_there_are_plain_lines(tmp_path: Path) -> None:
    progress = StudyProgress(CELLS, 1, [REPLAY], begun=0.0)
    output = io.StringIO()
    with watching(progress, tmp_path, result, Console(file=output, width=40)) as watch:
        watch.started(SINGLE, going_on=False)
        watch.tick()
        watch.ended(SINGLE, Ending(0, 61.2))
        watch.started(REPLAY, going_on=True)
        progress.failed[REPLAY.name] = "the disk is full"
        progress.waiting.clear()
        watch.ended(REPLAY, Ending(1, 5.0, reason="the disk is full [/tmp]"))
    assert output.getvalue().splitlines() == [
        "single-seed0: begins",
        "[3/4] single-seed0: ACC 0.612, 0:01:01; estimating the time left",
        "replay-descending-seed0: goes on",
        "[4/4] replay-descending-seed0: failed: the disk is full [/tmp]; all ended",
    ]


def test_at_a_terminal_ended_runs_stay_above_the_display(tmp_path: Path) -> None:
    progress = StudyProgress(CELLS, 1, [REPLAY], begun=0.0)
    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    with watching(progress, tmp_path, result, console) as watch:
        watch.started(SINGLE, going_on=False)
        watch.ended(SINGLE, Ending(0, 61.2))
    assert "single-seed0: ACC 0.612, 0:01:01" in output.getvalue()
    assert "3/4 done" in output.getvalue()


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


def test_intransigence_stands_beside_learning_accuracy_where_pooled_training_was_run(tmp_path: Path) -> None:
    pooled = run_entry("pooled", 1, "any", ORDER, [[0.75, 0.75]])
    text = describe_study(study().model_copy(update={"runs": (*study().runs, pooled)}), tmp_path)
    rows = {line.split()[0]: line.split("  ")[-1].strip() for line in text.splitlines()[2:7]}
    assert rows == {"method": "intransigence", "single": "-", "finetune": "+0.100", "replay": "+0.100", "pooled": "-"}
    assert "intransigence  pooled training minus learning accuracy" in text
    assert "intransigence" not in describe_study(study(), Path("folder"))


def test_evaluators_have_a_column_of_their_own(tmp_path: Path) -> None:
    evaluated = ("milan-2",), [[0.2], [0.4]]
    run = run_entry("finetune", 0, "descending", ORDER, [[0.6, 0.2], [0.3, 0.7]], evaluated=evaluated)
    lines = describe_study(study().model_copy(update={"runs": (run, *study().runs[2:])}), tmp_path).splitlines()
    assert lines[2].split()[-1] == "evaluators" and lines[3].endswith("  0.400") and lines[4].endswith("  -")
    assert "evaluators  mean test Dice of the last model at the centers where none was trained" in lines


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    text = describe_study(study(), tmp_path)
    assert "NOTE replay-descending-seed0 is missing: the disk is full" in text
    assert "NOTE the means leave out cells without a score, in finetune-descending-seed1\n" in text
    assert str(tmp_path / "study.json") in text

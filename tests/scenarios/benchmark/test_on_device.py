"""The figures of one device, on the CPU and in tiny sizes: that all are measured, and what is reckoned from them."""

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from scenarios.benchmark import device_parts, on_device, precision
from scenarios.benchmark.course_size import CourseSize, course_size
from scenarios.benchmark.device_parts import (
    EvaluationTime,
    FirstStep,
    ProductShare,
    StageShare,
    StepTime,
    measure_first_step,
    paper_settings,
    step_gflop,
)
from scenarios.benchmark.fixtures import Bedside, StageTime
from scenarios.benchmark.harness import Conditions, Measured
from scenarios.benchmark.on_device import (
    MEASURES,
    Parts,
    Projected,
    ProjectedStudy,
    Took,
    measure_data,
    measure_device,
    study_sizes,
)
from scenarios.benchmark.precision import PrecisionGap, dice_of_seeds, in_float32
from scenarios.benchmark.targets import DEVICE_FIGURES, choose_of_device
from scenarios.benchmark.whole_run import STEP, WholeRun
from scenarios.cli.main import cli
from scenarios.run_config import load_settings
from shared.config.settings import Settings
from shared.errors import SettingsError
from tests.conftest import ROOT

NAMES = [figure.name for figure in DEVICE_FIGURES]
TOLD = {"step_ms_channel", "product_share", "evaluation_ms_channel"}


@pytest.fixture
def quick(tmp_path: Path) -> Conditions:
    return Conditions(tmp_path, quick=True)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The whole runs that were asked for, none of which is done."""
    asked: list[Settings] = []

    def run_whole(settings: Settings, folder: Path) -> WholeRun:
        asked.append(settings)
        results: Any = SimpleNamespace(acc=0.7, bwt=0.01)
        return WholeRun(300.0, 20.0 + len(asked), results, {}, first_step=30.0 + len(asked))

    for module in (device_parts, on_device):
        monkeypatch.setattr(module, "run_whole", run_whole)
    return asked


# What each figure is, by hand


@pytest.mark.parametrize(
    ("measured", "value"),
    [
        (StepTime("instance", steps=200, seconds=1.4, before=9.0, gpu_mb=0.0), 7.0),
        (ProductShare(step_gflop=592, step_seconds=0.0074, product_tflops=800, edge=8192), 0.1),
        (EvaluationTime("channel", volumes=20, seconds=0.8, dice=0.5), 40.0),
        (StageShare(StageTime(10.0, 9.7), steps=100), 0.97),
        (PrecisionGap(half=(0.5, 0.6), single=(0.52, 0.6), steps=9), 0.01),
        (FirstStep(seconds=24.0, message=20.0, whole=40.0), 24.0),
        (Projected(Parts(start=20.0, step=0.01, beside=1.0, test=0.1), CourseSize(8, 2000, 50)), 20 + 8 + 20 + 5),
        (ProjectedStudy((1800.0, 3600.0)), 1.5),
        (Took(52.0, "290 subjects"), 52.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_figure_is_what_it_says(measured: Measured, value: float) -> None:
    assert measured.value == pytest.approx(value)
    assert measured.detail and "\n" not in measured.detail


def test_each_figure_of_the_catalogue_can_be_measured() -> None:
    assert list(MEASURES) == NAMES


def test_only_what_has_a_target_can_miss_it() -> None:
    assert {figure.name for figure in DEVICE_FIGURES if figure.met(1.0) is None} == TOLD


# What a run has to do


def test_the_work_of_a_run_is_reckoned_by_hand() -> None:
    paper = load_settings(ROOT / "scenarios" / "paper.toml", [], None).with_changes({"order": "descending"})
    small = paper.with_changes({"centers": "ucsf,amu", "epochs": 10, "method": "finetune"})
    # 12 and 8 subjects with one image each, of which 2 and 2 test; four volumes a step
    assert course_size(small) == CourseSize(stages=2, steps=10 * (3 + 2), tests=2 * 4)
    # ucsf's ten exemplars come along to amu's six volumes
    assert course_size(small.with_changes({"method": "replay"})) == CourseSize(2, 10 * (3 + 4), 2 * 4)
    assert course_size(small.with_changes({"method": "pooled"})) == CourseSize(1, 10 * 4, 4)
    assert course_size(small.with_changes({"evaluators": "montp"})).tests == 2 * (4 + 13), "all of its subjects"


def test_steps_that_are_told_count_for_each_contrast() -> None:
    settings = load_settings(None, ["centers=bwh,karo", "steps=100"], None)
    assert course_size(settings).steps == 100 + 2 * 100, "Karo has two"


def test_a_run_that_averages_models_is_not_reckoned() -> None:
    with pytest.raises(SettingsError, match="work of method = 'fedavg' is not reckoned"):
        course_size(load_settings(None, ["method=fedavg"], None))


def test_the_study_is_the_committed_one(quick: Conditions) -> None:
    full = study_sizes(Conditions(quick.folder), "cpu")
    assert len(full) == 54
    assert max(size.steps for size in full) > 25_000, "replay over eight hospitals"
    assert {size.stages for size in full} == {1, 8}


# Each figure, in tiny sizes


def test_all_figures_are_measured_one_by_one(
    quick: Conditions, runs: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_device, "measure_precision", lambda conditions, device: PrecisionGap((0.5,), (0.5,), 4))
    monkeypatch.setattr(on_device, "measure_data", lambda settings: Took(50.0, "made"))
    seen = list(measure_device(DEVICE_FIGURES, "cpu", quick.folder, quick=True))
    assert [figure.name for figure, _ in seen] == NAMES
    done = seen[-1][1]
    assert list(done.figures) == NAMES
    values = {name: measured.value for name, measured in done.figures.items()}
    assert all(value > 0 for name, value in values.items() if name != "precision_gap")
    assert 0 < values["stage_share"] < 1
    assert values["first_step_s"] == 32.0, "of the second run, which finds all caches warm"
    assert values["paper_projected_s"] > 32.0 and values["paper_s"] == 300.0
    assert json.loads(json.dumps(done.to_json()))["details"]["step_ms"]["norm"] == "instance"
    *_, last = runs
    assert (last.run.method, last.run.seed, last.run.order) == ("replay", 0, "random"), "the scenario as it stands"
    assert {settings.training.device for settings in runs} == {"cpu"}


def test_the_start_is_that_of_a_run_with_a_word_at_each_step(quick: Conditions, runs: list[Settings]) -> None:
    start = measure_first_step(quick, paper_settings(quick, "cpu"))
    assert (start.value, start.message, len(runs)) == (32.0, 22.0, 2)
    assert course_size(runs[0]).steps < 20, "a report comes at each twentieth step"
    assert STEP.match("amu: step 1/4, loss 0.9, 1 s left") and not STEP.match("stage 1/3: training at amu")


def test_the_paper_s_step_has_the_arithmetic_that_was_counted_before() -> None:
    paper = load_settings(ROOT / "scenarios" / "paper.toml", [], None)
    tiny = paper.with_changes({"features": 2, "patch-size": 16, "exemplar-mm": 64.0})
    assert step_gflop(tiny) * 8 == pytest.approx(step_gflop(tiny.with_changes({"patch-size": 32})), rel=0.01)
    assert step_gflop(tiny.with_changes({"batch-size": 8})) == pytest.approx(2 * step_gflop(tiny))


def test_data_are_made_and_prepared(quick: Conditions, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    pool: Callable[..., ThreadPoolExecutor] = lambda workers, mp_context: ThreadPoolExecutor(1)  # noqa: E731
    monkeypatch.setattr(on_device, "ProcessPoolExecutor", pool)
    settings = paper_settings(quick, "cpu", centers="amu", cache_dir=str(cache))
    took = measure_data(settings)
    assert took.value > 0 and took.detail.startswith("3 images, simulated in ")
    hospital = Bedside("amu", settings, quick.folder).open()
    before = set(cache.rglob("*"))
    hospital.open((*hospital.training, *hospital.test))
    assert set(cache.rglob("*")) == before, "every volume was prepared"


# Precision


def test_float32_is_float32_throughout_and_only_meanwhile() -> None:
    one = torch.ones(2, 2)

    def kind() -> torch.dtype:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (one @ one).dtype

    allowed = torch.backends.cudnn.allow_tf32
    assert kind() == torch.bfloat16
    with in_float32():
        assert kind() == torch.float32
        assert not torch.backends.cudnn.allow_tf32
    assert kind() == torch.bfloat16
    assert torch.backends.cudnn.allow_tf32 == allowed


def test_on_a_cpu_both_precisions_are_one(quick: Conditions) -> None:
    settings = quick.settings(centers="amu", activation="sigmoid", steps=2)
    half, single = (dice_of_seeds(settings.to_run_config(), quick.folder, (0, 1), full) for full in (False, True))
    assert half == single and len(half) == 2


@pytest.mark.slow
def test_each_precision_has_a_process_of_its_own(quick: Conditions) -> None:
    gap = precision.measure_precision(quick, "cpu")
    assert gap.value == 0.0 and len(gap.half) == 1


# The command


def call(*words: str | Path) -> SimpleNamespace:
    result = CliRunner().invoke(cli, ["bench", *map(str, words)])
    return SimpleNamespace(code=result.exit_code, out=result.output, error=result.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--paper",), "name it, as in --device cuda"),
        (("--device", "tpu"), "write cuda, cuda:1 or cpu"),
        (("--device", "auto"), "write cuda, cuda:1 or cpu"),
        (("--device", "cpu", "--only", "peak_share"), "'peak_share' is no figure; choose from step_ms, "),
        (("--device", "cuda"), "PyTorch finds no CUDA here"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    error = call(*words).error
    assert isinstance(error, SettingsError) and message in str(error)


def test_the_command_tells_what_was_asked_for(quick: Conditions) -> None:
    words = ("--only", "step-ms,product_share", "--json", quick.folder / "bench.json")
    result = call("--device", "cpu", "--quick", *words)
    assert result.code == 0, result.out
    assert "measuring product_share" in result.out and "mean nothing" in result.out
    written = json.loads((quick.folder / "bench.json").read_text())
    assert written.keys() & set(NAMES) == {"step_ms", "product_share"} and written["quick"] is True


@pytest.mark.parametrize(
    ("only", "paper", "chosen"),
    [
        (None, False, NAMES[:-2]),
        (None, True, NAMES),
        ("step_ms", False, ["step_ms"]),
        ("step_ms", True, ["step_ms", "paper_data_s", "paper_s"]),
        ("paper_s,step-ms", False, ["step_ms", "paper_s"]),
    ],
)
def test_the_paper_s_run_is_measured_only_where_it_is_asked_for(
    only: str | None, paper: bool, chosen: list[str]
) -> None:
    assert [figure.name for figure in choose_of_device(only, paper)] == chosen


def test_the_script_is_one_that_bash_reads() -> None:
    script = ROOT / "scenarios" / "benchmark" / "on_gpu.sh"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)

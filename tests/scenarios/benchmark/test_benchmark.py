"""The benchmark: what each figure is, that all are measured, and what the command says. Never how fast."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from client.data.preprocessing import Volume
from scenarios.benchmark.data_path import DataPath, measure_data_path, paper_loader
from scenarios.benchmark.exemplar_size import Handoff, measure_handoff
from scenarios.benchmark.fixtures import Bedside, StageTime, made_up_memory
from scenarios.benchmark.harness import Conditions, Measured, Turns, by_turns, timed
from scenarios.benchmark.peak_share import PeakShare, measure_peak_share
from scenarios.benchmark.runner import MEASURES, measure
from scenarios.benchmark.stage_time import ComputeShare, StageGrowth, measure_compute_share, measure_stage_growth
from scenarios.benchmark.targets import FIGURES, choose
from scenarios.benchmark.whole_run import FlowerOverhead, ReplayCost, plain_course, run_whole
from scenarios.cli.main import cli
from shared.errors import LaunchError, SettingsError
from shared.replay.memory import center_budget
from shared.results import read_results
from tests.support.cut_runs import start

NAMES = [
    "compute_share",
    "peak_share",
    "data_path_ratio",
    "flower_overhead_ratio",
    "replay_over_finetune",
    "handoff_ratio",
    "stage_growth",
]


@pytest.fixture
def quick(tmp_path: Path) -> Conditions:
    return Conditions(tmp_path, quick=True)


# Timing by turns


def clock(*ticks: float) -> Callable[[], float]:
    return iter(ticks).__next__


def test_a_time_is_the_difference_of_two_looks_at_the_clock() -> None:
    done: list[str] = []
    assert timed(lambda: done.append("work"), clock(10.0, 12.5))() == 2.5
    assert done == ["work"]


def test_two_things_take_turns() -> None:
    order: list[str] = []

    def take(name: str, seconds: float) -> Callable[[], float]:
        return lambda: order.append(name) or seconds

    turns = by_turns(take("one", 3.0), take("other", 2.0), 3)
    assert order == ["one", "other"] * 3
    assert turns == Turns((3.0,) * 3, (2.0,) * 3)
    assert turns.ratio == 1.5


def test_a_ratio_is_the_median_over_the_turns_so_that_one_disturbance_does_not_count() -> None:
    assert Turns(first=(2.0, 90.0, 4.4), second=(1.0, 1.0, 2.0)).ratio == pytest.approx(2.2)


# What each figure is, by hand


@pytest.mark.parametrize(
    ("measured", "value"),
    [
        (ComputeShare((StageTime(10, 9), StageTime(10, 1), StageTime(4, 3))), 0.75),
        (PeakShare(step_gflop=120, step_seconds=(3, 2, 9), peak_gflops=80, peak_edge=64), 0.5),
        (DataPath(Turns((8, 6), (2, 2)), patches=16, workers=2, alone=Turns((5,), (1,))), 3.5),
        (FlowerOverhead(Turns((11,), (10,)), startups=(20,), apart=0), 1.1),
        (ReplayCost(Turns((66,), (60,)), centers=8, steps=60), 1.1),
        (Handoff(exemplars=2, handed_on=100, volumes=2000), 0.05),
        (StageGrowth(Turns((21,), (20,)), centers=63, exemplars=1260, megabytes=9), 1.05),
    ],
    ids=NAMES,
)
def test_a_figure_is_what_the_catalogue_says(measured: Measured, value: float) -> None:
    assert measured.value == pytest.approx(value)
    assert measured.detail and "\n" not in measured.detail


def test_each_figure_of_the_catalogue_is_measured_and_none_else() -> None:
    assert [figure.name for figure in FIGURES] == NAMES == list(MEASURES)


@pytest.mark.parametrize(("name", "good", "bad"), [("compute_share", 0.95, 0.94), ("handoff_ratio", 0.05, 0.051)])
def test_a_target_is_met_from_its_own_side(name: str, good: float, bad: float) -> None:
    (figure,) = choose(name)
    assert figure.met(good) and not figure.met(bad)


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        (None, NAMES),
        ("stage_growth", ["stage_growth"]),
        ("stage-growth,compute-share", ["compute_share", "stage_growth"]),
        ("b, F", ["peak_share", "handoff_ratio"]),
        ("a,compute_share", ["compute_share"]),
    ],
)
def test_figures_are_chosen_by_name_or_letter(only: str | None, chosen: list[str]) -> None:
    assert [figure.name for figure in choose(only)] == chosen


@pytest.mark.parametrize(("only", "which"), [("speed", "speed"), ("a,h", "h"), (" , ", "nothing"), ("", "nothing")])
def test_what_is_no_figure_is_refused_with_the_list(only: str, which: str) -> None:
    with pytest.raises(SettingsError, match=f"'{which}' is no figure; choose from compute_share") as caught:
        choose(only)
    assert all(name in str(caught.value) for name in NAMES)


# Each figure, in tiny sizes


@pytest.mark.parametrize(
    "of", [measure_compute_share, measure_peak_share, measure_data_path, measure_handoff, measure_stage_growth]
)
def test_a_figure_is_measured(of: Callable[[Conditions], Measured], quick: Conditions) -> None:
    measured = of(quick)
    assert math.isfinite(measured.value) and measured.value > 0
    assert measured.detail


def test_the_share_of_computing_is_a_share(quick: Conditions) -> None:
    shares = measure_compute_share(quick)
    assert all(0 < stage.compute_seconds < stage.seconds for stage in shares.stages)


def test_a_stage_of_the_benchmark_leaves_nothing_in_the_cache(quick: Conditions, cache: Path) -> None:
    measure_compute_share(quick)
    before = set(cache.rglob("*"))
    measure_compute_share(replace(quick, folder=quick.folder / "again"))
    assert set(cache.rglob("*")) == before


def test_a_made_up_memory_has_as_many_exemplars_as_are_asked_for_and_no_two_alike(quick: Conditions) -> None:
    settings = quick.settings(centers="amu")
    volumes = Bedside("amu", settings, quick.folder).training()
    memory = made_up_memory(volumes, settings, centers=5, exemplars=4)
    assert [len(one.exemplars) for one in memory] == [4] * 5
    assert len({one.center for one in memory}) == 5
    assert len({name for one in memory for name in one.payloads}) == 20
    again = made_up_memory(volumes, settings, centers=5, exemplars=4)
    assert [one.payloads.keys() for one in again] == [one.payloads.keys() for one in memory]


def test_a_made_up_memory_stays_within_its_bytes(quick: Conditions) -> None:
    settings = quick.settings(centers="amu", memory_megabytes=0.2)
    memory = made_up_memory(Bedside("amu", settings, quick.folder).training(), settings, centers=4, exemplars=50)
    assert all(0 < one.nbytes <= center_budget(0.2, 5) for one in memory)


def test_the_hand_off_is_counted_by_hand(quick: Conditions) -> None:
    settings = quick.settings(centers="amu")
    volumes = Bedside("amu", settings, quick.folder / "state").training()
    handoff = measure_handoff(quick)
    assert handoff.exemplars == len({case.subject for case, _ in volumes})
    assert handoff.volumes == sum(volume.image.size * 8 for _, volume in volumes)
    assert 0 < handoff.handed_on < handoff.exemplars * 3 * settings.exemplar_voxels**3


# The paper's data path


def test_the_paper_s_loader_gives_patches_of_every_volume() -> None:
    random = np.random.default_rng(0)
    label = np.zeros((24, 20, 22), np.uint8)
    label[8:12, 8:12, 8:12] = 255
    image = random.normal(size=label.shape).astype(np.float16) + 4
    image[:4] = -3
    volume = Volume(image, label, np.eye(4), label, np.eye(4), -2.0)
    loader = paper_loader([volume, volume], patch=8, batch=2, samples=4, repeats=3, workers=0, pin=False)
    batches = list(loader)
    assert len(batches) == 3
    for batch in batches:
        assert batch["image"].shape == batch["label"].shape == (8, 1, 8, 8, 8)
        assert type(batch["image"]) is torch.Tensor
        assert batch["image"].mean(dim=(1, 2, 3, 4)).numpy() == pytest.approx(0, abs=1e-4), "each patch is normalised"


# Memory


# Whole runs


def test_a_run_that_fails_is_told_with_its_last_lines(quick: Conditions, tmp_path: Path) -> None:
    settings = quick.settings(centers="nowhere")
    with pytest.raises(LaunchError, match=r"(?s)a run of the benchmark failed:.*nowhere"):
        run_whole(settings, tmp_path / "run", cpus=1)


def test_plain_training_does_what_a_run_in_this_process_does(quick: Conditions) -> None:
    settings = quick.settings(method="finetune", order="given", centers="milan,ucsf,amu")
    start(settings.to_run_config(), quick.folder / "run")
    plain = plain_course([Bedside(center, settings, quick.folder) for center in settings.run.centers], settings)
    assert [list(row) for row in read_results(quick.folder / "run").R] == plain


@pytest.mark.runtime
def test_plain_training_does_what_the_run_does(quick: Conditions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")  # both take as many threads as they have cores
    seen: list[float] = []
    conditions = replace(quick, peak_mb=lambda peaks: seen.append(peaks["hospital"]))
    overhead = MEASURES["flower_overhead_ratio"](conditions)
    assert isinstance(overhead, FlowerOverhead)
    assert overhead.apart == 0, "the plain loop must train and test alike, or it measures something else"
    assert all(0 < seconds < math.inf for seconds in (*overhead.turns.first, *overhead.turns.second, overhead.startup))
    assert sys.platform != "linux" or seen[0] > 100


@pytest.mark.long
@pytest.mark.runtime
def test_replay_is_compared_over_whole_runs(quick: Conditions) -> None:
    assert 0 < MEASURES["replay_over_finetune"](quick).value < math.inf


# The command


def call(*words: str | Path) -> SimpleNamespace:
    result = CliRunner().invoke(cli, ["bench", *map(str, words)])
    return SimpleNamespace(code=result.exit_code, out=result.output, error=result.exception)


def test_the_json_has_the_figures_that_were_measured(tmp_path: Path) -> None:
    result = call("--quick", "--only", "b,handoff-ratio", "--json", tmp_path / "bench.json")
    assert result.code == 0, result.out
    written = json.loads((tmp_path / "bench.json").read_text())
    assert {name for name in written if name in NAMES} == {"peak_share", "handoff_ratio"}
    assert all(type(written[name]) is float for name in ("peak_share", "handoff_ratio"))
    assert written.keys() - set(NAMES) == {"peak_rss_mb", "details", "machine", "settings", "quick"}
    assert all(isinstance(megabytes, float) for megabytes in written["peak_rss_mb"].values())
    assert sys.platform != "linux" or "bench" in written["peak_rss_mb"]
    assert written["quick"] is True
    assert written["settings"]["features"] == 2
    assert written["machine"]["cores"] >= 1 and written["machine"]["versions"]["torch"] == torch.__version__
    assert written["details"]["handoff_ratio"]["exemplars"] >= 1
    assert "mean nothing" in result.out


def test_figures_are_known_one_by_one(tmp_path: Path) -> None:
    seen = [set(done.figures) for _, done in measure(choose("b,f"), tmp_path, quick=True)]
    assert seen == [{"peak_share"}, {"peak_share", "handoff_ratio"}]


def test_an_unknown_figure_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    result = call("--only", "speed", "--json", tmp_path / "bench.json")
    assert isinstance(result.error, SettingsError) and "stage_growth" in str(result.error)
    assert list(tmp_path.iterdir()) == []

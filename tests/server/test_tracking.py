"""Tracking: what TensorBoard and MLflow read of a run, and that nothing else is there or goes anywhere."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from flwr.app import Error
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from server.journal.journal import Journal
from server.results import summarise
from server.tracking import SINKS, Tracking, check_tracking, seen_centers, stage_figures, tracked
from shared.config.settings import CIRCUMSTANCES, Settings
from shared.errors import CenterError, SettingsError
from shared.results import read_results
from tests.conftest import ROOT, Configured
from tests.support.cut_runs import CutGrid, smaller, start
from tests.support.journeys import CENTERS, DICE, NODES, Journey, Setup
from tests.support.results import make_history, make_results

Points = dict[str, list[tuple[int, float]]]
"""By name, the points as (step, value)."""

SEEN = [0.6, (0.5 + 0.7) / 2, (0.4 + 0.65 + 0.8) / 3]
"""Of `DICE`: the mean over the centers that the model was trained at by then."""


@pytest.fixture
def config(run_config: dict[str, Any]) -> dict[str, Any]:
    """The smoke scenario, smaller still."""
    return smaller(run_config)


def accumulated(folder: Path) -> EventAccumulator:
    reader = EventAccumulator(str(folder / "tracking" / "tensorboard"))
    reader.Reload()
    return reader


def in_tensorboard(folder: Path) -> Points:
    """Of each file alone: what the reader of the whole folder would mend shows up."""
    points: Points = {}
    for file in sorted((folder / "tracking" / "tensorboard").iterdir()):
        reader = EventAccumulator(str(file), purge_orphaned_data=False)
        reader.Reload()
        for tag in reader.Tags()["scalars"]:
            points.setdefault(tag, []).extend((event.step, event.value) for event in reader.Scalars(tag))
    return points


def hyper_parameters(folder: Path) -> dict[str, Any]:
    content = accumulated(folder).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in told.items()}


def mlflow_runs(folder: Path) -> tuple[Any, list[Any]]:
    """The client of the store in a results folder, and the runs that it shows."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/tracking/mlflow/mlflow.db")
    return client, client.search_runs([client.get_experiment_by_name("wardround").experiment_id])


def in_mlflow(folder: Path) -> Points:
    client, (run,) = mlflow_runs(folder)
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sorted((point.step, point.value) for point in history) for name, history in histories.items()}


READERS: Mapping[str, Callable[[Path], Points]] = {"tensorboard": in_tensorboard, "mlflow": in_mlflow}


@pytest.fixture(params=list(SINKS))
def kind(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would send something fails, also where the environment names a server to send it to."""

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("something was to be sent")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")


def start_tracked(course: Journey) -> None:
    """From the start or where the journal is, to the end, as the ServerApp does it."""
    with tracked(course.settings, course.folder) as tracking:
        course.start(tracking=tracking)
        results = summarise(course.settings, CENTERS, course.records, make_history(), {}, {})
        tracking.end(len(course.course), results)


def series(values: list[float], begin: int = 1) -> Any:
    """Points that are near these values, one a step."""
    return [(step, pytest.approx(value)) for step, value in enumerate(values, begin)]


def test_every_stage_is_a_point_and_the_whole_run_one_more(journey: Setup, kind: str) -> None:
    course = journey(method="replay", tracking=kind)
    start_tracked(course)
    points = READERS[kind](course.folder)
    for j, center in enumerate(CENTERS):
        assert points.pop(f"dice/{center}") == series([row[j] for row in DICE])
    assert points.pop("dice-seen/mean") == series(SEEN)
    assert points.pop("training/loss") == series([0.25] * 3)
    assert points.pop("seconds/training") == series([1.0] * 3)
    assert points.pop("memory/exemplars") == series([2, 4, 6])
    sizes = [record.memory_bytes for record in course.records]
    assert sizes[0] > 0 and points.pop("memory/bytes") == series(sizes)
    assert points.pop("state/bytes") == series([0] * 3)
    assert [[step for step, _ in points.pop(f"seconds/{what}")] for what in ("testing", "transit")] == [[1, 2, 3]] * 2
    assert points.pop("final/acc") == series([(0.4 + 0.65 + 0.8) / 3], 3)
    assert points.pop("final/bwt") == series([-0.125], 3)
    assert points.pop("final/bwt-over-k") == series([-0.25 / 3], 3)
    assert points.pop("final/forgetting") == series([0.125], 3)
    assert points.pop("final/learning-accuracy") == series([0.7], 3)
    assert not points, "nothing else is tracked"


def test_a_run_that_goes_on_has_every_point_once(journey: Setup, kind: str) -> None:
    lost = {(NODES["amu"], "train", 0): Error(8, "killed"), (NODES["milan"], "evaluate", 0): Error(8, "killed")}
    course = journey(method="replay", tracking=kind, errors=lost)
    with pytest.raises(CenterError):
        start_tracked(course)
    before = READERS[kind](course.folder)
    assert before["dice/ucsf"] == series([0.6]) and "dice/milan" not in before
    course.grid.errors.clear()
    Journal.open(course.folder).ask_again("milan")
    start_tracked(course)
    points = READERS[kind](course.folder)
    assert [points[f"dice/{center}"] for center in CENTERS] == [series([row[j] for row in DICE]) for j in range(3)]
    assert {tuple(step for step, _ in line) for name, line in points.items() if not name.startswith("final/")} == {
        (1, 2, 3)
    }


def test_a_round_of_federated_averaging_is_a_point_and_the_last_has_the_scores(rounds: Setup, kind: str) -> None:
    course = rounds(tracking=kind)
    start_tracked(course)
    points = READERS[kind](course.folder)
    assert points["training/loss"] == series([(2 * 0.5 + 0.25 + 0.75) / 4] * 3)
    assert points["dice/ucsf"] == series([DICE[2][0]], 3)
    assert points["dice-seen/mean"] == series([SEEN[2]], 3)
    assert points["final/acc"] == series([SEEN[2]], 3)
    assert "final/bwt" not in points


@pytest.mark.parametrize(
    ("method", "seen"),
    [
        ("finetune", [{"ucsf"}, {"ucsf", "amu"}, set(CENTERS)]),
        ("single", [{"ucsf"}, {"amu"}, {"milan"}]),
        ("pooled", [set(CENTERS)]),
    ],
)
def test_a_model_has_seen_the_centers_since_it_was_fresh(journey: Setup, method: str, seen: list[set[str]]) -> None:
    course = journey(method=method)
    course.start()
    stages = range(1, len(course.records) + 1)
    assert [seen_centers(course.records[:count]) for count in stages] == seen


def test_a_center_that_was_not_tested_is_no_part_of_the_mean(journey: Setup) -> None:
    course = journey(errors={(NODES["ucsf"], "evaluate", 0): Error(8, "killed")})
    course.start()
    first, second = (stage_figures(course.records[:count]) for count in (1, 2))
    assert "dice/ucsf" not in first and "dice-seen/mean" not in first
    assert second["dice-seen/mean"] == pytest.approx(SEEN[1])


def science(settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in settings.to_run_config().items() if key not in CIRCUMSTANCES}


def test_tensorboard_has_what_the_run_computes_as_hyper_parameters(journey: Setup) -> None:
    course = journey(tracking="tensorboard")
    start_tracked(course)
    assert hyper_parameters(course.folder) == science(course.settings)


def test_mlflow_has_what_the_run_computes_as_parameters(journey: Setup) -> None:
    pytest.importorskip("mlflow")
    course = journey(tracking="mlflow")
    start_tracked(course)
    _, (run,) = mlflow_runs(course.folder)
    assert run.data.params == {key: str(value) for key, value in science(course.settings).items()}
    assert (run.info.run_name, run.info.status) == ("replay-given-seed0", "FINISHED")
    assert run.info.artifact_uri.startswith((course.folder / "tracking").as_uri()), "for what people add to it"


def test_mlflow_says_that_a_run_failed(journey: Setup) -> None:
    pytest.importorskip("mlflow")
    course = journey(tracking="mlflow", errors={(NODES["amu"], "train", 0): Error(8, "killed")})
    with pytest.raises(CenterError):
        start_tracked(course)
    _, (run,) = mlflow_runs(course.folder)
    assert run.info.status == "FAILED"


def test_it_lies_in_the_results_folder_alone_and_names_no_hospital_s_folder(
    journey: Setup, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = journey(tracking=kind, data_dir="/data/ward-7", cache_dir="/cache/ward-7")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    start_tracked(course)
    assert not list((tmp_path / "here").iterdir())
    assert {path.name for path in course.folder.iterdir()} == {"journal", "tracking"}
    assert [path.name for path in (course.folder / "tracking").iterdir()] == [kind]
    written = [path.read_bytes() for path in (course.folder / "tracking").rglob("*") if path.is_file()]
    assert written and not any(b"ward-7" in content for content in written)


def test_without_tracking_there_is_nothing(journey: Setup, configured: Configured) -> None:
    assert configured().run.tracking == "off"
    course = journey()
    start_tracked(course)
    assert [path.name for path in course.folder.iterdir()] == ["journal"]


class Broken:
    """A sink that fails from its second stage on."""

    def stage(self, step: int, figures: Mapping[str, float]) -> None:
        if step > 1:
            raise OSError("disk full\nand more of it")

    def end(self, step: int, figures: Mapping[str, float]) -> None:
        raise OSError("still full")

    close = end  # type: ignore[assignment]


def test_tracking_that_fails_is_said_once_and_the_run_goes_on(
    journey: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    course = journey(method="finetune")
    tracking = Tracking(Broken)  # type: ignore[arg-type]
    course.start(tracking=tracking)
    tracking.end(3, make_results(("a",), [[0.5]]))
    tracking.close()
    assert len(course.records) == 3
    said = [line for line in capsys.readouterr().out.splitlines() if "tracking" in line]
    assert len(said) == 1 and "the run goes on (OSError: disk full)" in said[0]


def test_a_store_that_cannot_be_opened_does_not_end_the_run(
    journey: Setup, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    course = journey(method="finetune", tracking=kind)
    (course.folder / "tracking").write_text("a file is in the way")
    start_tracked(course)
    assert len(course.records) == 3
    assert capsys.readouterr().out.count("tracking has stopped, the run goes on") == 1


@pytest.mark.parametrize("package", list(SINKS))
def test_a_package_that_is_missing_is_named_before_anything_starts(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    grid = CutGrid({}, config, {1: {}})  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=f"tracking = '{package}' needs a package.*pip install -e '.\\[tracking"):
        start(config | {"tracking": package}, tmp_path / "run", grid)
    assert not grid.sent
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["launch.json"]


def test_off_needs_no_package(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in SINKS:
        monkeypatch.setitem(sys.modules, package, None)
    check_tracking(configured(tracking="off"))


def test_a_whole_run_is_tracked_as_its_results_have_it(config: dict[str, Any], tmp_path: Path) -> None:
    start(config | {"tracking": "tensorboard", "method": "finetune"}, tmp_path / "run")
    results = read_results(tmp_path / "run")
    points = in_tensorboard(tmp_path / "run")
    for j, center in enumerate(results.order):
        assert points[f"dice/{center}"] == series([row[j] for row in results.R])
    assert points["final/acc"] == series([results.acc], 3)
    assert points["final/bwt"] == series([results.bwt], 3)


STOPS_AT_MONAI = """
import importlib, os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "monai":
            print(os.environ.get("MLFLOW_DISABLE_TELEMETRY"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Finder())
importlib.import_module(sys.argv[1])
"""


@pytest.mark.parametrize("entry", ["server.app", "client.handlers"])
def test_mlflow_is_told_to_send_nothing_before_monai_imports_it(entry: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_DISABLE_TELEMETRY"}
    told = subprocess.run(
        [sys.executable, "-c", STOPS_AT_MONAI, entry], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert told.stdout == "true\n", told.stderr

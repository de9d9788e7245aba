"""A study on a Ray cluster: what a run needs of a machine, and two machines that share the work."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scenarios.processes.ray_address import cluster_address
from scenarios.processes.tree import descendants, parents_of_all, stop_all
from scenarios.results.study import read_study
from scenarios.study.ray_cluster import Need, cluster_workers, plan_digest, sharing_problem
from scenarios.study.run_folder import CellFolder
from shared.errors import LaunchError
from shared.results import read_results
from tests.conftest import ROOT
from tests.support.watched import WARDROUND, Watched, command_of, left_after

SMOKE = ROOT / "scenarios" / "smoke.toml"


@pytest.mark.parametrize(
    ("address", "cluster"), [("10.0.0.7:6379", "10.0.0.7:6379"), ("auto", "auto"), ("local", None), (" ", None)]
)
def test_a_cluster_is_what_ray_s_variable_names(
    address: str, cluster: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert cluster_address() == cluster
    monkeypatch.delenv("RAY_ADDRESS")
    assert cluster_address() is None


def test_a_machine_has_room_as_far_as_cpus_memory_and_gpus_go() -> None:
    need = Need(cpus=2, memory_mb=2000, gpus=0)
    assert need.room({"CPU": 9.0, "memory": 64e9}) == 4
    assert need.room({"CPU": 9.0, "memory": 5e9}) == 2
    assert need.room({"CPU": 1.0, "memory": 64e9}) == 0
    assert need.room({}) == 0
    on_gpu = Need(cpus=2, memory_mb=2000, gpus=0.5)
    assert on_gpu.room({"CPU": 9.0, "memory": 64e9, "GPU": 1.0}) == 2
    assert on_gpu.room({"CPU": 9.0, "memory": 64e9}) == 0


def test_a_plan_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("one")
    first = plan_digest(tmp_path)
    (tmp_path / "plan.json").write_text("two")
    assert plan_digest(tmp_path) != first


def test_a_machine_that_does_not_share_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("one")
    ours = plan_digest(tmp_path)
    assert sharing_problem(tmp_path, ours, "node7") == ""
    (tmp_path / "plan.json").write_text("two")
    assert "on node7 the study's folder" in sharing_problem(tmp_path, ours, "node7")
    assert "is another one" in sharing_problem(tmp_path, ours, "node7")
    missing = sharing_problem(tmp_path / "elsewhere", ours, "node7")
    assert "is not there: it must lie on a file system that all machines of the cluster share" in missing


TWO_MACHINES = """
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "memory": 4_000_000_000, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args=node)
cluster.add_node(**node)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture
def two_machines() -> Iterator[str]:
    """The address of a Ray cluster of two nodes with one CPU each, on this machine."""
    # In a process of its own: Ray leaves files open.
    cluster = subprocess.Popen(
        [sys.executable, "-c", TWO_MACHINES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert cluster.stdin is not None and cluster.stdout is not None
    try:
        yield cluster.stdout.readline().decode().strip()
    finally:
        cluster.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            cluster.wait(20)
        stop_all({cluster.pid} if cluster.poll() is None else set(), "")
        cluster.wait()
        cluster.stdout.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_spread_over_the_machines_of_a_cluster(two_machines: str, tmp_path: Path) -> None:
    words = ["--methods", "finetune,pooled", "--seeds", "1", "--scenario", SMOKE, "--output", tmp_path / "study"]
    environment = {"RAY_ADDRESS": two_machines}
    study = Watched(WARDROUND, "compare", *words, log=tmp_path / "log", environment=environment)
    assert study.end() == 0, study.tail()
    assert any("2 of 2 runs to do, 2 at once" in line for line in study.lines)
    found = read_study(tmp_path / "study")
    assert found.missing == ()
    machines = {CellFolder(tmp_path / "study", run.name).read_record().attempts[0].machine for run in found.runs}
    assert len(machines) == 2, "each node did a run"
    finetune = next(run for run in found.runs if run.method == "finetune")
    scenario = CellFolder(tmp_path / "study", finetune.name).scenario
    alone = Watched(WARDROUND, "run", scenario, "--cpus", "1", "--output", tmp_path / "run", log=tmp_path / "log")
    assert alone.end() == 0, alone.tail()
    assert read_results(tmp_path / "run").R == finetune.R, "to the last bit"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_runs_on_the_cluster(two_machines: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    words = ["--methods", "finetune,pooled", "--seeds", "1", "--scenario", SMOKE, "-c", "steps=5000"]
    environment = {"RAY_ADDRESS": two_machines}
    study = Watched(WARDROUND, "compare", *words, "--output", folder, log=tmp_path / "log", environment=environment)
    logs = [CellFolder(folder, name).log for name in ("finetune-descending-seed0", "pooled-seed0")]
    study.until(lambda: all(log.is_file() and "step " in log.read_text() for log in logs), "both runs train")
    runs = [pid for pid in parents_of_all() if str(folder) in command_of(pid)]
    family = set(runs) | descendants(runs, parents_of_all())
    assert len(runs) > 2
    os.kill(study.process.pid, signal.SIGINT)
    assert study.end() == 130, study.tail()
    assert not left_after(family, 30)


def test_a_cluster_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(LaunchError, match=r"RAY_ADDRESS=127\.0\.0\.1:1 does not answer .*: start it, or unset"),
        cluster_workers("127.0.0.1:1", tmp_path, lambda gpus: Need(1, 2000, 0), None),
    ):
        pass

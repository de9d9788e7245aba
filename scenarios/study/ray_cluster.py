"""Spreading a study's runs over the machines of a Ray cluster that is there already.

A run is several processes that belong together, so each is one Ray task, done in a process of
its own on whichever machine has room; Flower's simulation starts a small Ray for itself there.
The study's folder must be on a file system that all machines share, and Wardround must be
installed on them, in the same place or at least for the same Python.
"""

import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scenarios.processes.ray_address import check_cluster, no_cluster
from scenarios.processes.supervisor import marked
from scenarios.study.plan import PLAN
from scenarios.study.worker import GRACE, NAP, CellProcess, Ending, Task, cell_environment
from shared.errors import LaunchError


class ClusterRun:
    """A run that was handed to the cluster."""

    def __init__(self, reference: Any) -> None:
        self._reference = reference
        self._begun = time.monotonic()

    def poll(self) -> Ending | None:
        """How it ended, or nothing as long as it runs or waits for room."""
        import ray

        ended, _ = ray.wait([self._reference], timeout=0)
        if not ended:
            return None
        try:
            ending: Ending = ray.get(self._reference)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            return Ending(1, time.monotonic() - self._begun, reason=f"its machine or Ray failed: {reason[-1]}")
        return ending

    def stop(self) -> None:
        """Ask it to end: Ray raises KeyboardInterrupt in its task."""
        import ray

        ray.cancel(self._reference, force=False)

    def kill(self) -> None:
        """End its task at once; what that started is ended by its reaper."""
        import ray

        with suppress(ValueError):
            ray.cancel(self._reference, force=True)


@dataclass(frozen=True)
class Need:
    """What one run takes of a machine."""

    cpus: int
    memory_mb: float
    gpus: float

    def room(self, resources: Mapping[str, float]) -> int:
        """How many such runs a machine with these resources, in Ray's words, has room for."""
        by_gpu = [resources.get("GPU", 0.0) / self.gpus] if self.gpus else []
        by_memory = resources.get("memory", 0.0) / (self.memory_mb * 1e6)
        return int(min(resources.get("CPU", 0.0) / self.cpus, by_memory, *by_gpu))


class ClusterWorkers:
    """The machines of a cluster, and what a run needs of them."""

    def __init__(self, slots: int, plan: str, need: Need) -> None:
        import ray

        self.slots = slots
        self._plan = plan
        self._gpus = need.gpus
        self._do = ray.remote(
            num_cpus=need.cpus,
            num_gpus=need.gpus,
            memory=need.memory_mb * 1e6,
            max_retries=0,
            scheduling_strategy="SPREAD",
        )(do_task)

    def start(self, task: Task) -> ClusterRun:
        """Hand over a run; it begins where and when there is room."""
        task = replace(task, gpus=self._gpus)
        return ClusterRun(self._do.options(name=task.folder.name).remote(task, self._plan))


@contextmanager
def cluster_workers(
    address: str, study: Path, need: Callable[[bool], Need], jobs: int | None
) -> Iterator[ClusterWorkers]:
    """The workers of a cluster; `need` is asked with whether it has GPUs.

    Raises `LaunchError` where the cluster does not answer, or has room for no run.
    """
    import ray

    check_cluster(address)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise no_cluster(address, str(error).strip().splitlines()[0]) from None
    try:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        machines = [node["Resources"] for node in nodes if node["Alive"]]
        each = need(any(machine.get("GPU") for machine in machines))
        room = sum(each.room(machine) for machine in machines)
        if not room:
            raise LaunchError(
                f"no machine of the Ray cluster at {address} has room for a run ({each.cpus} CPUs, "
                f"{each.memory_mb / 1000:.1f} GB of memory, {each.gpus:g} GPUs): add one that has"
            )
        yield ClusterWorkers(min(jobs or room, room), plan_digest(study), each)
    finally:
        ray.shutdown()


def plan_digest(study: Path) -> str:
    """What tells this study's plan from any other."""
    return hashlib.sha256((study / PLAN).read_bytes()).hexdigest()


def do_task(task: Task, plan: str) -> Ending:
    """Do a run on this machine of the cluster, to its end or until Ray cancels it."""
    machine = _machine()
    if problem := sharing_problem(task.folder.study, plan, machine):
        return Ending(1, 0.0, reason=problem, machine=machine)
    with marked() as mark:
        process = CellProcess(task, _without_ray(cell_environment(os.environ, mark)))
        try:
            while (ending := process.poll()) is None:
                time.sleep(NAP)
            return replace(ending, machine=machine)
        finally:
            _end(process)


def sharing_problem(study: Path, plan: str, machine: str) -> str:
    """What is wrong where a machine does not see the study's folder that the others see; else nothing."""
    try:
        if plan_digest(study) == plan:
            return ""
        there = "is another one"
    except OSError:
        there = "is not there"
    return (
        f"on {machine} the study's folder {study} {there}: "
        "it must lie on a file system that all machines of the cluster share"
    )


def _end(process: CellProcess) -> None:
    """End a run that was cancelled."""
    process.stop()
    deadline = time.monotonic() + GRACE / 2
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(NAP / 3)
    process.kill()


def _without_ray(environment: dict[str, str]) -> dict[str, str]:
    """An environment without what Ray told its worker: a run starts a Ray of its own."""
    return {
        name: value for name, value in environment.items() if not name.startswith("RAY_") and name != "OMP_NUM_THREADS"
    }


def _machine() -> str:
    import ray

    return f"{socket.gethostname()} (node {ray.get_runtime_context().get_node_id()[:8]})"

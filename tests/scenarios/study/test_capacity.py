"""How many runs at once: what cores, memory and GPUs allow, and it is said where that is less than asked for."""

import sys

import pytest

from scenarios.run_config import load_settings
from scenarios.study.capacity import (
    Asked,
    Capacity,
    Jobs,
    choose_jobs,
    cpus_of_a_hospital,
    expected_gpu_mb,
    expected_mb,
    read_jobs,
)
from scenarios.study.run import count_volumes, free_gpu_mb
from scenarios.study.run_folder import Attempt, CellRecord
from shared.cores import cores_here
from shared.errors import LaunchError, SettingsError
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("asked", "cpus", "machine", "slots", "cores"),
    [
        (None, 1, Capacity(2, 16_000), 2, 1),
        (None, 1, Capacity(8, 64_000), 8, 1),
        (None, 2, Capacity(8, 64_000), 4, 2),
        (None, 4, Capacity(2, 64_000), 1, 4),
        (None, 1, Capacity(16, 64_000, (80_000.0,)), 1, 16),
        (3, 1, Capacity(16, 64_000, (80_000.0,)), 3, 5),
        ("auto", 1, Capacity(2, 16_000), 2, 1),
        (1, 1, Capacity(2, 16_000), 1, 2),
        (4, 1, Capacity(2, 16_000), 4, 1),
    ],
)
def test_as_many_as_the_machine_allows(asked: Asked, cpus: int, machine: Capacity, slots: int, cores: int) -> None:
    assert choose_jobs(asked, cpus, machine, lambda actors: 2000) == Jobs(slots, cores)


def test_memory_allows_fewer_and_that_is_said() -> None:
    def each(actors: int) -> float:
        return 1000.0 + 1000.0 * actors

    jobs = choose_jobs(None, 1, Capacity(8, 5_000), each)
    assert (jobs.slots, jobs.cores) == (2, 1)
    assert jobs.note == "2 runs at once instead of 8: a run takes about 2.0 GB of memory, and 5.0 GB are free"
    assert choose_jobs(6, 1, Capacity(6, 5_000), each).slots == 2, "also where more were asked for"
    assert choose_jobs(2, 1, Capacity(8, 10_000), each).slots == 2, "each with four hospitals at once"
    assert choose_jobs(2, 1, Capacity(8, 9_999), each).slots == 1
    assert choose_jobs(None, 1, Capacity(8, 500), each).slots == 1, "but always one"


def test_fewer_runs_at_once_have_more_cpus_each() -> None:
    assert cpus_of_a_hospital(None, 8) == 1
    assert [cpus_of_a_hospital(jobs, 8) for jobs in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert cores_here() >= 1


def test_memory_is_reckoned_until_a_run_has_been_measured() -> None:
    default = load_settings(None, [], None)
    paper = load_settings(ROOT / "scenarios" / "paper.toml", [], None)
    assert 2000 < expected_mb(default, 1, []) < 2500
    # 16 patches of 64^3 voxels, 32 features, 12 numbers of 4 bytes each: 6.4 GB
    assert expected_mb(paper, 1, []) == pytest.approx(2100 + 6442.45, abs=1)
    runs = [CellRecord(attempts=(Attempt(started="", peak_mb=mb),)) for mb in (900.0, 1500.0)]
    assert expected_mb(paper, 1, [*runs, CellRecord()]) == 1500.0


@pytest.mark.parametrize(
    ("asked", "gpu_mb", "slots"),
    [
        (None, (80_000.0,), 1),
        ("auto", (80_000.0,), 8),
        ("auto", (80_000.0, 80_000.0), 16),
        ("auto", (80_000.0, 25_000.0), 4),
        ("auto", (5_000.0,), 1),
        (8, (80_000.0,), 8),
    ],
    ids=["one a GPU", "as many as fit", "on each", "even where one is fuller", "always one", "as asked for"],
)
def test_runs_share_a_gpu_where_that_is_asked_for(asked: Asked, gpu_mb: tuple[float, ...], slots: int) -> None:
    machine = Capacity(32, 512_000, gpu_mb)
    assert choose_jobs(asked, 1, machine, lambda actors: 2000, 10_000).slots == slots


def test_a_gpu_s_memory_allows_fewer_and_that_is_said() -> None:
    jobs = choose_jobs(6, 1, Capacity(16, 512_000, (80_000.0, 30_500.0)), lambda actors: 2000, 16_000)
    assert jobs.slots == 2
    assert jobs.note == "2 runs at once instead of 6: a run takes about 16.0 GB of a GPU, and 30.5 GB are free"
    few = choose_jobs("auto", 1, Capacity(4, 512_000, (80_000.0,)), lambda actors: 2000, 10_000)
    assert (few.slots, few.note) == (4, ""), "cores are fewer, which needs no word"


def test_what_a_run_takes_of_a_gpu() -> None:
    paper = load_settings(ROOT / "scenarios" / "paper.toml", [], None)
    # 16 patches of 64^3 voxels, 32 features, 12 numbers of 4 bytes each; 341 volumes of 4 million voxels, 3 bytes each
    assert expected_gpu_mb(paper, 341) == pytest.approx(1500 + 6442.45 + 341 * 12, abs=1)
    whole = expected_gpu_mb(paper.with_changes({"norm": "channel"}), 341) - expected_gpu_mb(paper, 341)
    assert whole == pytest.approx(6 * 4 * 4 * 32), "a volume in one piece"
    default = load_settings(None, [], None)
    assert 1500 < expected_gpu_mb(default, 100) < 3000


def test_volumes_are_counted_before_they_are_made() -> None:
    paper = load_settings(ROOT / "scenarios" / "paper.toml", [], None)
    assert count_volumes(paper) == 290 + 51, "Karo has two contrasts"
    assert count_volumes(paper.with_changes({"contrasts": "FLAIR"})) == 290 - 47, "Milan has none"


def test_free_memory_of_gpus_is_asked_for_elsewhere() -> None:
    assert free_gpu_mb(("0", "3"), (sys.executable, "-c", "print(25_000_000); print(1_500_000)")) == (25.0, 1.5)
    with pytest.raises(LaunchError, match=r"cannot be read \(out of order\): run with --gpus 0, or mend CUDA"):
        free_gpu_mb(("0",), (sys.executable, "-c", "raise SystemExit('out of order')"))


def test_jobs_are_a_number_or_auto() -> None:
    assert [read_jobs(text) for text in (None, "auto", "3")] == [None, "auto", 3]
    for wrong in ("0", "-1", "all", "", "1.5"):
        with pytest.raises(SettingsError, match="write a number of runs at once from 1 on, or auto"):
            read_jobs(wrong)

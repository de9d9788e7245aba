"""How many runs at once: what cores, memory and GPUs allow, and it is said where that is less than asked for."""

import pytest

from scenarios.run_config import load_settings
from scenarios.study.capacity import Capacity, Jobs, choose_jobs, cpus_of_a_hospital, expected_mb
from scenarios.study.run_folder import Attempt, CellRecord
from shared.cores import cores_here
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("asked", "cpus", "machine", "slots", "cores"),
    [
        (None, 1, Capacity(2, 16_000), 2, 1),
        (None, 1, Capacity(8, 64_000), 8, 1),
        (None, 2, Capacity(8, 64_000), 4, 2),
        (None, 4, Capacity(2, 64_000), 1, 4),
        (None, 1, Capacity(16, 64_000, gpus=1), 1, 16),
        (3, 1, Capacity(16, 64_000, gpus=1), 3, 5),
        (1, 1, Capacity(2, 16_000), 1, 2),
        (4, 1, Capacity(2, 16_000), 4, 1),
    ],
)
def test_as_many_as_the_machine_allows(asked: int | None, cpus: int, machine: Capacity, slots: int, cores: int) -> None:
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

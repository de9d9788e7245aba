"""How many runs of a study at once: as many as the machine's cores, memory and GPUs allow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scenarios.study.run_folder import CellRecord
from shared.config.settings import Settings

RUNTIME_MB, ACTOR_MB = 1700.0, 400.0
"""Measured on the default scenario with one hospital at a time: 2.1 GB in all, pooled training or not."""


@dataclass(frozen=True)
class Capacity:
    """What runs share."""

    cores: int
    memory_mb: float
    """Free memory."""
    gpus: int = 0


@dataclass(frozen=True)
class Jobs:
    """The runs at once, and each one's share of the machine."""

    slots: int
    cores: int
    """Of each run."""
    note: str = ""
    """Says where there are fewer than could be."""


def cpus_of_a_hospital(asked: int | None, cores: int) -> int:
    """The CPUs of a hospital in a new study: one, or with fewer runs at once than cores each one's share.

    Several runs on a core each are quicker together than one on all of them, since not all of a
    run can use a second core.
    """
    return 1 if asked is None else max(1, cores // asked)


def expected_mb(settings: Settings, actors: int, records: Sequence[CellRecord]) -> float:
    """The memory of a run: the most that finished ones took, or else reckoned from its settings.

    Reckoned are the processes of Flower and Ray, those of the hospitals (`actors` at once), and
    what a training step holds: 12 numbers of four bytes for each voxel of a batch and feature of
    the network, as measured with 8 features. A run's volumes come on top where they are many.
    """
    measured = [record.peak_mb for record in records if record.peak_mb is not None]
    if measured:
        return max(measured)
    training = settings.training
    step = 12 * 4 * training.patches * training.patch_size**3 * settings.network.features / 1e6
    return RUNTIME_MB + ACTOR_MB * actors + step


def choose_jobs(asked: int | None, cpus: int, machine: Capacity, cell_mb: Callable[[int], float]) -> Jobs:
    """The runs at once: as asked for, or as many as there are cores (GPUs, where it has some).

    In either case no more than fit in memory, but always one. `cell_mb` says what a run takes
    with so many hospitals at once.
    """
    wanted = asked or max(1, min(machine.cores // cpus, machine.gpus or machine.cores))
    cores = max(cpus, machine.cores // wanted)
    each = cell_mb(cores // cpus)
    slots = min(wanted, max(1, int(machine.memory_mb // each)))
    if slots == wanted:
        return Jobs(slots, cores)
    note = (
        f"{slots} runs at once instead of {wanted}: a run takes about {each / 1000:.1f} GB of memory, "
        f"and {machine.memory_mb / 1000:.1f} GB are free"
    )
    return Jobs(slots, cores, note)

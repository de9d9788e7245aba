"""How many runs of a study at once: as many as the machine's cores, memory and GPUs allow."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from scenarios.study.run_folder import CellRecord
from shared.config.settings import Settings
from shared.errors import SettingsError

RUNTIME_MB, ACTOR_MB = 1700.0, 400.0
"""Measured on the default scenario with one hospital at a time: 2.1 GB in all, pooled training or not."""

CONTEXT_MB = 1500.0
"""Of a process on a GPU before it computes anything: CUDA's context, the libraries' kernels and their workspaces."""

STEP_NUMBERS = 12
"""Numbers of four bytes that a training step holds for each voxel of a batch and feature of the network, as measured
with 8 features on a CPU. On a GPU most of them have two bytes: there it is an upper bound."""

WHOLE_NUMBERS = 6
"""The same of a volume that is tested in one piece, without gradients: an upper bound, too."""

VOLUME_MM3 = 4e6
"""Of a prepared volume, the mean of the paper's 290 subjects."""

VOXEL_BYTES = 3
"""Of a prepared volume on the GPU: two of its image, one of its label."""

AUTO: Literal["auto"] = "auto"

Asked = int | Literal["auto"] | None
"""How many runs at once were asked for."""


@dataclass(frozen=True)
class Capacity:
    """What runs share."""

    cores: int
    memory_mb: float
    """Free memory."""
    gpu_mb: tuple[float, ...] = ()
    """Free memory of each GPU that may be used."""


@dataclass(frozen=True)
class Jobs:
    """The runs at once, and each one's share of the machine."""

    slots: int
    cores: int
    """Of each run."""
    note: str = ""
    """Says where there are fewer than could be."""


def read_jobs(text: str | None) -> Asked:
    """What `--jobs` says: a number, `auto`, or nothing. Raises `SettingsError`."""
    if text is None or text == AUTO:
        return text
    if text.isascii() and text.isdigit() and 0 < int(text) < 10_000:
        return int(text)
    raise SettingsError(f"--jobs {text!r}: write a number of runs at once from 1 on, or auto for as many as fit")


def cpus_of_a_hospital(asked: Asked, cores: int) -> int:
    """The CPUs of a hospital in a new study: one, or with fewer runs at once than cores each one's share.

    Several runs on a core each are quicker together than one on all of them, since not all of a
    run can use a second core.
    """
    return max(1, cores // asked) if isinstance(asked, int) else 1


def expected_mb(settings: Settings, actors: int, records: Sequence[CellRecord]) -> float:
    """The memory of a run: the most that finished ones took, or else reckoned from its settings.

    Reckoned are the processes of Flower and Ray, those of the hospitals (`actors` at once), and
    what a training step holds. A run's volumes come on top where they are many.
    """
    measured = [record.peak_mb for record in records if record.peak_mb is not None]
    if measured:
        return max(measured)
    return RUNTIME_MB + ACTOR_MB * actors + _step_mb(settings)


def expected_gpu_mb(settings: Settings, volumes: int) -> float:
    """The most that one run takes of a GPU, on which one hospital works at a time and keeps `volumes`.

    Reckoned are the process itself, a training step, a test volume in one piece where the network takes it so, and
    the volumes. A captured step keeps its memory while the model is tested, so that they add up.
    """
    voxels = VOLUME_MM3 / settings.data.spacing**3
    features = settings.network.features
    whole = WHOLE_NUMBERS * 4 * voxels * features / 1e6 if settings.network.norm == "channel" else 0.0
    kept = (math.cbrt(voxels) + 2 * settings.training.margin) ** 3
    return CONTEXT_MB + _step_mb(settings) + whole + VOXEL_BYTES * kept * volumes / 1e6


def _step_mb(settings: Settings) -> float:
    training = settings.training
    return STEP_NUMBERS * 4 * training.patches * training.patch_size**3 * settings.network.features / 1e6


def choose_jobs(
    asked: Asked, cpus: int, machine: Capacity, cell_mb: Callable[[int], float], cell_gpu_mb: float = 0.0
) -> Jobs:
    """The runs at once: as asked for, or as many as there are cores (GPUs, where it has some).

    `auto` lets runs share a GPU, as many as its memory holds. In any case no more than fit in memory, the GPUs' too,
    but always one. `cell_mb` says what a run takes with so many hospitals at once, `cell_gpu_mb` what of a GPU.
    """
    # Each GPU takes as many as the fullest one: they are dealt out evenly.
    sharing = len(machine.gpu_mb) * int(min(machine.gpu_mb) // cell_gpu_mb) if machine.gpu_mb and cell_gpu_mb else None
    if isinstance(asked, int):
        wanted = asked
    else:
        on_gpus = len(machine.gpu_mb) if asked is None or sharing is None else max(1, sharing)
        wanted = max(1, min(machine.cores // cpus, on_gpus or machine.cores))
    cores = max(cpus, machine.cores // wanted)
    each = cell_mb(cores // cpus)
    slots = min(wanted, max(1, int(machine.memory_mb // each)))
    note = ""
    if slots < wanted:
        note = (
            f"{slots} runs at once instead of {wanted}: a run takes about {each / 1000:.1f} GB of memory, "
            f"and {machine.memory_mb / 1000:.1f} GB are free"
        )
    if sharing is not None and max(1, sharing) < slots:
        slots = max(1, sharing)
        note = (
            f"{slots} runs at once instead of {wanted}: a run takes about {cell_gpu_mb / 1000:.1f} GB of a GPU, "
            f"and {min(machine.gpu_mb) / 1000:.1f} GB are free"
        )
    return Jobs(slots, cores, note)

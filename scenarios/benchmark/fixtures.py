"""The simulated patients that the figures are measured on, their hospital, and one whole stage at it.

A stage goes from the train message to the reply, without Flower around it.
"""

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import numpy as np
from flwr.app import Context, RecordDict

from client.data.inventory import Case
from client.data.preprocessing import Volume
from client.handlers import Desk, train_here
from client.hospital.center import Hospital, open_hospital
from client.hospital.config import Site
from client.training.sampler import pad_to
from scenarios.simulation.hospitals import prepare_hospitals
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from shared.model.weights import Weights
from shared.paths import cache_folder
from shared.replay.contribution import Contribution, PlainContribution
from shared.replay.exemplar import Exemplar
from shared.replay.memory import center_budget
from shared.seeds import generator
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainRequest, pack_train_request, unpack_train_reply


@dataclass(frozen=True)
class Bedside:
    """A hospital whose state is kept in a folder of the benchmark's, so that nothing of it outlasts that."""

    center: str
    settings: Settings
    state: Path

    @property
    def desk(self) -> Desk:
        """Where its messages are answered."""
        return Desk(simulated=lambda center, settings: self._site(settings))

    @property
    def site(self) -> Site:
        """What the hospital is; its data are made where they are missing."""
        return self._site(self.settings)

    def _site(self, settings: Settings) -> Site:
        return replace(simulated_site(self.center, settings), state=self.state / self.center)

    def open(self) -> Hospital:
        """Its subjects, divided into training and test as in a run."""
        with hushed():
            prepare_hospitals(self.settings, lambda line: None)
        return open_hospital(self.site, cache_folder(self.settings.data.cache_dir), self.settings)

    def training(self) -> list[tuple[Case, Volume]]:
        """The volumes that it trains on."""
        hospital = self.open()
        with hushed():
            return hospital.open(hospital.training)[0]

    @property
    def context(self) -> Context:
        """Flower's context of a node that simulates this hospital."""
        node = {"partition-id": 0, "num-partitions": 1}
        return Context(0, 0, dict(node), RecordDict(), dict(self.settings.to_run_config()))


@contextmanager
def hushed() -> Iterator[None]:
    """Without the lines that a hospital says to whoever watches its run."""
    with redirect_stdout(io.StringIO()):
        yield


@dataclass(frozen=True)
class StageTime:
    """What a stage took."""

    seconds: float
    """From the message that came to the one that leaves."""
    compute_seconds: float
    """Of them in forward, backward and the optimiser's step."""


def do_stage(bedside: Bedside, weights: Weights, memory: Sequence[Contribution]) -> StageTime:
    """Have a hospital answer a train message: unpack and check, decode the memory, train, choose exemplars, pack."""
    settings = bedside.settings
    task = TrainTask(
        run=uuid4().hex,
        stage=len(memory),
        center=bedside.center,
        contribute=True,
        budget=center_budget(settings.memory.memory_megabytes, len(memory) + 1),
    )
    message, context = pack_train_request(TrainRequest(task, weights, tuple(memory))), bedside.context
    with hushed():
        begun = time.perf_counter()
        reply = train_here(message, context, bedside.desk)
        seconds = time.perf_counter() - begun
    return StageTime(seconds, unpack_train_reply(reply).figures.compute_seconds)


def made_up_memory(
    volumes: Sequence[tuple[Case, Volume]], settings: Settings, centers: int, exemplars: int
) -> tuple[PlainContribution, ...]:
    """The memory of so many centers: crops at random places of the volumes, so that no two are alike.

    As in a run, a center ends where its share of the memory's bytes does.
    """
    budget = center_budget(settings.memory.memory_megabytes, centers + 1)
    contributions = []
    for number in range(centers):
        center, left = f"c{number:03d}", budget
        random = generator(settings.run.seed, "bench", center)
        given: list[Exemplar] = []
        for subject in range(exemplars):
            case, volume = volumes[int(random.integers(len(volumes)))]
            exemplar = _crop(case, volume, settings, center, f"{subject:016x}", random)
            left -= exemplar.payload.nbytes
            if left < 0:
                break
            given.append(exemplar)
        contributions.append(PlainContribution(tuple(given)))
    return tuple(contributions)


def _crop(
    case: Case, volume: Volume, settings: Settings, center: str, subject: str, random: np.random.Generator
) -> Exemplar:
    size = settings.exemplar_voxels
    image = pad_to(np.asarray(volume.image), size, float(volume.image.min()))
    label = pad_to(np.asarray(volume.label), size, 0.0)
    low = [int(random.integers(edge - size + 1)) for edge in image.shape]
    box = tuple(slice(start, start + size) for start in low)
    flips = tuple(axis for axis in range(3) if random.random() < 0.5)
    shown, marked = np.flip(image[box], flips), np.flip(label[box], flips)
    return Exemplar.encode(
        shown.astype(np.float32),
        marked.astype(np.float32) / np.float32(255),
        center=center,
        subject=subject,
        contrast=case.contrast,
        spacing=settings.data.spacing,
    )

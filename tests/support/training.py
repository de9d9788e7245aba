"""Trainings by the handful: sources of patches, requests, and a process that dies after a step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.data.preprocessing import Volume
from client.sharing.kept_replies import keeping_visit
from client.training.checkpoints import CheckpointFiles
from client.training.methods.base import Method
from client.training.plan import Plan, plan_stage
from client.training.sampler import Source
from client.training.trainer import Progress, Trained, train
from shared.config.settings import Settings
from shared.model.network import initial_weights
from shared.model.weights import Weights
from shared.replay.contribution import PlainContribution
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from tests.support.journals import crop, figures_of

CPU = torch.device("cpu")


def ball(seed: int = 0, margin: int = 0) -> Source:
    """A bright ball in noise: the easiest lesion."""
    random = np.random.default_rng(seed)
    away = np.linalg.norm(np.indices((16, 16, 16)) - random.uniform(6, 10, (3, 1, 1, 1)), axis=0)
    lesion = away < 4
    image = random.normal(size=away.shape) * 0.3 + 4 * lesion
    label = np.where(lesion, 255, 0).astype(np.uint8)
    volume = Volume(image.astype(np.float16), label, np.eye(4), label, np.eye(4), -5.0)
    return Source.of_volume(volume, 16, margin=margin)


def sources(n: int, margin: int = 0) -> list[Source]:
    return [ball(seed, margin) for seed in range(n)]


def weights(settings: Settings) -> Weights:
    return initial_weights(settings.network, 0)


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


RUN, OTHER_RUN = "0" * 32, "1" * 32
STEPS = 5
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"schedule": "constant", "steps": STEPS},
    "one-cycle": {"schedule": "one-cycle", "steps": STEPS},
    "polynomial": {"schedule": "polynomial", "steps": STEPS},
    "step": {"schedule": "step", "steps": 0, "epochs": STEPS, "decay_epochs": 2},
}


class Killed(BaseException):
    """The hospital's process ends, here and now."""


@dataclass
class UpTo:
    """Checkpoints that are kept every so many steps, by a process that dies after a step."""

    state: CheckpointFiles
    dies_after: int
    every: int = 1
    step: int = 0

    def load(self) -> dict[str, Any] | None:
        loaded = self.state.load()
        self.step = len(loaded["losses"]) if loaded else 0
        return loaded

    def due(self) -> bool:
        self.step += 1
        return self.step % self.every == 0

    def save(self, state: dict[str, Any]) -> None:
        self.state.save(state)

    def report(self, progress: Progress) -> None:
        if progress.step == self.dies_after:
            raise Killed


def request_of(settings: Settings, stage: int = 0, run: str = RUN, center: str = "amu") -> TrainRequest:
    task = TrainTask(run=run, stage=stage, center=center, contribute=True)
    return TrainRequest(task, weights(settings), ())


def plan_of(settings: Settings, memory: int) -> Plan:
    return plan_stage(sources(2), [sources(memory), sources(1)] if memory else [], settings)


def interrupted(
    folder: Path, settings: Settings, plan: Plan, dies_after: int, every: int = 1, method: Method | None = None
) -> None:
    request = request_of(settings)
    with keeping_visit(folder, request, 0.0) as visit:
        checkpoints = UpTo(visit.checkpoints, dies_after, every)
        with pytest.raises(Killed):
            train(request.weights, plan, settings, 3, CPU, checkpoints.report, checkpoints, method)


def gone_on(folder: Path, settings: Settings, plan: Plan, method: Method | None = None) -> tuple[Trained, list[int]]:
    """The training to its end, and the steps that were taken for it."""
    request = request_of(settings)
    heard: list[int] = []
    with keeping_visit(folder, request, 1e9) as visit:
        trained = train(
            request.weights, plan, settings, 3, CPU, lambda p: heard.append(p.step), visit.checkpoints, method
        )
    return trained, heard


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.rglob(pattern)
    return path


def reply_of(settings: Settings) -> TrainReply:
    return TrainReply({n: v + 1 for n, v in weights(settings).items()}, PlainContribution((crop("amu"),)), figures_of())

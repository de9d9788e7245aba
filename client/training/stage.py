"""One stage's training at a hospital: its own volumes and the memory, by the run's method.

What of the memory came, and what may leave, is decided elsewhere (client/sharing).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from client.data.inventory import Case
from client.data.preprocessing import Volume
from client.hospital.center import Hospital
from client.training.attempts import Attempted, attempt_until_learnt, weights_of_stage
from client.training.checkpoints import CheckpointFiles
from client.training.methods.base import Method
from client.training.methods.registry import begin_method
from client.training.plan import plan_stage
from client.training.replay import recalled
from client.training.sampler import Recalled, Source, decode_all
from client.training.trainer import Checkpoints, Progress, train
from shared.config.settings import Settings
from shared.cores import spread
from shared.log import say
from shared.model.device import choose_device
from shared.model.network import LesionNet
from shared.model.weights import State, Weights
from shared.replay.memory import ReplayMemory
from shared.seeds import derive_seed, generator
from shared.text import tallied
from shared.wire.headers import TrainFigures
from shared.wire.messages import TrainRequest

Opened = tuple[list[tuple[Case, Volume]], dict[str, str]]
"""A hospital's volumes to train on, and the reason for each subject (pseudonym) that was set aside."""


@dataclass(frozen=True)
class TrainedStage:
    """What a stage reached, with what is needed to choose exemplars after it."""

    weights: Weights
    state: State
    figures: TrainFigures
    network: LesionNet
    """With these weights, on the training's device."""
    method: Method
    volumes: tuple[tuple[Case, Volume], ...]
    """What the first hospital trained on."""


def train_stage(
    request: TrainRequest,
    memory: ReplayMemory,
    hospitals: Sequence[Hospital],
    settings: Settings,
    checkpoints: CheckpointFiles,
    voided: Callable[[frozenset[str]], None] = lambda subjects: None,
    admit: Callable[[Sequence[Opened]], None] = lambda opened: None,
) -> TrainedStage:
    """Train on the hospitals' data and the memory; `voided` hears whose coming or going begins the stage anew.

    `admit` sees what could be opened before anything is computed, and raises where that is too little. Raises
    `DataError` or `TrainingError`.
    """
    started = time.perf_counter()
    task = request.task
    opened = [hospital.open(hospital.training) for hospital in hospitals]
    admit(opened)
    checkpoints = replace(checkpoints, sources=_contrasts(hospitals, opened), voided=voided)
    device = choose_device(settings.training.device)
    patch, margin, contrasts = settings.training.patch_size, settings.training.margin, settings.data.contrasts
    cases = [one for good, _ in opened for one in good]
    own = list(spread(lambda one: Source.of_volume(one[1], patch, contrasts.index(one[0].contrast), margin), cases))
    past: list[Sequence[Recalled]] = [
        [Recalled(one, patch, contrasts.index(one.provenance.contrast), margin) for one in given]
        for given in recalled(memory, task, settings)
    ]
    if device.type == "cuda":
        decode_all(past)
    learnt = sum(len({case.contrast for case, _ in good}) for good, _ in opened)

    def report(progress: Progress) -> None:
        say(
            f"{task.center}: step {progress.step}/{progress.steps}, loss {progress.loss:.3f}, "
            f"{progress.seconds_left:.0f} s left"
        )

    request = replace(request, weights=weights_of_stage(request.weights, task, settings))
    seed = derive_seed(settings.run.seed, "train", task.stage, task.center)

    def attempt(weights: Weights, kept: Checkpoints) -> Attempted:
        method = begin_method(replace(request, weights=weights), settings, device)
        rehearsed = method.rehearse([*past], generator(settings.run.seed, "rehearse", task.stage, task.center))
        plan = plan_stage(own, rehearsed, settings, learnt, task.rounds, task.round)
        return Attempted(train(weights, plan, settings, seed, device, report, kept, method), method, plan.recipe)

    prepared = time.perf_counter() - started
    if settings.training.restarts:
        found = attempt_until_learnt(attempt, request.weights, own, task, settings, checkpoints)
    else:
        found = attempt(request.weights, checkpoints)
    trained, method = found.trained, found.method
    started = time.perf_counter()
    state = method.after_training(trained.network, own, found.recipe)
    measured = time.perf_counter() - started
    figures = TrainFigures(
        steps=trained.steps,
        subjects=sum(len({case.subject for case, _ in good}) for good, _ in opened),
        final_loss=trained.final_loss,
        seconds=prepared + found.earlier_seconds + trained.seconds + measured,
        compute_seconds=found.earlier_compute_seconds + trained.compute_seconds + measured,
        restarts=found.restarts,
        set_aside=tallied(reason for _, problems in opened for reason in problems.values()),
    )
    return TrainedStage(trained.weights, state, figures, trained.network, method, tuple(opened[0][0]))


def _contrasts(hospitals: Sequence[Hospital], opened: Sequence[Opened]) -> dict[str, set[str]]:
    """The contrasts of each subject that is trained on, by pseudonym."""
    found: dict[str, set[str]] = {}
    for hospital, (good, _) in zip(hospitals, opened, strict=True):
        for case, _ in good:
            found.setdefault(hospital.pseudonym(case.subject), set()).add(case.contrast)
    return found

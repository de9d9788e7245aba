"""One visit of the model: train on the hospital's data, then choose what the hospital contributes."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from client.data.inventory import Case
from client.data.preprocessing import Volume
from client.hospital.center import Hospital
from client.hospital.config import Site
from client.hospital.trust import Custody
from client.sharing.exemplar_selection import choose_exemplars
from client.sharing.outbound import Outlook, may_be_chosen, release_exemplars, subjects_of, wrap
from client.training.methods.ewc import consolidation, importance_here, updated_importance
from client.training.methods.lwf import distillation
from client.training.replay import MOST, recall
from client.training.sampler import Recalled, Source
from client.training.trainer import Checkpoints, Penalty, Progress, plan_stage, train
from shared.config.settings import Settings
from shared.log import say
from shared.model.device import choose_device
from shared.model.weights import Weights
from shared.replay.contribution import Contribution
from shared.replay.exemplar import Exemplar
from shared.replay.memory import ReplayMemory
from shared.seeds import derive_seed, generator
from shared.wire.headers import Retention, TrainFigures, TrainTask
from shared.wire.messages import TrainReply, TrainRequest

Hold = Callable[[TrainRequest, Settings, torch.device], Penalty | None]

HOLDS: Mapping[Retention, Hold] = {
    "none": lambda request, settings, device: None,
    "distillation": distillation,
    "consolidation": consolidation,
}
"""What holds a training to what the model knew when it came."""


@dataclass(frozen=True)
class Place:
    """A center at this node: what it says of itself, what it decides by, and how its data are opened."""

    site: Site
    custody: Custody
    open: Callable[[], Hospital]


def visit(
    request: TrainRequest,
    memory: ReplayMemory,
    places: Sequence[Place],
    hospitals: Sequence[Hospital],
    settings: Settings,
    outlook: Outlook,
    checkpoints: Checkpoints,
) -> TrainReply:
    """Train on the hospitals' data and the memory, and wrap up what the first hospital contributes.

    Where the task consolidates, say also how much the hospital depends on each parameter.
    """
    started = time.perf_counter()
    task = request.task
    opened = [(hospital, *hospital.open(hospital.training)) for hospital in hospitals]
    device = choose_device(settings.training.device)
    patch = settings.training.patch_size
    own = [Source.of_volume(volume, patch, device) for _, good, _ in opened for _, volume in good]
    past = [[Recalled(one, patch, device) for one in given] for given in recalled(memory, task, settings)]
    plan = plan_stage(own, past, settings, task.steps_factor, task.rounds, task.round)
    plan = replace(plan, penalty=HOLDS[task.retention](request, settings, device))

    def report(progress: Progress) -> None:
        say(
            f"{task.center}: step {progress.step}/{progress.steps}, loss {progress.loss:.3f}, "
            f"{progress.seconds_left:.0f} s left"
        )

    seed = derive_seed(settings.run.seed, "train", task.stage, task.center)
    prepared = time.perf_counter() - started
    trained = train(request.weights, plan, settings, seed, device, report, checkpoints)
    started = time.perf_counter()
    importance: Weights | None = None
    computing = trained.compute_seconds
    if task.retention == "consolidation":
        seed = derive_seed(settings.run.seed, "importance", task.stage, task.center)
        here = importance_here(trained.weights, own, plan.recipe, settings, seed, device)
        importance = updated_importance(request.importance, here, settings.retention.ewc_decay)
        computing += time.perf_counter() - started
    contribution: Contribution | None = None
    if task.contribute:
        (hospital, good, _), *_ = opened
        contribution = contribute(places[0], hospital, good, request, settings, outlook)
    figures = TrainFigures(
        steps=trained.steps,
        subjects=sum(len({case.subject for case, _ in good}) for _, good, _ in opened),
        final_loss=trained.final_loss,
        seconds=prepared + trained.seconds + time.perf_counter() - started,
        compute_seconds=computing,
        set_aside={subject: reason for _, _, problems in opened for subject, reason in problems.items()},
    )
    return TrainReply(trained.weights, contribution, figures, importance)


def recalled(memory: ReplayMemory, task: TrainTask, settings: Settings) -> list[Sequence[Exemplar]]:
    """By center, the exemplars that a stage trains on: in `paper` mode all of them, as the paper does."""
    most = MOST if settings.memory.replay_mode == "balanced" else len(memory.exemplars)
    return recall(memory, most, generator(settings.run.seed, "recall", task.stage, task.center))


def contribute(
    place: Place,
    hospital: Hospital,
    good: Sequence[tuple[Case, Volume]],
    request: TrainRequest,
    settings: Settings,
    outlook: Outlook,
) -> Contribution | None:
    """Exemplars of the hospital's own, as its policy lets them leave."""
    custody, task = place.custody, request.task
    if not custody.policy.share_exemplars:
        say(f"{custody.center}: no exemplar leaves: share-exemplars is false")
        return None
    subjects = subjects_of(place.site, hospital, custody.sent_before())
    allowed = may_be_chosen(custody, subjects)
    candidates = [(case, volume) for case, volume in good if hospital.pseudonym(case.subject) in allowed]
    budget = min(task.budget, custody.policy.nbytes)
    chosen = choose(hospital, candidates, settings, budget, custody.policy.subjects)
    return wrap(custody, release_exemplars(custody, chosen, subjects, outlook), task, outlook)


def choose(
    hospital: Hospital, candidates: Sequence[tuple[Case, Volume]], settings: Settings, budget: int, most: int
) -> tuple[Exemplar, ...]:
    """The exemplars that the hospital would give, before its policy is asked."""
    return choose_exemplars(
        hospital.center,
        candidates,
        hospital.pseudonym,
        size=settings.exemplar_voxels,
        spacing=settings.data.spacing,
        subjects=min(settings.memory.memory_subjects, most),
        budget=budget,
        random=generator(settings.run.seed, "exemplars", hospital.center),
    )

"""How much a run of simulated hospitals has to do, reckoned from its settings: stages, steps and test volumes.

Subjects without lesion, which a run sets aside (two in a hundred), are counted in.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.data.inventory import Case
from client.data.split import split
from client.training.plan import plan_stage
from client.training.sampler import Cut
from scenarios.simulation.hospitals import phantom_settings, subject_count
from shared.config.settings import Settings
from shared.course import order_of_visits, plan_course
from shared.errors import SettingsError
from shared.phantoms.centers import profile


@dataclass(frozen=True)
class CourseSize:
    """What the stages of a run have to do together."""

    stages: int
    steps: int
    """Of the optimiser."""
    tests: int
    """Volumes that are segmented and scored."""


@dataclass(frozen=True)
class _Counted:
    """A volume or an exemplar that is only counted."""

    contrast: int
    replayed: bool = False
    voxels: int = 0
    carries: Collection[str] = ()

    def cut(self, size: int, on_lesion: bool, random: np.random.Generator) -> Cut:
        raise NotImplementedError("it is only counted")


@dataclass(frozen=True)
class _Center:
    training: tuple[_Counted, ...]
    exemplars: tuple[_Counted, ...]
    subjects: int
    """To train on."""
    tests: int


def course_size(settings: Settings) -> CourseSize:
    """What a run of simulated hospitals has to do. Raises `SettingsError` for a method that averages models."""
    run = settings.run
    if run.spec.course == "rounds":
        raise SettingsError(
            f"the work of method = {run.method!r} is not reckoned: choose one that trains stage by stage"
        )
    centers = {name: _center(name, settings) for name in run.participants}
    order = order_of_visits({name: centers[name].subjects for name in run.centers}, run)
    steps = tests = 0
    stages = plan_course(order, run)
    for stage in stages:
        before = order[: stage.index] if stage.replay else ()
        own = [centers[name] for name in stage.centers]
        steps += _steps(own, [centers[name] for name in before], settings)
        tests += sum(centers[name].tests for name in stage.tests)
    return CourseSize(len(stages), steps, tests)


def _steps(own: Sequence[_Center], before: Sequence[_Center], settings: Settings) -> int:
    volumes = [volume for center in own for volume in center.training]
    contrasts = sum(len({volume.contrast for volume in center.training}) for center in own)
    memory = [center.exemplars for center in before]
    return plan_stage(volumes, memory, settings, contrasts).steps


def _center(name: str, settings: Settings) -> _Center:
    contrasts = [contrast for contrast in settings.data.contrasts if contrast in profile(name).contrasts]
    subjects = [f"sub-{number:03d}" for number in range(1, subject_count(name, phantom_settings(settings.data)) + 1)]
    cases = [Case(subject, contrast, Path(), Path()) for subject in subjects for contrast in contrasts]
    if name in settings.run.evaluators:
        return _Center((), (), 0, len(cases))
    training, test = split(name, cases, settings.data.test_fraction, settings.run.seed)
    places: Mapping[str, int] = {contrast: place for place, contrast in enumerate(settings.data.contrasts)}
    given = {case.subject: _Counted(places[case.contrast], replayed=True) for case in training}
    return _Center(
        training=tuple(_Counted(places[case.contrast]) for case in training),
        exemplars=tuple(given.values())[: settings.memory.memory_subjects],
        subjects=len(given),
        tests=len(test),
    )

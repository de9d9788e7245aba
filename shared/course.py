"""The course: which stage comes next, decided without any network.

A course is a plain list of stages that the strategy works off. What makes a method, here, is only where
each stage starts from, whether the memory travels, and on whose data it trains (shared/methods.py lists
them); what holds the model to what it knew is the hospital's to compute. Where each stage's model is tested
is in it, too: at all centers that is K^2 tests, and `tested-others` makes it a sample of them. Evaluators,
which never train, test every model that is tested.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from shared.config.groups import RunSettings
from shared.errors import SettingsError
from shared.methods import Course
from shared.seeds import derive_seed, generator


@dataclass(frozen=True)
class Stage:
    """One visit: train at `center`, then test."""

    index: int
    center: str
    start: Literal["initial", "carried"]
    """From a fresh network, or from what the stage before handed on."""
    replay: bool
    """Whether the memory comes along and the center is asked to contribute."""
    tests: tuple[str, ...]
    """The centers that test its model, in the order of the visits, and then the evaluators."""
    pool: tuple[str, ...] = ()
    """Centers whose data is trained on together; empty: the center's own."""
    apart: tuple[str, ...] = ()
    """Centers that train at once, each on its own data, and whose models are averaged."""
    rounds: int = 1
    """Of how many such rounds this is number `index`."""

    @property
    def centers(self) -> tuple[str, ...]:
        """All whose data is trained on."""
        return self.apart or self.pool or (self.center,)

    @property
    def tested(self) -> bool:
        """Whether it gives a row of R: of several rounds, the last one does."""
        return bool(self.tests)

    @property
    def kind(self) -> str:
        """What it is called."""
        return "round" if self.apart else "stage"

    @property
    def where(self) -> str:
        """Where it trains, in words."""
        if self.apart:
            return "all centers at once"
        return "all centers together" if self.pool else self.center


def order_of_visits(subjects: Mapping[str, int], run: RunSettings) -> tuple[str, ...]:
    """The centers in the order in which they are visited.

    `descending` goes by the number of training `subjects`, ties as given.
    """
    order = run.centers
    if run.order == "descending":
        order = tuple(sorted(run.centers, key=lambda center: -subjects[center]))
    elif run.order == "random":
        order = tuple(order[i] for i in generator(run.seed, "order").permutation(len(order)))
    return order


def plan_course(order: tuple[str, ...], run: RunSettings) -> tuple[Stage, ...]:
    """The stages of a method; what is tested at all, the evaluators test, too."""
    stages = COURSES.get(run.spec.course, _visits)(order, run)
    return tuple(replace(stage, tests=(*stage.tests, *run.evaluators)) if stage.tested else stage for stage in stages)


def _pooled(order: tuple[str, ...], run: RunSettings) -> tuple[Stage, ...]:
    """One stage on everybody's data.

    It has as many steps as all stages of a sequential run together, so that both have had the
    same training.
    """
    return (Stage(0, order[0], "initial", replay=False, tests=order, pool=order),)


def _rounds(order: tuple[str, ...], run: RunSettings) -> tuple[Stage, ...]:
    """Federated averaging (McMahan et al. 2017), all centers in every round.

    Over all rounds a center trains as long as in its stage of a sequential run, so that both
    have had the same training.
    """
    return tuple(
        Stage(
            index,
            order[0],
            start="carried" if index else "initial",
            replay=False,
            tests=order if index == run.rounds - 1 else (),
            apart=order,
            rounds=run.rounds,
        )
        for index in range(run.rounds)
    )


def _visits(order: tuple[str, ...], run: RunSettings) -> tuple[Stage, ...]:
    """One center after another."""
    return tuple(
        Stage(
            index,
            center,
            start="initial" if run.spec.fresh or index == 0 else "carried",
            replay=run.spec.replays,
            tests=_tests(center, order, run),
        )
        for index, center in enumerate(order)
    )


def _tests(center: str, order: tuple[str, ...], run: RunSettings) -> tuple[str, ...]:
    """The centers that test the model after the visit to `center`: it, a sample of the others, at the end all.

    The sample hangs on the seed and on names alone: one more center takes one place in it at
    most, so that a run which is extended asks nobody but the newcomer.
    """
    if run.tested_others < 0 or center == order[-1]:
        return order
    others = sorted(set(order) - {center}, key=lambda other: derive_seed(run.seed, "tests", center, other))
    chosen = {center, *others[: run.tested_others]}
    return tuple(other for other in order if other in chosen)


COURSES: Mapping[Course, Callable[[tuple[str, ...], RunSettings], tuple[Stage, ...]]] = {
    "pooled": _pooled,
    "rounds": _rounds,
}
"""Of the courses that do not visit one center after another."""


def check_pool(run: RunSettings, simulated: bool) -> None:
    """Raise `SettingsError` where pooled training would need data to leave its hospital."""
    if run.spec.course == "pooled" and not simulated:
        raise SettingsError(
            f"method = {run.method!r} trains on all centers' data in one place, which deployed hospitals do not give: "
            "choose another method, or run it in simulation"
        )

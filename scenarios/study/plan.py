"""What a study runs: methods x orders x seeds, and the settings that all its runs share.

A study's plan lies in its folder and only ever grows: more methods, seeds or orders may be
added later, while other settings would make another study.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenarios.results.study import ANY_ORDER, cell_name
from scenarios.run_config import Value, changed_settings, load_settings
from shared.clock import Clock
from shared.config.settings import Settings
from shared.errors import DamagedError, ResultsError, SettingsError
from shared.files import read_document, write_document
from shared.methods import spec_of
from shared.seeds import generator

PLAN = "plan.json"
FORMAT: Final = 1

PAPER = ("single", "finetune", "replay", "pooled")
SEEDS = 3
TITLE = "Learn continually or train from scratch?"
DESCENDING = "descending"
RANDOM = "random"
"""A random order for each seed: seed 3 has `random-3`."""
_RANDOM = "random-"

T = TypeVar("T")

PER_RUN: dict[str, Value] = {"method": "finetune", "seed": 0, "order": DESCENDING, "output-dir": "", "resume": False}
"""Keys that differ between the runs of a study, and what stands for them in its common settings."""


@dataclass(frozen=True)
class Wish:
    """What a study file and the command line ask for; what they leave out is None or empty."""

    methods: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    orders: tuple[str, ...] | None = None
    scenario: Path | None = None
    changes: tuple[str, ...] = ()
    cpus: int | None = None
    title: str | None = None


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    method: str
    order_name: str
    seed: int
    settings: Settings
    """Complete, but for the folder of its results."""

    @property
    def name(self) -> str:
        """`replay-descending-seed0`: the name of its folder, too."""
        return cell_name(self.method, self.order_name, self.seed)


class StudyPlan(BaseModel):
    """`plan.json`, which makes a folder a study's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    title: str
    created: str
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    orders: tuple[str, ...] = Field(min_length=1)
    settings: dict[str, Value]
    """The complete run-config, `PER_RUN` aside."""
    cpus: int = Field(ge=1)
    """CPUs of a hospital in each run: another number rounds otherwise."""

    def cells(self) -> tuple[Cell, ...]:
        """All runs, seed by seed, so that a study that is cut short is one of fewer seeds.

        Raises `SettingsError` where a method is unknown or the settings do not suit it.
        """
        visits = {name: _visits(name, self._common().run.centers) for name in self.order_names}
        return tuple(
            Cell(method, name, seed, self._settings(method, seed, visits.get(name)))
            for seed in self.seeds
            for method, name in self._methods_and_orders(seed)
        )

    @property
    def order_names(self) -> tuple[str, ...]:
        """The names of all orders, those that single seeds have for themselves included."""
        return _once([name for seed in self.seeds for name in self._orders(seed)])

    def _orders(self, seed: int) -> tuple[str, ...]:
        return _once([f"{_RANDOM}{seed}" if name == RANDOM else name for name in self.orders])

    def _methods_and_orders(self, seed: int) -> list[tuple[str, str]]:
        free = [(method, ANY_ORDER) for method in self.methods if spec_of(method).order_free]
        ordered = [method for method in self.methods if not spec_of(method).order_free]
        return [*free, *((method, name) for name in self._orders(seed) for method in ordered)]

    def _settings(self, method: str, seed: int, visits: tuple[str, ...] | None) -> Settings:
        given: dict[str, Value] = {"order": "given", "centers": ",".join(visits)} if visits else {}
        return Settings.from_run_config(self.settings | {"method": method, "seed": seed} | given)

    def _common(self) -> Settings:
        return Settings.from_run_config(self.settings)

    @property
    def common(self) -> dict[str, Value]:
        """The run-config that all runs share."""
        return {key: value for key, value in self.settings.items() if key not in PER_RUN}

    @property
    def centers(self) -> tuple[str, ...]:
        """The centers, as the settings name them."""
        return self._common().run.centers

    def grown(self, wish: Wish, folder: Path) -> "StudyPlan":
        """This plan with what `wish` adds. Raises `SettingsError` where it is another study's."""
        try:
            common = self._common()
        except SettingsError as error:
            raise SettingsError(
                f"the study in {folder} was begun by another version of Wardround ({error}): "
                "go on with that one, or choose another folder"
            ) from None
        if wish.scenario is None:
            config = changed_settings(self.settings, _common_only(wish.changes)).to_run_config()
        else:
            config = _common_settings(wish)
        differs = Settings.from_run_config(config).changes_of_science(common)
        if wish.cpus not in (None, self.cpus):
            differs.append(f"cpus = {wish.cpus} here, {self.cpus} there")
        if differs:
            raise SettingsError(
                f"the study in {folder} was begun with other settings: {'; '.join(differs)}; "
                "leave them as they are, or choose another folder"
            )
        added = {
            "title": wish.title or self.title,
            "methods": _once((*self.methods, *(wish.methods or ()))),
            "seeds": _once((*self.seeds, *(wish.seeds or ()))),
            "orders": _once((*self.orders, *(wish.orders or ()))),
            "settings": config,
        }
        return self.model_copy(update=added)

    def save(self, folder: Path) -> None:
        """Write `plan.json`. Raises `ResultsError`."""
        try:
            write_document(folder / PLAN, self.model_dump())
        except OSError as error:
            raise ResultsError(
                f"study folder {folder} cannot be written ({error.strerror or error}): choose another folder"
            ) from None

    @classmethod
    def load(cls, folder: Path) -> "StudyPlan | None":
        """The plan in a study's folder, or nothing where there is none. Raises `ResultsError`."""
        try:
            return cls.model_validate(read_document(folder / PLAN))
        except FileNotFoundError:
            return None
        except (DamagedError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise ResultsError(
                f"{folder / PLAN} cannot be used ({reason}): delete it and give the whole command again; "
                "runs that are finished are kept"
            ) from None


def new_plan(wish: Wish, cpus: int, now: Clock) -> StudyPlan:
    """The plan of a study that begins. Raises `SettingsError`."""
    return StudyPlan(
        title=wish.title or TITLE,
        created=now().isoformat(timespec="seconds"),
        methods=_once(wish.methods or PAPER),
        seeds=_once(wish.seeds or tuple(range(SEEDS))),
        orders=_once(wish.orders or (DESCENDING,)),
        settings=_common_settings(wish),
        cpus=wish.cpus or cpus,
    )


def read_orders(words: str) -> tuple[str, ...]:
    """The names of the orders that `--orders` asks for: `descending`, so many random ones, or `random`.

    >>> read_orders("2")
    ('random-0', 'random-1')
    """
    if words in (DESCENDING, RANDOM):
        return (words,)
    if words.isascii() and words.isdigit() and 0 < int(words) < 10_000:
        return tuple(f"{_RANDOM}{index}" for index in range(int(words)))
    raise SettingsError(
        f"orders = {words!r}: write descending, or a number of random orders such as 3, or random for one a seed"
    )


def random_orders(centers: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """The first `count` random orders, no two alike.

    They are the same for all methods and seeds, and for any greater count. Raises
    `SettingsError` where the centers have fewer orders.
    """
    if math.factorial(len(centers)) < count:
        raise SettingsError(
            f"{len(centers)} centers have {math.factorial(len(centers))} orders, but {count} were asked for: "
            "ask for fewer"
        )
    random = generator(0, "orders of a study")
    orders: list[tuple[str, ...]] = []
    while len(orders) < count:
        order = tuple(centers[i] for i in random.permutation(len(centers)))
        if order not in orders:
            orders.append(order)
    return orders


def _visits(name: str, centers: tuple[str, ...]) -> tuple[str, ...] | None:
    """The centers in a random order; none for the descending one, which the roll call finds."""
    if name == DESCENDING:
        return None
    return random_orders(centers, int(name.removeprefix(_RANDOM)) + 1)[-1]


def _common_settings(wish: Wish) -> dict[str, Value]:
    return load_settings(wish.scenario, _common_only(wish.changes), None).to_run_config() | PER_RUN


def _common_only(changes: tuple[str, ...]) -> tuple[str, ...]:
    """The changes, which must leave alone what the study itself varies."""
    for change in changes:
        if (key := change.partition("=")[0].strip()) in PER_RUN:
            raise SettingsError(
                f"-c {change!r}: {key} differs between the runs of a study; "
                "use --methods, --seeds, --orders and --output"
            )
    return changes


def _once(values: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))

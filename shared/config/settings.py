"""The one validated, frozen configuration of a run.

Flower's run-config is flat, with kebab-case keys; `Settings.from_run_config` sorts it into
the groups below, and refuses unknown keys, wrong types and values that cannot work together.
The defaults stand in `pyproject.toml` alone, so every key must be given.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from shared.config.groups import DataSettings, Group, MemorySettings, NetworkSettings, RunSettings, TrainingSettings
from shared.config.table import sentence
from shared.errors import SettingsError

RunConfig = Mapping[str, str | int | float | bool]


class LwfSettings(Group):
    """Method `lwf`."""

    distillation_weight: float = Field(ge=0)
    """What the distance from the incoming model's answer weighs beside the loss."""


class EwcSettings(Group):
    """Method `ewc`."""

    ewc_weight: float = Field(ge=0)
    """Lambda: what moving an important parameter weighs beside the loss."""
    ewc_decay: float = Field(ge=0, le=1)
    """What is left of the parameters' importance after each further center; 1: all of it."""


class MasSettings(Group):
    """Method `mas`."""

    mas_weight: float = Field(ge=0)
    """Lambda: what moving an important parameter weighs beside the loss."""
    mas_decay: float = Field(ge=0, le=1)
    """What is left of the parameters' importance after each further center; 1: all of it."""


class DerppSettings(Group):
    """Method `derpp`."""

    derpp_weight: float = Field(ge=0)
    """Alpha: what the distance from the stored answers weighs beside the loss."""


CIRCUMSTANCES = {
    "output-dir",
    "resume",
    "protocol",
    "start",
    "wait-seconds",
    "untested-centers",
    "message-hours",
    "patience-minutes",
    "tracking",
    "data-dir",
    "cache-dir",
    "device",
    "checkpoint-seconds",
}
"""Keys that say where and how patiently a run is done, not what it computes. (That a data folder
holds the same subjects, the roll call makes sure of; that a start is the same model, its digest does.)"""


class Settings(Group):
    """All settings of a run."""

    run: RunSettings
    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    memory: MemorySettings
    lwf: LwfSettings
    ewc: EwcSettings
    mas: MasSettings
    derpp: DerppSettings

    @model_validator(mode="after")
    def _loss_has_probabilities(self) -> Self:
        if self.training.loss == "dice-ce" and self.network.activation != "sigmoid":
            raise ValueError(
                f"loss = 'dice-ce' needs probabilities, which activation = {self.network.activation!r} does not give: "
                "set activation = 'sigmoid', or loss = 'dice'"
            )
        return self

    @model_validator(mode="after")
    def _carries_the_whole_model(self) -> Self:
        if self.run.spec.whole_model and self.run.carry != "model":
            raise ValueError(
                f"method = {self.run.method!r} needs the whole model to be handed on, but carry = {self.run.carry!r} "
                "gives each center a fresh decoder: set carry = 'model'"
            )
        return self

    @model_validator(mode="after")
    def _rounds_are_equal(self) -> Self:
        key, whole = ("steps", self.training.steps) if self.training.steps else ("epochs", self.training.epochs)
        rounds = self.run.rounds
        if self.run.spec.course == "rounds" and whole % rounds:
            fitting = [number for number in range(1, whole + 1) if not whole % number]
            near = sorted(sorted(fitting, key=lambda number: abs(number - rounds))[:3])
            raise ValueError(
                f"rounds = {rounds} does not divide {key} = {whole}, which a center trains in equal rounds: "
                f"set rounds to {', '.join(map(str, near))}, or change {key}"
            )
        return self

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.exemplar_voxels < self.training.patch_size:
            raise ValueError(
                f"exemplar-mm = {self.memory.exemplar_mm:g} is smaller than one patch "
                f"({self.training.patch_size} voxels of {self.data.spacing:g} mm): enlarge it"
            )
        return self

    @property
    def exemplar_voxels(self) -> int:
        """Voxels along each edge of an exemplar."""
        return max(8, -(-round(self.memory.exemplar_mm / self.data.spacing) // 8) * 8)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Every key of the run-config."""
        return tuple(key for _, key in _fields(cls))

    @classmethod
    def from_run_config(cls, config: RunConfig) -> Self:
        """Validate a complete, flat run-config.

        Raises `SettingsError`: one line that names each bad key, its value and the mend.
        """
        groups: dict[str, dict[str, object]] = {name: {} for name in cls.model_fields}
        rest = dict(config)
        for group, key in _fields(cls):
            if key in rest:
                groups[group][key] = rest.pop(key)
        if rest:
            raise SettingsError("; ".join(_unknown(key, cls.keys()) for key in rest))
        try:
            return cls.model_validate(groups)
        except ValidationError as error:
            raise SettingsError("; ".join(sentence(entry, entry["loc"][1:]) for entry in error.errors())) from None

    def with_changes(self, changes: RunConfig) -> Self:
        """These settings with some keys of the run-config changed. Raises `SettingsError`."""
        return self.from_run_config({**self.to_run_config(), **changes})

    @property
    def science(self) -> dict[str, str | int | float | bool]:
        """What decides the results: the flat run-config without `CIRCUMSTANCES`."""
        return {key: value for key, value in self.to_run_config().items() if key not in CIRCUMSTANCES}

    def changes_of_science(self, other: Self) -> list[str]:
        """The keys in which the results of these settings and of `other` may differ, each with both values."""
        mine, theirs = self.science, other.science
        return [f"{key} = {mine[key]!r} here, {theirs[key]!r} there" for key in mine if mine[key] != theirs[key]]

    def to_run_config(self) -> dict[str, str | int | float | bool]:
        """The flat run-config that gives these settings."""
        groups = self.model_dump(by_alias=True)
        return {key: value for group in groups.values() for key, value in group.items()}


def _fields(cls: type[Settings]) -> Iterator[tuple[str, str]]:
    for name, field in cls.model_fields.items():
        group: Any = field.annotation
        for key in group.model_fields:
            yield name, key.replace("_", "-")


def _unknown(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key {key!r}" + (f": did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}")

"""The one validated, frozen configuration of a run.

Flower's run-config is flat, with kebab-case keys; `Settings.from_run_config` sorts it into
the groups below, and refuses unknown keys, wrong types and values that cannot work together.
The defaults stand in `pyproject.toml` alone, so every key must be given.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.config.table import KebabTable
from shared.errors import SettingsError
from shared.trust.canonical_json import CENTER_PATTERN

RunConfig = Mapping[str, str | int | float | bool]


def _split(value: object) -> object:
    """Turn Flower's comma-separated string into the tuple that it stands for."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


Words = Annotated[
    tuple[str, ...], BeforeValidator(_split), PlainSerializer(",".join), Field(strict=False, min_length=1)
]
"""A list of words; run-config writes it as one comma-separated string."""


class Group(KebabTable):
    """Some keys of the run-config that belong together; code may write them as Python's names, too."""

    model_config = ConfigDict(populate_by_name=True)


Method = Literal["single", "finetune", "replay", "pooled", "fedavg", "lwf", "ewc"]
"""How the centers' training hangs together; server/course.py says how each works."""

WHOLE_MODEL = ("fedavg", "lwf", "ewc")
"""Methods that average the model or hold on to it, decoder and all."""


class RunSettings(Group):
    """What is run."""

    method: Method
    centers: Words
    """The expected centers; with order `given`, in this order."""
    order: Literal["given", "descending", "random"]
    """`descending`: by number of training subjects; `random`: shuffled by `seed`."""
    seed: int = Field(ge=0, lt=2**31)
    rounds: int = Field(ge=1)
    """Method `fedavg`: how often all centers train and their models are averaged."""
    carry: Literal["model", "encoder"]
    """What goes from center to center: the whole model, or (as the paper's code) its encoder."""
    output_dir: str
    """Absolute folder for results; empty: a new dated folder under `runs/`."""
    resume: bool
    """Go on with the run whose journal lies in `output_dir`, at the stage where it stopped."""
    wait_seconds: float = Field(gt=0)
    """How long the roll call waits for the expected centers."""
    message_hours: float = Field(gt=0, le=24 * 30)
    """Time to live of a message and its reply."""
    patience_minutes: float = Field(ge=0)
    """How long a center that was lost, or crashed, during a stage is waited for and asked again."""
    tested_others: int = Field(ge=-1)
    """At how many centers, drawn by `seed`, a stage's model is tested beside its own; -1: at all. The last
    stage's is tested at all in any case."""
    tracking: Literal["off", "tensorboard", "mlflow"]
    """Whether the run can be looked at in one of these; in `output_dir` alone (server/tracking.py)."""

    @field_validator("centers")
    @classmethod
    def _once(cls, centers: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in centers if centers.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} named twice; name each center once")
        unsafe = [name for name in centers if not re.fullmatch(CENTER_PATTERN, name)]
        if unsafe:
            raise ValueError(f"{unsafe[0]!r} is no center name; use letters a-z, digits, - and _")
        return centers


class DataSettings(Group):
    """What the hospitals read, and how it is prepared."""

    data_dir: str
    """Simulation: folder with one BIDS data set a center; empty: simulated hospitals are made."""
    cache_dir: str
    """Folder for simulated hospitals and prepared volumes; empty: the user's cache."""
    contrasts: Words
    """BIDS suffixes of the images that are used."""
    spacing: float = Field(ge=0.5, le=8)
    """mm, isotropic: the grid of training and inference."""
    test_fraction: float = Field(gt=0, lt=1)
    empty_labels: Literal["set-aside", "keep"]
    """What becomes of a subject whose label marks no lesion: most often one that nobody labelled."""
    phantom_scale: float = Field(gt=0, le=10)
    """Simulated hospitals have the paper's numbers of subjects times this."""
    phantom_minimum: int = Field(ge=2)
    """But at least so many."""
    phantom_seed: int = Field(ge=0, lt=2**31)

    @field_validator("contrasts")
    @classmethod
    def _contrast_once(cls, contrasts: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(contrasts)) < len(contrasts):
            raise ValueError("a contrast is named twice; name each once")
        return contrasts


class NetworkSettings(Group):
    """The network that travels."""

    features: int = Field(ge=2, le=128)
    """Features of the first level, doubled at each of three down-samplings."""
    activation: Literal["sigmoid", "normalised-relu"]


DEVICE = r"^(auto|cpu|cuda(:\d+)?)$"
"""What a device is called."""


Loss = Literal["dice", "dice-ce"]
"""`dice-ce`: Dice plus the mean cross-entropy of the voxels, which still pulls where Dice no longer does, because the
network finds no lesion at all in a kind of image (Isensee et al. 2021, nnU-Net)."""


class TrainingSettings(Group):
    """One stage of training at one center."""

    loss: Loss

    steps: int = Field(ge=0)
    """Optimiser steps of a stage; 0: count by `epochs` over the center's volumes."""
    epochs: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    """Volumes that a step draws from."""
    patches_per_volume: int = Field(ge=1)
    patch_size: int = Field(ge=16)
    """Voxels along each edge, a multiple of 8 (three down-samplings)."""
    lesion_share: float = Field(ge=0, le=1)
    """Share of the patches that are centred on a lesion voxel."""
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "one-cycle", "step"]
    """`step`: times `decay_factor` every `decay_epochs` epochs; `one-cycle`: up and
    down over the stage (Smith & Topin 2019); `constant`."""
    decay_epochs: int = Field(ge=1)
    decay_factor: float = Field(gt=0, le=1)
    window_overlap: float = Field(ge=0, lt=1)
    """Overlap of neighbouring windows at inference."""
    device: str = Field(pattern=DEVICE)
    checkpoint_seconds: float = Field(ge=0)
    """Seconds of training after which a hospital keeps a checkpoint; what a crash costs at most."""

    @property
    def patches(self) -> int:
        """Patches in one optimiser step."""
        return self.batch_size * self.patches_per_volume

    @field_validator("patch_size")
    @classmethod
    def _multiple(cls, size: int) -> int:
        if size % 8:
            raise ValueError("must be a multiple of 8, for three down-samplings")
        return size

    @model_validator(mode="after")
    def _some_training(self) -> Self:
        if not self.steps and not self.epochs:
            raise ValueError("steps and epochs are both 0: set one of them")
        if self.steps and self.schedule == "step":
            raise ValueError("schedule 'step' counts epochs: set steps = 0, or another schedule")
        return self


class RetentionSettings(Group):
    """How strongly a center's training holds on to what the incoming model knew, without patients' data."""

    distillation_weight: float = Field(ge=0)
    """Method `lwf`: what the distance from the incoming model's answer weighs beside the loss."""
    ewc_weight: float = Field(ge=0)
    """Method `ewc`: lambda, what moving an important parameter weighs beside the loss."""
    ewc_decay: float = Field(ge=0, le=1)
    """Method `ewc`: what is left of the parameters' importance after each further center; 1: all of it."""


class MemorySettings(Group):
    """The replay memory."""

    replay_mode: Literal["balanced", "paper"]
    """`balanced`: a fixed share of each batch, evenly over past centers; `paper`: merged in."""
    replay_share: float = Field(ge=0, lt=1)
    memory_subjects: int = Field(ge=1)
    """Exemplars that a center contributes at most, one a subject."""
    memory_megabytes: float = Field(gt=0, le=480)
    """Budget of the whole memory; a Flower message should stay under about 500 MB."""
    exemplar_mm: float = Field(gt=0)
    """Edge of an exemplar, rounded up to a multiple of 8 voxels."""
    sealing: Literal["auto", "on", "off"]
    """Whether exemplars travel encrypted, so that only the centers that train on them can open
    them. `auto`: between deployed hospitals, but not in simulation. R is the same either way."""

    def seals(self, simulated: bool) -> bool:
        """Whether this run seals."""
        return self.sealing == "on" or (self.sealing == "auto" and not simulated)


CIRCUMSTANCES = {
    "output-dir",
    "resume",
    "wait-seconds",
    "message-hours",
    "patience-minutes",
    "tracking",
    "data-dir",
    "cache-dir",
    "device",
    "checkpoint-seconds",
}
"""Keys that say where and how patiently a run is done, not what it computes. (That a data folder
holds the same subjects, the roll call makes sure of.)"""


class Settings(Group):
    """All settings of a run."""

    run: RunSettings
    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    retention: RetentionSettings
    memory: MemorySettings

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
        if self.run.method in WHOLE_MODEL and self.run.carry != "model":
            raise ValueError(
                f"method = {self.run.method!r} needs the whole model to be handed on, but carry = {self.run.carry!r} "
                "gives each center a fresh decoder: set carry = 'model'"
            )
        return self

    @model_validator(mode="after")
    def _rounds_are_equal(self) -> Self:
        key, whole = ("steps", self.training.steps) if self.training.steps else ("epochs", self.training.epochs)
        rounds = self.run.rounds
        if self.run.method == "fedavg" and whole % rounds:
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
            raise SettingsError("; ".join(_sentence(entry) for entry in error.errors())) from None

    def changes_of_science(self, other: Self) -> list[str]:
        """The keys in which the results of these settings and of `other` may differ, each with both values."""
        mine, theirs = self.to_run_config(), other.to_run_config()
        return [
            f"{key} = {mine[key]!r} here, {theirs[key]!r} there"
            for key in mine
            if mine[key] != theirs[key] and key not in CIRCUMSTANCES
        ]

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


def _sentence(entry: Any) -> str:
    """One validation error as `key = value: what is wrong`."""
    message = entry["msg"].removeprefix("Value error, ")
    if len(entry["loc"]) < 2:
        return str(message)
    key = str(entry["loc"][1])
    if entry["type"] == "missing":
        return f"{key} is missing"
    return f"{key} = {entry['input']!r}: {message[0].lower()}{message[1:]}"

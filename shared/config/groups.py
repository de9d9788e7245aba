"""The groups of settings that every method has: what is run, on which data, with which network, how it is trained.

They are read and written as one flat run-config by `Settings` (settings.py).
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from shared.config.table import KebabTable
from shared.methods import METHODS, MethodSpec
from shared.trust.canonical_json import CENTER_PATTERN


def _split(value: object) -> object:
    """Turn Flower's comma-separated string into the tuple that it stands for."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


Listed = Annotated[tuple[str, ...], BeforeValidator(_split), PlainSerializer(",".join), Field(strict=False)]
"""A list of words, perhaps empty; run-config writes it as one comma-separated string."""

Words = Annotated[Listed, Field(min_length=1)]
"""The same, with one word at least."""


FRESH, PRETRAINED = "fresh", "pretrained"
"""Starts of a run that are not the path of a file."""


class Group(KebabTable):
    """Some keys of the run-config that belong together; code may write them as Python's names, too."""

    model_config = ConfigDict(populate_by_name=True)


class RunSettings(Group):
    """What is run."""

    method: str
    """How the centers' training hangs together, one of `shared.methods.METHODS`."""
    centers: Words
    """The expected centers; with order `given`, in this order."""
    evaluators: Listed
    """Evaluation clients: further centers that never train nor give exemplars, and test after every stage that is
    tested, on all of their subjects. One that is away ends no run."""
    order: Literal["given", "descending", "random"]
    """`descending`: by number of training subjects; `random`: shuffled by `seed`."""
    seed: int = Field(ge=0, lt=2**31)
    rounds: int = Field(ge=1)
    """Method `fedavg`: how often all centers train and their models are averaged."""
    start: str
    """Where the first model of a run comes from, and with it every model that a center begins afresh: `fresh`, drawn by
    `seed`; `pretrained`, the one that Wardround ships; or the absolute path of a model file. Which model it is, says
    `start_digest`. A model that was given has nothing drawn in it: `restarts` does not begin such a stage again, and
    with carry `encoder` the decoders of later stages are drawn by `seed`, as they are without it."""
    start_digest: str = Field(pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of that model's parameters (shared/model/weights.py), which hospitals approve; empty: a fresh network.
    `wardround run` and `wardround coordinator propose` fill it in."""
    carry: Literal["model", "encoder"]
    """What goes from center to center: the whole model, or (as the paper's code) its encoder."""
    output_dir: str
    """Absolute folder for results; empty: a new dated folder under `runs/`."""
    resume: bool
    """Go on with the run whose journal lies in `output_dir`, at the stage where it stopped."""
    protocol: str
    """Absolute path of the protocol that the hospitals approved (shared/protocol); empty in simulation."""
    wait_seconds: float = Field(gt=0)
    """How long the roll call waits for the expected centers."""
    message_hours: float = Field(gt=0, le=24 * 30)
    """Time to live of a message and its reply."""
    patience_minutes: float = Field(ge=0)
    """How long a center that was lost, or crashed, during a stage is waited for and asked again."""
    tested_others: int = Field(ge=-1)
    """At how many centers, drawn by `seed`, a stage's model is tested beside its own; -1: at all. The last
    stage's is tested at all in any case."""
    untested_centers: Literal["refuse", "train"]
    """Whether a center without a subject to test on ends the run at the roll call, or trains all the same where its
    policy lets it; its cells of R stay open."""
    tracking: Literal["off", "tensorboard", "mlflow"]
    """Whether the run can be looked at in one of these; in `output_dir` alone (server/tracking.py)."""

    @property
    def participants(self) -> tuple[str, ...]:
        """The centers, then the evaluators."""
        return (*self.centers, *self.evaluators)

    @property
    def spec(self) -> MethodSpec:
        """What is known of the method."""
        return METHODS[self.method]

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(f"no such method; choose from {', '.join(map(repr, METHODS))}")
        return method

    @field_validator("start")
    @classmethod
    def _found(cls, start: str) -> str:
        if start not in (FRESH, PRETRAINED) and not Path(start).is_absolute():
            raise ValueError(f"is neither '{FRESH}', '{PRETRAINED}' nor the absolute path of a model file")
        return start

    @field_validator("centers", "evaluators")
    @classmethod
    def _once(cls, centers: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in centers if centers.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} named twice; name each center once")
        unsafe = [name for name in centers if not re.fullmatch(CENTER_PATTERN, name)]
        if unsafe:
            raise ValueError(f"{unsafe[0]!r} is no center name; use letters a-z, digits, - and _")
        return centers

    @model_validator(mode="after")
    def _evaluators_never_train(self) -> Self:
        if both := [name for name in self.evaluators if name in self.centers]:
            raise ValueError(
                f"centers and evaluators both name {', '.join(both)}, but an evaluator never trains: "
                "leave it out of one of them"
            )
        return self


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


Norm = Literal["instance", "channel"]
"""What normalises the network's features: `instance`, each channel of a sample over all of its voxels (as the paper's
network has it), or `channel`, each voxel over its channels (shared/model/channel_norm.py)."""


class NetworkSettings(Group):
    """The network that travels."""

    features: int = Field(ge=2, le=128)
    """Features of the first level, doubled at each of three down-samplings."""
    activation: Literal["sigmoid", "normalised-relu"]
    norm: Norm


DEVICE = r"^(auto|cpu|cuda(:\d+)?)$"
"""What a device is called."""


Loss = Literal["dice", "dice-ce"]
"""`dice-ce`: Dice plus the mean cross-entropy of the voxels, which still pulls where Dice no longer does, because the
network finds no lesion at all in a kind of image (Isensee et al. 2021, nnU-Net)."""


DiceOver = Literal["batch", "patch"]
"""Over what the Dice loss is taken: the batch as a whole, in which patches with much lesion outweigh the others, or
each patch by itself, and then the mean (so that own and replayed patches count by their number, as in equation 2 of
Karthik et al. 2022)."""


SPATIAL = ("scale", "rotate", "elastic")
"""Augmentations that move what a patch shows, its label with it."""

AUGMENTATIONS = ("bias", "gamma", "brightness", "contrast", "noise", "blur", "thick", *SPATIAL)
"""What may be drawn for each patch before it is trained on (client/training/augmentation)."""

ALL = "all"
"""All of them, as a value of `augment`."""


class TrainingSettings(Group):
    """One stage of training at one center."""

    loss: Loss
    dice_over: DiceOver
    lesion_weight: float = Field(ge=0)
    """What a lesion's voxels count in the cross-entropy beyond the others' 1; 0: no more than those."""

    steps: int = Field(ge=0)
    """Optimiser steps of a stage for each contrast that its center has (in pooled training each center counts by
    itself); 0: count by `epochs` over the center's volumes."""
    epochs: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    """Volumes that a step draws from."""
    patches_per_volume: int = Field(ge=1)
    patch_size: int = Field(ge=16)
    """Voxels along each edge, a multiple of 8 (three down-samplings)."""
    lesion_share: float = Field(ge=0, le=1)
    """Share of the patches that are centred on a lesion voxel."""
    augment: Listed
    """Names of `AUGMENTATIONS`, or `all`; empty: patches are flipped and turned by quarters, and no more."""
    optimiser: Literal["adamw", "muon"]
    """`muon`: kernels along their orthogonalised momentum (client/training/optimisers.py), the rest by AdamW."""
    learning_rate: float = Field(gt=0)
    """AdamW's."""
    muon_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "one-cycle", "polynomial", "step"]
    """`step`: times `decay_factor` every `decay_epochs` epochs; `one-cycle`: up and
    down over the stage (Smith & Topin 2019); `polynomial`: times (1 - t / T)^0.9 in step t of T, from 0 (Chen et al.
    2017, DeepLab; Isensee et al. 2021, nnU-Net); `constant`."""
    decay_epochs: int = Field(ge=1)
    decay_factor: float = Field(gt=0, le=1)
    window_overlap: float = Field(ge=0, lt=1)
    """Overlap of neighbouring windows at inference."""
    device: str = Field(pattern=DEVICE)
    restarts: int = Field(ge=0, le=100)
    """How often a stage that collapsed, found by the center's own training patches, is begun again with another draw
    of what was drawn for it (client/training/attempts.py): the decoder with carry `encoder`, the whole network where
    a center begins a model of its own, as the first one always does. Without effect on a model that is handed on
    whole, in which nothing was drawn, and in rounds, whose models must begin alike. 0: never looked at."""
    checkpoint_seconds: float = Field(ge=0)
    """Seconds of training after which a hospital keeps a checkpoint; what a crash costs at most."""

    @property
    def patches(self) -> int:
        """Patches in one optimiser step."""
        return self.batch_size * self.patches_per_volume

    @property
    def augmentations(self) -> tuple[str, ...]:
        """Names of what is drawn for each patch, in the order of `AUGMENTATIONS`."""
        return tuple(name for name in AUGMENTATIONS if name in self.augment or ALL in self.augment)

    @property
    def margin(self) -> int:
        """Voxels that are taken on each side of a patch, so that it can be turned and scaled; 0 where none is."""
        return self.patch_size // 4 if set(SPATIAL) & set(self.augmentations) else 0

    @field_validator("augment")
    @classmethod
    def _augmentations_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in (*AUGMENTATIONS, ALL):
                near = difflib.get_close_matches(name, (*AUGMENTATIONS, ALL), n=1)
                raise ValueError(
                    f"{name!r} is no augmentation: "
                    + (f"did you mean {near[0]!r}? Known are " if near else "known are ")
                    + f"{', '.join(AUGMENTATIONS)}, or all of them: {ALL}"
                )
        return names

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
        if self.lesion_weight and self.loss == "dice":
            raise ValueError(
                f"lesion-weight = {self.lesion_weight:g} weighs the cross-entropy, which loss = 'dice' has none of: "
                "set loss = 'dice-ce', or lesion-weight = 0"
            )
        return self


Deal = Literal["centers", "contrasts"]
"""Among whom the memory's share of a batch is dealt evenly."""


class MemorySettings(Group):
    """The replay memory."""

    replay_mode: Literal["balanced", "paper"]
    """`balanced`: a fixed share of each batch, evenly over past centers; `paper`: merged in."""
    replay_share: float = Field(ge=0, lt=1)
    replay_deal: Deal
    """`balanced`: `contrasts` deals evenly over the contrasts, and within each over the centers, so that a rare
    contrast does not fade."""
    memory_subjects: int = Field(ge=1)
    """Exemplars that a center contributes at most, one a subject."""
    exemplar_choice: Literal["random", "lesion-aware"]
    """Which subjects give them: drawn by `seed`, or half by lesion volume and the trained model's confidence, half by
    its uncertainty at the lesions' boundary, the center's contrasts in equal shares (client/sharing/lesion_aware.py).
    Where a center has no more subjects than `memory_subjects`, both take all of them: the choice then changes nothing
    but their order and, of a subject with several contrasts, which of them it gives."""
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

"""The small part of each message: what a center says of itself, what it is asked, what it answers."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.metrics.scores import MeanScores, Scores
from shared.trust.canonical_json import CenterName, Pseudonym, Sha256


class Header(BaseModel):
    """The small part of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


RunName = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""Names a run, also when it was interrupted and resumed as another run of Flower's."""

ProtocolDigest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
"""Names the protocol that the hospitals approved; empty in simulation."""

Pseudonyms = tuple[Pseudonym, ...]

Counts = dict[str, Annotated[int, Field(ge=1)]]
"""How many subjects each reason holds for; whose it is stands in their hospital's log alone."""


class LogHead(Header):
    """Where a hospital's audit log ended at a moment: the number and hash of its last entry."""

    count: int = Field(ge=1)
    hash: Sha256


TOLD = frozenset({"dropped", "head"})
"""Fields by which a task tells its hospital what the run has heard of it, and which ask for nothing."""


class Question(Header):
    """The roll call's question."""

    protocol: ProtocolDigest = ""
    runs: tuple[RunName, ...] = ()
    """The run's name, and those of the runs that it goes on from: its hospitals keep their division by them."""
    heads: dict[str, LogHead] = Field(default_factory=dict)
    """By center, where its audit log ended when the run last heard of it: a log that lacks that was put back."""


class PassedOverCard(Header):
    """How many images, or subjects without one, take no part for one reason though their hospital would expect it."""

    contrast: str
    """Of the images; empty for subjects of whom no image in particular is concerned."""
    reason: str
    count: int = Field(ge=1)


class CenterCard(Header):
    """What a center says of itself at the roll call."""

    center: str
    training_subjects: int = Field(ge=0)
    test_subjects: int = Field(ge=0)
    contrasts: tuple[str, ...]
    fingerprint: str
    """Changes when a subject comes, goes, or moves between training and test; not when one is withdrawn."""
    role: Literal["train", "evaluate", "both"] = "both"
    policy: str = ""
    """In one line."""
    allows_unsealed: bool = False
    """Whether its policy lets exemplars travel so that the coordinator can see them."""
    allows_averaged: bool = False
    """Whether its policy lets a model come that is an average, which no hospital signed."""
    identity: str = ""
    """Its name and public keys (shared/trust/identity.py); empty where it has made none."""
    withdrawn: Pseudonyms = ()
    """Of subjects whose exemplars left in this run, or one that it goes on from, and may no longer be handed on."""
    test_contrasts: tuple[str, ...] = ()
    """Of the images to test on."""
    untested: str = ""
    """Why it has no subject to test on, following its name in a sentence; empty where it has."""
    untrained: str = ""
    """Of how few steps, patches or subjects a training would be for its policy; empty where it is of enough."""
    withholds: str = ""
    """Why no score of it leaves, following its name in a sentence; empty where they do."""
    trains_untested: bool = False
    """Whether its policy lets it train though it has none."""
    passed_over: tuple[PassedOverCard, ...] = ()
    log: LogHead | None = None
    """Where its audit log ends, for the coordinator to keep; None in simulation."""


class RollCall(Header):
    """A node's answer to the roll call: its centers, and those it can read for pooled training."""

    cards: tuple[CenterCard, ...]
    simulated: bool
    code: str
    """Fingerprint of the code that it runs (shared/wire/code_fingerprint.py)."""


class TrainTask(Header):
    """One visit: train at `center` (for pooled training, on all of `pool`)."""

    protocol: ProtocolDigest = ""
    run: RunName
    stage: int = Field(ge=0)
    center: str
    pool: tuple[str, ...] = ()
    round: int = Field(default=0, ge=0)
    rounds: int = Field(default=1, ge=1)
    """The center's training is divided into so many; this is number `round` of them, from 0."""
    contribute: bool
    """Whether the center is asked for exemplars."""
    budget: int = Field(default=0, ge=0)
    """Bytes that its exemplars may take, before they are sealed."""
    order: tuple[CenterName, ...] = ()
    """All centers in the order of the visits, this one at `stage`."""
    identities: tuple[str, ...] = ()
    """Name and public keys of each center that comes later, as far as it has keys."""
    dropped: Pseudonyms = ()
    """Of this center's subjects whose withdrawal was heard: their exemplars are handed on no more."""
    head: LogHead | None = None
    """Where its audit log ended when the run last heard of it: a log that lacks that was put back."""

    @model_validator(mode="after")
    def _one_of_the_rounds(self) -> Self:
        if self.round >= self.rounds:
            raise ValueError(f"round {self.round}, counted from 0, is none of {self.rounds}")
        return self

    @property
    def earlier(self) -> tuple[str, ...]:
        """The centers that were visited before, by their stage."""
        return self.order[: self.stage]

    @property
    def later(self) -> tuple[str, ...]:
        """The centers that are to train on what this one contributes."""
        return self.order[self.stage + 1 :]


class TrainFigures(Header):
    """What a stage's training cost and reached."""

    steps: int = Field(ge=1)
    """Of the attempt that counts; the seconds are those of all attempts."""
    subjects: int = Field(ge=1)
    final_loss: float = Field(allow_inf_nan=False)
    """Mean over the last tenth of the steps; with the penalty, where the method has one."""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    compute_seconds: float = Field(ge=0, allow_inf_nan=False)
    """Of them in forward, backward and the optimiser's step."""
    restarts: int = Field(default=0, ge=0)
    """How often the stage collapsed and was begun again with another draw of its decoder, or network."""
    set_aside: Counts = Field(default_factory=dict)
    """Subjects that could not be used, by reason."""
    withdrawn: Pseudonyms = ()
    """Of subjects whose exemplars left in this run, or one that it goes on from, and may no longer be handed on."""
    log: LogHead | None = None
    """Where the hospital's audit log ends with this reply; None in simulation."""


class CaseScore(Scores):
    """How one test image was segmented."""

    subject: str
    contrast: str


class EvaluateTask(Header):
    """Test the model at `center`."""

    protocol: ProtocolDigest = ""
    run: RunName
    stage: int = Field(ge=0)
    center: str
    dropped: Pseudonyms = ()
    """As in `TrainTask`, and so is the next."""
    head: LogHead | None = None


class TestFigures(Header):
    """The scores of a center's test subjects: each image's, or their means where the policy keeps those."""

    __test__ = False
    center: str
    cases: tuple[CaseScore, ...] = ()
    mean: MeanScores | None = None
    """In place of `cases`."""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    set_aside: Counts = Field(default_factory=dict)
    """Test subjects that could not be used, by reason."""
    withdrawn: Pseudonyms = ()
    """Of subjects whose exemplars left in this run, or one that it goes on from, and may no longer be handed on."""
    log: LogHead | None = None
    """As in `TrainFigures`."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if bool(self.cases) == (self.mean is not None):
            raise ValueError("either cases or their mean must be there")
        if self.mean is not None:
            try:
                Scores.model_validate(self.mean.means)  # a mean lies where the scores lie
            except ValidationError as error:
                first = error.errors()[0]
                raise ValueError(f"the mean of {first['loc'][0]} is wrong: {first['msg']}") from None
        return self

    @property
    def subjects(self) -> int:
        """How many subjects were scored."""
        return len({case.subject for case in self.cases}) if self.mean is None else self.mean.subjects

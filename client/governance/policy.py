"""A hospital's policy: what it lets leave, denied unless it says otherwise.

The `[policy]` section of the hospital's own TOML file:

    [policy]
    role = "both"                     # train, evaluate or both
    train-untested = false            # whether to train though no subject is left to test on
    least-steps = 20                  # of a stage, or of a round; a model is trained by so many or not at all
    least-batch = 4                   # patches of this hospital's own in a step
    least-subjects = 5                # that are trained on
    report-subject-scores = false     # else only means over test subjects leave
    least-test-subjects = 5           # and only means over so many or more
    share-exemplars = true            # crops for the replay memory
    centers = ["karo", "ucsf"]        # that may open them; each by name
    subjects = 10                     # whose crops may ever leave, over all runs
    megabytes = 50                    # 10^6 bytes of crops in one contribution, before sealing
    largest-crop-mm = 140             # a crop's edge; larger ones stay
    crops-per-subject = 10            # that may ever leave, over all runs
    megabytes-per-subject = 20        # of them, as they leave, over all runs
    expiry-days = 90                  # how long they can be opened
    consent-column = "share"          # of participants.tsv; only who says yes
    never = ["sub-07"]                # whatever the column says
    allow-unsealed = false            # whether the coordinator may see crops
    allow-averaged-models = false     # whether a model may come that nobody signed, as method fedavg has them

Without the section a center tests models and reports mean scores; nothing else leaves. A
trained model is made from patients too: it leaves only where the role says train.

What a single step on a single patch changes in a model shows that patch to whoever has the model before and after;
many steps, on many patches of many subjects, mix them. The three floors keep a coordinator from asking for the former.
As they stand they let the default scenario pass (240 steps of 8 patches, half of them replayed; with federated
averaging 24 steps a round; 6 subjects or more) and the paper's (150 steps or more of 16 patches, 6 subjects or more),
with crops of 128 and 96 mm, to which rounding up to 8 voxels may add.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from shared.config.groups import Group
from shared.errors import PolicyError, SettingsError
from shared.metrics.scores import MeanScores, Scored, mean_scores
from shared.text import counted
from shared.trust.canonical_json import CenterName

Role = Literal["train", "evaluate"]
S = TypeVar("S", bound=Scored)


class Policy(Group):
    """What may leave; the defaults let nothing but mean scores."""

    role: Literal["train", "evaluate", "both"] = "evaluate"
    train_untested: bool = False
    least_steps: int = Field(default=20, ge=1)
    least_batch: int = Field(default=4, ge=1)
    least_subjects: int = Field(default=5, ge=1)
    report_subject_scores: bool = False
    least_test_subjects: int = Field(default=5, ge=2)
    """A mean over one subject is that subject's score, and over two, one's to the other."""
    share_exemplars: bool = False
    centers: Annotated[tuple[CenterName, ...], Field(strict=False)] = ()
    subjects: int = Field(default=0, ge=0)
    megabytes: float = Field(default=0, ge=0)
    largest_crop_mm: float = Field(default=140, gt=0)
    crops_per_subject: int = Field(default=10, ge=1)
    megabytes_per_subject: float = Field(default=20, gt=0)
    expiry_days: int = Field(default=0, ge=0, le=3650)
    consent_column: str = ""
    never: Annotated[tuple[str, ...], Field(strict=False)] = ()
    allow_unsealed: bool = False
    allow_averaged_models: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        limits = ("centers", "subjects", "megabytes", "expiry_days")
        missing = [name.replace("_", "-") for name in limits if not getattr(self, name)]
        if self.share_exemplars and missing:
            raise ValueError(f"share-exemplars is true, but {', '.join(missing)} is not given, so nothing could leave")
        return self

    @classmethod
    def of(cls, table: Mapping[str, object], source: str) -> Self:
        """The policy in a TOML table read from `source`. Raises `SettingsError`."""
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            at = f" at {place}" if place else ""
            raise SettingsError(f"the policy in {source} is wrong{at}: {first['msg']}") from None

    @property
    def trains_untested(self) -> bool:
        """Whether the model may train here though it is not tested here."""
        return self.train_untested or self.role == "train"

    @property
    def nbytes(self) -> int:
        """Bytes of exemplars that one contribution may hold."""
        return int(self.megabytes * 1e6)

    def why_withheld(self, subjects: int) -> str:
        """Why no score of so many test subjects leaves, following the hospital's name; empty where it does."""
        if self.report_subject_scores or subjects >= self.least_test_subjects:
            return ""
        return (
            f"has {counted(subjects, 'subject')} to test on, and its policy reports means over "
            f"{self.least_test_subjects} or more alone (least-test-subjects)"
        )

    def __str__(self) -> str:
        """One line for the coordinator; it names no subject."""
        does = {"train": "trains", "evaluate": "tests", "both": "trains and tests"}[self.role]
        scores = "scores by pseudonym" if self.report_subject_scores else "mean scores"
        if not self.share_exemplars:
            return f"{does}, {scores}, no exemplars"
        sealing = "sealed or not" if self.allow_unsealed else "sealed"
        return (
            f"{does}, {scores}, exemplars of {self.subjects} subjects and {self.megabytes:g} MB "
            f"for {', '.join(self.centers)}, {self.expiry_days} days, {sealing}"
        )


@dataclass(frozen=True)
class Subject:
    """What decides whether a subject's exemplars may leave."""

    name: str
    """Its BIDS label; it stays here."""
    consent: bool | None = None
    """What the consent column says; None where it says nothing."""
    withdrawn: bool = False
    sent: bool = False
    """Whether an earlier contribution, of any run, held it: the audit log knows."""
    crops: int = 0
    """Of it, in all earlier contributions."""
    nbytes: int = 0
    """Of these crops, as they left."""


@dataclass(frozen=True)
class ScoreReport(Generic[S]):
    """Test scores as they may leave."""

    mean: MeanScores
    cases: tuple[S, ...]
    """Each image's, or none where the policy keeps them."""


def why_barred(policy: Policy, subject: Subject) -> str | None:
    """Why this subject's exemplars may not leave, without its name; None where they may."""
    if subject.withdrawn:
        return "withdrawn"
    if _label(subject.name) in {_label(name) for name in policy.never}:
        return "listed under never"
    if policy.consent_column and subject.consent is not True:
        return f"no consent in column {policy.consent_column}"
    if subject.crops >= policy.crops_per_subject:
        return f"beyond the {counted(policy.crops_per_subject, 'crop')} of one subject that may ever leave"
    return None


def unknown_never(policy: Policy, names: Collection[str]) -> tuple[str, ...]:
    """Subjects listed under `never` that the data do not have: perhaps mistyped, and then not kept back."""
    known = {_label(name) for name in names}
    return tuple(name for name in policy.never if _label(name) not in known)


def report_scores(policy: Policy, cases: Sequence[S]) -> ScoreReport[S]:
    """Test scores as the policy lets them leave: means, and each image's only where it says so.

    Raises `PolicyError` as `check_reported` does.
    """
    if policy.report_subject_scores:
        return ScoreReport(mean_scores(cases, least=1), tuple(cases))
    check_reported(policy, len({case.subject for case in cases}))
    return ScoreReport(mean_scores(cases, policy.least_test_subjects), ())


def check_reported(policy: Policy, subjects: int) -> None:
    """Raise `PolicyError` where no score of so many test subjects leaves: a mean would be of too few."""
    if why := policy.why_withheld(subjects):
        raise PolicyError(
            f"this hospital {why}: no score leaves; it tests on more, or sets report-subject-scores = true"
        )


def _label(name: str) -> str:
    """`sub-07` and `07` are one subject."""
    return name.strip().removeprefix("sub-")

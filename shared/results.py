"""`results.json`: what a finished run found. Its one schema, written by the coordinator and read by everything else.

The schema has a version. Version 1 is the first: what Wardround wrote before had none, and is not read. Version 2
has `passed_over`, `not_learnt` and `bwt_of_learnt`; version 3 has the evaluators, and `restarts` of a stage; version 4
counts who was set aside or passed over instead of naming pseudonyms.
From 1 on, a later version reads the files of the earlier ones: `of_this_version` turns them into its own form.
Whoever adds, removes or renames a key raises `VERSION` and says there how the key of an earlier file is filled;
the names of test scores are open, so that a new score needs no new version.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import ResultsError
from shared.json_object import damaged, read_object
from shared.metrics.scores import Share
from shared.metrics.transfer import NOT_LEARNT, backward_transfer_of_learnt, own_scores
from shared.paths import RESULTS, has_begun
from shared.text import tallied
from shared.wire.headers import CenterCard

VERSION: Final = 4

MEND = "delete it, and 'wardround resume' writes it again"


def _aware(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time needs its time zone")
    return text


Time = Annotated[str, AfterValidator(_aware)]
"""ISO 8601 with the time zone."""

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A part of `results.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainedCenter(Part):
    """What a center did in one round of federated averaging."""

    steps: Count
    final_loss: float | None
    training_subjects: Count
    training_seconds: Seconds
    compute_seconds: Seconds


class RoundResult(Part):
    """One round of federated averaging."""

    round: Count
    transit_seconds: Seconds
    sent_bytes: Count
    received_bytes: Count
    final_loss: float | None
    centers: dict[str, TrainedCenter]


class StageResult(Part):
    """A stage: one row of R, what its training and its tests cost, and what was handed on after it."""

    stage: Count
    """Row of R, from 0."""
    center: str
    """`all` where all centers train at once, or each by itself."""
    steps: Count
    restarts: Count
    """How often it collapsed and was begun again (client/training/attempts.py)."""
    final_loss: float | None
    """Mean over the last tenth of the steps."""
    training_subjects: Count
    training_seconds: Seconds
    compute_seconds: Seconds
    """Of the training, in forward, backward and the optimiser's step."""
    evaluating_seconds: Seconds
    transit_seconds: Seconds
    """Of the training's messages, beside what the center itself took."""
    sent_bytes: Count
    """Contents of the messages to the center, for training."""
    received_bytes: Count
    tests_asked: Count
    """How many centers were asked to test the stage's model."""
    tests_sent_bytes: Count
    tests_received_bytes: Count
    memory_exemplars: Count
    """As handed on after the stage."""
    memory_bytes: Count
    state_bytes: Count
    set_aside: dict[str, Count]
    """Training subjects that could not be used, by reason."""
    test_set_aside: dict[str, dict[str, Count]]
    """The same for test subjects, by center."""
    rounds: tuple[RoundResult, ...]
    """Of federated averaging; else empty."""

    @property
    def moved_bytes(self) -> int:
        """To and from all centers, for training and for tests."""
        return self.sent_bytes + self.received_bytes + self.tests_sent_bytes + self.tests_received_bytes


class _Scored(Part):
    """Scores (shared/metrics/scores.py) stand by their names beside the other keys; `dice` is among them."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, float] = Field(init=False)

    stage: Count
    center: str

    @property
    def scores(self) -> dict[str, float]:
        """All scores by name."""
        return dict(self.__pydantic_extra__)

    @property
    def dice(self) -> float:
        """At 0.5: the score in R."""
        return self.__pydantic_extra__["dice"]

    @model_validator(mode="after")
    def _has_dice(self) -> Self:
        if not 0 <= self.__pydantic_extra__.get("dice", -1) <= 1:
            raise ValueError("dice, a number from 0 to 1, is missing")
        return self


class ImageScores(_Scored):
    """One test image, segmented with the model of a stage."""

    subject: str
    """Pseudonym."""
    contrast: str


class CenterScores(_Scored):
    """A center's mean scores, where its policy keeps those of single images."""

    subjects: Count
    images: Count


class PassedOver(Part):
    """How many images, or subjects without one, took no part from the beginning though their hospital expected it."""

    center: str
    contrast: str
    """Of the images; empty for subjects of whom no image in particular is concerned."""
    reason: str
    count: Count


class MissingTest(Part):
    """A cell of R that was asked for and is missing."""

    stage: Count
    center: str
    reason: str
    """Follows the center's name in a sentence."""


class RunAttempt(Part):
    """One time that the run was started, or gone on with."""

    started: Time
    flower_run: int
    begins: str
    """Where in the run."""
    versions: dict[str, str]
    ended: Time | None
    """Null where the attempt was killed, or its machine went down."""
    reason: str | None
    """Why it failed; null where it finished."""

    @property
    def seconds(self) -> float | None:
        """How long it lasted; None where its end was not recorded."""
        if self.ended is None:
            return None
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.started)).total_seconds()


class Interruption(Part):
    """Between two attempts."""

    at: str
    """Where the attempt that was interrupted had begun."""
    stopped: Time | None
    reason: str
    resumed: Time


class ExtendedRun(Part):
    """The run that this one extends by one more center."""

    folder: str
    run: str
    centers: int


class RunHistory(Part):
    """How a run came about."""

    run: str
    """Names the run, through all its attempts."""
    extends: ExtendedRun | None
    attempts: tuple[RunAttempt, ...]
    interruptions: tuple[Interruption, ...]


class RunResults(Part):
    """All of `results.json`."""

    version: Literal[4] = VERSION
    method: str
    order: tuple[str, ...] = Field(min_length=1)
    """The centers as they were visited."""
    seed: int
    R: tuple[tuple[Share | None, ...], ...]
    """Mean test Dice at each center (column) after each stage (row), one row where all train at once; null: missing,
    or not asked for."""
    acc: Share
    """Mean of the last row of R."""
    evaluators: tuple[str, ...]
    """Centers that were tested and never trained on; nothing that follows from R counts them."""
    R_evaluators: tuple[tuple[Share | None, ...], ...]
    """As R, with the evaluators for columns."""
    acc_evaluators: Share | None
    """Mean of its last row; null where it has no score."""
    learning_accuracy: float | None
    bwt: float | None
    """This and the next three are null where no model went from center to center (shared/metrics/transfer.py)."""
    bwt_per_center: dict[str, float | None] | None
    bwt_over_k: float | None
    bwt_of_learnt: float | None
    """BWT without the centers that were not learnt; null also where none was."""
    forgetting: float | None
    not_learnt: tuple[str, ...]
    """Centers whose Dice right after their own visit (in the end, where all train at once) is below `NOT_LEARNT`
    (shared/metrics/transfer.py): their BWT says nothing."""
    not_asked: Count
    """How many cells of R are null because the run did not ask for them (`tested-others`)."""
    missing: tuple[MissingTest, ...]
    settings: dict[str, str | int | float | bool]
    """The run-config: it runs the same again."""
    versions: dict[str, str]
    """Of Python and the packages that compute."""
    stages: tuple[StageResult, ...]
    test_scores: tuple[ImageScores, ...]
    mean_scores: tuple[CenterScores, ...]
    notes: tuple[str, ...]
    history: RunHistory
    passed_over: tuple[PassedOver, ...]
    """What the centers could not use, as they said at the roll call."""
    withdrawn: dict[str, int]
    """How many subjects each center withdrew after their exemplars had left in this run, or one that it extends."""

    @model_validator(mode="after")
    def _shape(self) -> Self:
        if len(self.R) not in (1, len(self.order)) or any(len(row) != len(self.order) for row in self.R):
            raise ValueError(f"R must have {len(self.order)} columns, and as many rows or one")
        if len(self.stages) != len(self.R):
            raise ValueError(f"R has {len(self.R)} rows, but there are {len(self.stages)} stages")
        if len(self.R_evaluators) != len(self.R) or any(len(row) != len(self.evaluators) for row in self.R_evaluators):
            raise ValueError(f"R_evaluators must have {len(self.evaluators)} columns, and as many rows as R")
        return self

    @property
    def training_seconds(self) -> float:
        """Of all stages."""
        return sum(stage.training_seconds for stage in self.stages)

    @property
    def final_images(self) -> tuple[ImageScores, ...]:
        """Test images as the last stage's model segmented them."""
        last = len(self.stages) - 1
        return tuple(image for image in self.test_scores if image.stage == last)

    def to_json(self) -> bytes:
        """The file's content: plain JSON, without NaN."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False) + "\n").encode()


def passed_over(cards: Mapping[str, CenterCard]) -> tuple[PassedOver, ...]:
    """What the centers could not use, as they said at the roll call."""
    return tuple(
        PassedOver(center=center, **one.model_dump()) for center, card in cards.items() for one in card.passed_over
    )


def read_results(folder: Path) -> RunResults:
    """`results.json` of a run's folder.

    Raises `ResultsError` where it is missing, damaged, or of a version that is not read.
    """
    path = folder / RESULTS
    document = of_this_version(read_object(path, "the folder of a run that has finished", MEND), path)
    try:
        return RunResults.model_validate(document)
    except ValidationError as error:
        raise damaged(path, error, MEND) from None


def of_this_version(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """A document as `VERSION` has it. Raises `ResultsError` where it is of a version that is not read."""
    if _is_earlier(document):
        resume = f"'wardround resume {path.parent}' writes it again from the run's journal"
        gone = (
            f"its journal, from which it could be written again, is not in {path.parent}: use the version that wrote it"
        )
        raise ResultsError(
            f"{path} was written by an earlier Wardround ({_writer(document)}) without a version, and this one "
            f"reads version {VERSION}: {resume if has_begun(path.parent) else gone}"
        )
    version = document.get("version")
    if version in (1, 2, 3):
        document = document | (_since_version_2(document) if version == 1 else {})
        document = document | (_since_version_3(document) if version < 3 else {})
        return document | _since_version_4(document)
    if isinstance(version, int) and version != VERSION:
        raise ResultsError(
            f"{path} has version {version} (written by Wardround {_writer(document)}), and this one "
            f"reads version {VERSION}: use the Wardround that wrote it"
        )
    return document


def _since_version_2(document: Mapping[str, Any]) -> dict[str, Any]:
    """What version 2 has beside version 1: what follows from R, and nobody who was passed over, for none was asked."""
    matrix, order = document["R"], document["order"]
    learnt = None if document["bwt"] is None else backward_transfer_of_learnt(matrix)
    return {
        "passed_over": [],
        "not_learnt": centers_not_learnt(matrix, order),
        "bwt_of_learnt": None if learnt is None or math.isnan(learnt) else learnt,
    }


def _since_version_3(document: Mapping[str, Any]) -> dict[str, Any]:
    """What version 3 has beside version 2: no run had an evaluator, and no stage was begun again."""
    rows: list[list[float]] = [[] for _ in document["R"]]
    evaluators = {"evaluators": [], "R_evaluators": rows, "acc_evaluators": None}
    return evaluators | {"stages": [{**stage, "restarts": 0} for stage in document["stages"]]}


def _since_version_4(document: Mapping[str, Any]) -> dict[str, Any]:
    """What version 4 has beside version 3: counts, where pseudonyms were named."""
    passed = Counter((one["center"], one["contrast"], one["reason"]) for one in document["passed_over"])
    stages = [
        {
            **stage,
            "set_aside": tallied(stage["set_aside"].values()),
            "test_set_aside": {center: tallied(named.values()) for center, named in stage["test_set_aside"].items()},
        }
        for stage in document["stages"]
    ]
    over = [{"center": a, "contrast": b, "reason": c, "count": count} for (a, b, c), count in passed.items()]
    return {"version": VERSION, "stages": stages, "passed_over": over}


def centers_not_learnt(matrix: Sequence[Sequence[float | None]], order: Sequence[str]) -> tuple[str, ...]:
    """The centers whose own score is below `NOT_LEARNT`."""
    return tuple(center for center, own in zip(order, own_scores(matrix), strict=True) if own < NOT_LEARNT)


def is_outdated(folder: Path) -> bool:
    """Whether a folder's `results.json` is of an earlier version that is not read: a resumed run writes it again."""
    try:
        return _is_earlier(read_object(folder / RESULTS, "", ""))
    except ResultsError:
        return False


def _is_earlier(document: Mapping[str, Any]) -> bool:
    return "version" not in document and {"method", "R"} <= document.keys()


def _writer(document: Mapping[str, Any]) -> str:
    versions = document.get("versions")
    return str(versions.get("wardround", "unknown")) if isinstance(versions, dict) else "unknown"

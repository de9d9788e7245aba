"""The journal: what a run has reached, on disk before its next step begins (layout.py says where).

Nothing random is in it: every random choice of a run follows from its seed and from what the
choice is for (shared/seeds.py), so that a run which goes on goes on as if it had never stopped.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from server.journal.layout import ATTEMPTS, HEADS, ROW, RUN, WITHDRAWN, journal_folder, stage_folder, unwritable
from server.journal.partial_round import Parts
from server.journal.purge import purge_beside, purge_parents, purged
from server.journal.reading import JournalContent, read_journal
from server.journal.records import Attempt, Parent, Row, RunFacts, StageRecord
from shared.clock import utc_now
from shared.config.settings import Settings
from shared.course import Stage
from shared.errors import CenterError, ResultsError, SettingsError
from shared.files import write_document
from shared.model.weights import State, Weights
from shared.protocol.document import StudyProtocol, parse_protocol
from shared.protocol.plan import RunPlan, plan_of_run
from shared.replay.contribution import Contribution
from shared.stage_archive import KeptVisit, Moved, Transit, keep_visit
from shared.trust.signed_model import SignedModel
from shared.wire.headers import CenterCard, LogHead, PassedOverCard, TestFigures, TrainFigures
from shared.wire.messages import TrainReply, TrainRequest


class Journal:
    """A run's journal, open for reading and writing. One process at a time may have it open."""

    def __init__(self, results: Path, content: JournalContent) -> None:
        self.results = results
        self.facts = content.facts
        self.damaged = list(content.damaged)
        """What was found damaged on opening, and is not used."""
        self.attempts = list(content.attempts)
        self.withdrawn = dict(content.withdrawn)
        """Pseudonyms by the center that withdrew them."""
        self.heads = dict(content.heads)
        """By center, where its audit log ended when it was last heard of."""
        self._folder = journal_folder(results)
        self._visits = list(content.visits)
        self._rows = list(content.rows)
        self._parts = Parts(self._folder, content.parts)

    @classmethod
    def create(
        cls, results: Path, plan: RunPlan, cards: Mapping[str, CenterCard], protocol: StudyProtocol | None = None
    ) -> Self:
        """Begin the journal of a new run in its results folder. Raises `ResultsError`."""
        facts = RunFacts(
            run=plan.run,
            settings=plan.settings.to_run_config(),
            order=plan.order,
            cards=dict(cards),
            protocol=protocol.document if protocol else "",
        )
        return cls.begin(results, facts)

    def begin_extended(
        self, results: Path, plan: RunPlan, parent: Parent, protocol: StudyProtocol | None = None
    ) -> None:
        """Begin, in another folder, the journal of a run that goes on from this one with one more center."""
        changed = {
            "run": plan.run,
            "settings": plan.settings.to_run_config(),
            "order": plan.order,
            "parent": parent,
            "protocol": protocol.document if protocol else "",
        }
        longer = self.begin(results, self.facts.model_copy(update=changed))
        if self.withdrawn:
            longer._write(longer._folder / WITHDRAWN, self.withdrawn)
        longer.add_heads(self.heads)

    @classmethod
    def begin(cls, results: Path, facts: RunFacts) -> Self:
        """Write a journal's first page. Raises `ResultsError` where there is one already."""
        journal = cls(results, JournalContent(facts))
        if (journal._folder / RUN).exists():
            raise ResultsError(f"{results} holds the journal of another run: choose a new folder")
        try:
            journal._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(journal._folder, error) from None
        journal._write(journal._folder / RUN, facts.model_dump(mode="json"))
        return journal

    @classmethod
    def open(cls, results: Path) -> Self:
        """The journal of a run that was begun, up to its last stage that is whole.

        What is damaged is listed in `damaged` and set aside, and so is what built on it. Raises
        `ResultsError` where there is no journal, or its first page cannot be used.
        """
        journal = cls(results, read_journal(results))
        journal._forget_crops(utc_now(), journal.withdrawn)
        return journal

    # What is known

    @property
    def order(self) -> tuple[str, ...]:
        """The centers in the order of the visits."""
        return self.facts.order

    @cached_property
    def protocol(self) -> StudyProtocol | None:
        """What the hospitals approved; None in simulation."""
        text = self.facts.protocol
        return parse_protocol(text.encode(), f"the protocol in the journal of {self.results}") if text else None

    def plan(self, settings: Settings, identities: Mapping[str, str]) -> RunPlan:
        """What follows from the protocol, or in simulation from the settings and the centers' identities.

        Raises `SettingsError` or `MessageError` where the protocol does not fit the run.
        """
        if self.protocol is not None:
            return plan_of_run(self.protocol, self.facts.run, settings.to_run_config())
        return RunPlan(self.facts.run, settings, self.order, identities)

    @property
    def trained(self) -> int:
        """How many stages were trained."""
        return len(self._visits)

    def figures(self, index: int) -> TrainFigures:
        """What a stage's training cost and reached."""
        return self._visits[index].visit.figures

    def signed(self, index: int) -> SignedModel | None:
        """Who signed the model after a stage."""
        return self._visits[index].visit.signed

    def weights(self, index: int) -> Weights:
        """The model after a stage. Raises `DamagedError`."""
        return self._visits[index].weights()

    def state(self) -> State:
        """What the last trained stage handed on beside the model. Raises `DamagedError`."""
        return self._visits[-1].state() if self._visits else {}

    def stage_folder(self, index: int) -> Path:
        """Where all of a stage lies."""
        return stage_folder(self._folder, index)

    def model_file(self, index: int) -> Path:
        """The model after a stage, as a file."""
        return self.stage_folder(index) / "model.safetensors"

    def memory(self) -> tuple[Contribution, ...]:
        """The memory after the last trained stage, as it came. Raises `DamagedError`."""
        given = [kept.contribution() for kept in self._visits]
        return tuple(contribution for contribution in given if contribution is not None)

    def row(self, index: int) -> Row:
        """A stage's tests, as far as they have come."""
        return self._rows[index]

    def untested(self, stage: Stage) -> tuple[str, ...]:
        """The centers that are to test a stage's model, and have neither done so nor failed to."""
        row = self._rows[stage.index]
        return tuple(center for center in stage.tests if center not in row.tests and center not in row.missing)

    def records(self, course: tuple[Stage, ...]) -> list[StageRecord]:
        """The stages that were trained."""
        records, exemplars, size = [], 0, 0
        for stage, kept, row in zip(course, self._visits, self._rows, strict=False):
            testing = tuple(dict.fromkeys((*self.order, *stage.tests)))
            exemplars += kept.visit.exemplars
            size += kept.visit.contribution_bytes
            records.append(
                StageRecord(
                    stage=stage,
                    figures=kept.visit.figures,
                    tests={center: row.tests[center] for center in testing if center in row.tests},
                    missing={center: row.missing[center] for center in testing if center in row.missing},
                    memory_exemplars=exemplars,
                    memory_bytes=size,
                    state_bytes=kept.visit.state_bytes,
                    evaluating_seconds=row.evaluating_seconds,
                    transit=kept.visit.transit,
                    tests_moved=row.moved,
                    parts=kept.visit.parts,
                )
            )
        return records

    def where(self, course: tuple[Stage, ...]) -> str:
        """What comes next, in words."""
        for stage in course:
            name = f"{stage.kind} {stage.index + 1}/{len(course)}"
            if stage.index >= self.trained:
                return f"{name}: training at {stage.where}"
            if stage.tested and (waiting := self.untested(stage)):
                return f"{name}: testing at {', '.join(waiting)}"
        return "writing the results"

    # What must agree

    def check_settings(self, settings: Settings) -> None:
        """Raise `SettingsError`, naming each difference, where settings would change what the run computes."""
        kept = Settings.from_run_config(self.facts.settings)
        if changed := settings.changes_of_science(kept):
            raise SettingsError(
                f"the run in {self.results} was begun with other settings: {'; '.join(changed)}; "
                "resume it as it was begun, or start a new run"
            )

    def check_cards(self, cards: Mapping[str, CenterCard]) -> None:
        """Raise `CenterError` where a center's subjects are not those that the run was begun with.

        What a center says that the run was extended to is noted, and what is passed over since.
        """
        for center, card in cards.items():
            kept = self.facts.cards.get(center)
            if kept is None:
                self._keep_card(center, card)
            elif card.fingerprint != kept.fingerprint:
                raise CenterError(
                    f"center {center} has other subjects than when the run was begun "
                    f"({kept.training_subjects} + {kept.test_subjects} then, {card.training_subjects} + "
                    f"{card.test_subjects} now, to train and to test on): a subject could be tested that was trained "
                    "on; restore its data, or start a new run"
                )
            elif card.identity != kept.identity and kept.identity:
                raise CenterError(
                    f"center {center} shows other keys than when the run was begun, so it cannot open what was sealed "
                    "for it: restore its key folder, or start a new run"
                )
            elif set(card.passed_over) - set(kept.passed_over):
                self._keep_card(center, kept.model_copy(update={"passed_over": _most(kept, card)}))

    def _keep_card(self, center: str, card: CenterCard) -> None:
        self.facts = self.facts.model_copy(update={"cards": self.facts.cards | {center: card}})
        self._write(self._folder / RUN, self.facts.model_dump(mode="json"))

    # What is added

    def add_attempt(self, flower_run: int, begins: str, versions: Mapping[str, str]) -> None:
        """Note that the run starts or goes on. Raises `ResultsError` where the disk refuses."""
        self.attempts.append(Attempt(started=_now(), flower_run=flower_run, begins=begins, versions=dict(versions)))
        self._write(self._folder / ATTEMPTS, [attempt.model_dump(mode="json") for attempt in self.attempts])

    def end_attempt(self, reason: str | None = None) -> None:
        """Note how the attempt ended: well, or for a reason."""
        self.attempts[-1] = self.attempts[-1].model_copy(update={"ended": _now(), "reason": reason})
        self._write(self._folder / ATTEMPTS, [attempt.model_dump(mode="json") for attempt in self.attempts])

    def add_visit(
        self,
        request: TrainRequest,
        reply: TrainReply,
        settings: Settings,
        transit: Transit,
        parts: Mapping[str, TrainFigures] | None = None,
    ) -> None:
        """Keep a finished training; `parts` are the centers' figures where their models were averaged.

        Raises `ResultsError` where the disk refuses.
        """
        folder = self.stage_folder(self.trained)
        try:
            self._visits.append(keep_visit(folder, request, reply, settings.network, transit, parts))
        except OSError as error:
            raise unwritable(self._folder, error) from None
        self._rows.append(Row())
        self._parts.forget()

    def part(self, request: TrainRequest) -> KeptVisit | None:
        """What a center answered to this request of the round under way, or nothing."""
        return self._parts.find(request)

    def add_part(self, request: TrainRequest, reply: TrainReply, settings: Settings) -> KeptVisit:
        """Keep what a center answered, until the round's average is kept. Raises `ResultsError`."""
        try:
            return self._parts.add(request, reply, settings.network)
        except OSError as error:
            raise unwritable(self._folder, error) from None

    def add_heads(self, heads: Mapping[str, LogHead | None]) -> None:
        """Keep where the hospitals' audit logs end now.

        Raises `CenterError`, naming the center, where one ends before what is known of it, and `ResultsError` where
        the disk refuses.
        """
        for center, head in heads.items():
            if (known := self.heads.get(center)) is not None and not _goes_on(known, head):
                ends = f"entry {head.count}" if head is not None else "nothing"
                raise CenterError(
                    f"center {center} replied from an audit log that ends with {ends}, where this run knows entry "
                    f"{known.count} of it: it was cut or put back, and its reply is refused; its hospital restores the "
                    "log from a backup, or tells you that it was lost"
                )
        if new := {center: head for center, head in heads.items() if head is not None}:
            self.heads = self.heads | new
            body = {center: head.model_dump(mode="json") for center, head in self.heads.items()}
            self._write(self._folder / HEADS, body)

    def add_withdrawn(self, center: str, subjects: Collection[str]) -> tuple[str, ...]:
        """Note that a center withdrew subjects, and delete what they contributed; returns those that are new.

        Raises `ResultsError` where the disk refuses.
        """
        known = self.withdrawn.get(center, [])
        new = tuple(sorted(set(subjects) - set(known)))
        if new:
            changed = self.withdrawn | {center: [*known, *new]}
            self._write(self._folder / WITHDRAWN, changed)
            self.withdrawn = changed
            self._forget_crops(utc_now(), self.withdrawn)
        return new

    def forget_expired(self, now: datetime) -> None:
        """Delete sealed crops that nobody may open any more. Raises `ResultsError` where the disk refuses."""
        self._forget_crops(now, {})

    def _forget_crops(self, now: datetime, withdrawn: Mapping[str, Collection[str]]) -> None:
        """Delete crops of withdrawn subjects and expired ones, in the runs that this one extends, too.

        What an earlier deletion left that was cut short goes as well.
        """
        try:
            self._visits = [purged(kept, withdrawn, now) for kept in self._visits]
            purge_beside(self._folder, withdrawn, now)
            purge_parents(self.facts.parent, withdrawn, now)
        except OSError as error:
            raise unwritable(self._folder, error) from None

    def add_tests(self, index: int, figures: TestFigures) -> None:
        """Keep a center's scores. Raises `ResultsError` where the disk refuses."""
        row = self._rows[index]
        missing = {center: reason for center, reason in row.missing.items() if center != figures.center}
        tests = row.tests | {figures.center: figures}
        self._write_row(index, row.model_copy(update={"tests": tests, "missing": missing}))

    def end_tests(self, index: int, missing: Mapping[str, str], seconds: float, moved: Moved) -> None:
        """Keep which tests failed, and what all of them cost. Raises `ResultsError` where the disk refuses."""
        row = self._rows[index]
        changed = {
            "missing": row.missing | dict(missing),
            "evaluating_seconds": row.evaluating_seconds + seconds,
            "moved": row.moved + moved,
        }
        self._write_row(index, row.model_copy(update=changed))

    def ask_again(self, center: str) -> int:
        """Forget that a center could not test, so that it is asked again; returns for how many stages."""
        asked = 0
        for index, row in enumerate(self._rows):
            if center in row.missing:
                missing = {name: reason for name, reason in row.missing.items() if name != center}
                self._write_row(index, row.model_copy(update={"missing": missing}))
                asked += 1
        return asked

    def _write_row(self, index: int, row: Row) -> None:
        self._write(self.stage_folder(index) / ROW, row.model_dump(mode="json"))
        self._rows[index] = row

    def _write(self, path: Path, body: Any) -> None:
        try:
            write_document(path, body)
        except OSError as error:
            raise unwritable(self._folder, error) from None


def _most(kept: CenterCard, card: CenterCard) -> tuple[PassedOverCard, ...]:
    """What a center passes over, as it said then or says now, whichever is more."""
    found: dict[tuple[str, str], PassedOverCard] = {}
    for one in (*kept.passed_over, *card.passed_over):
        known = found.setdefault((one.contrast, one.reason), one)
        found[one.contrast, one.reason] = max(known, one, key=lambda each: each.count)
    return tuple(found.values())


def _goes_on(known: LogHead, head: LogHead | None) -> bool:
    """Whether a log that ends so can hold what is known of it; whether it does, its hospital looks up."""
    return head is not None and (head == known or head.count > known.count)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

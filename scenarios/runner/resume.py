"""Going on with a run that lies in a results folder: resume it, extend it, fill its gaps."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scenarios.run_config import changed_settings
from scenarios.runner.launch_record import HowLaunched
from server.journal.journal import Journal
from server.journal.records import Parent
from shared.config.settings import Settings
from shared.course import plan_course
from shared.errors import ResultsError, SettingsError
from shared.methods import METHODS
from shared.paths import JOURNAL, RESULTS, absolute, check_fresh, claimed, has_begun, is_folder, writable_folder
from shared.protocol.document import StudyProtocol
from shared.protocol.plan import RunPlan, number_of, plan_of
from shared.results import is_outdated
from shared.text import quoted

NOTHING = "writing the results"
"""What remains of a run whose every stage was trained and tested."""


@dataclass(frozen=True)
class Continuation:
    """A run in its folder, and how it goes on."""

    folder: Path
    settings: Settings
    launched: HowLaunched
    remains: str
    """What comes next, in words; empty where nothing does."""
    damaged: tuple[str, ...] = ()


def plan_resume(folder: Path, changes: list[str]) -> Continuation:
    """What is left of the run in `folder`, with some circumstances changed.

    Raises `ResultsError` where there is no run or another process has it, `SettingsError` where
    a change would change what it computes.
    """
    folder = _existing(folder)
    launched = HowLaunched.load(folder)
    if not has_begun(folder):
        return _from_the_start(folder, launched, changes)
    with claimed(folder):
        journal = Journal.open(folder)
    config = journal.facts.settings | {"output-dir": str(folder), "resume": True}
    settings = changed_settings(config, changes)
    journal.check_settings(settings)
    remains = journal.where(plan_course(journal.order, settings.run))
    if remains == NOTHING and (folder / RESULTS).is_file() and not is_outdated(folder):
        remains = ""
    launched = launched or HowLaunched(run_config=settings.to_run_config())
    return Continuation(folder, settings, launched, remains, tuple(journal.damaged))


def plan_evaluation(folder: Path, center: str) -> Continuation:
    """Ask `center`, which may be an evaluator, again for the test scores that are missing.

    Raises `SettingsError` where it is not a center of the run, `ResultsError` where the run is
    not finished.
    """
    folder = _existing(folder)
    with claimed(folder):
        journal = Journal.open(folder)
        known = (*journal.order, *_settings(journal).run.evaluators)
        if center not in known:
            raise SettingsError(f"{center} is no center of the run in {folder}: its are {', '.join(known)}")
        # An earlier attempt to fill the same gaps may have been interrupted: then they are open already.
        if journal.trained < len(plan_course(journal.order, _settings(journal).run)):
            _check_finished(journal, folder)
        journal.ask_again(center)
    return plan_resume(folder, [])


def plan_extension(
    folder: Path,
    center: str,
    output: Path,
    prepare: Callable[[Settings, HowLaunched], None],
    protocol: StudyProtocol | None = None,
) -> Continuation:
    """Copy the finished run in `folder` to the new folder `output`, with `center` as one more stage.

    `prepare` makes sure of the hospitals' data, and raises before anything is written. Over hospitals that joined,
    `protocol` is what they approved of the longer run. Raises `SettingsError` where the center, the method or the
    protocol does not allow it, `ResultsError` where the run is not finished or `output` is not empty.
    """
    folder, output = _existing(folder), absolute(output, "results folder")
    with claimed(folder):
        journal = Journal.open(folder)
        _check_finished(journal, folder)
        settings = _extended(journal, center).with_changes({"output-dir": str(output), "protocol": ""})
        plan = _extended_plan(journal, settings, protocol)
        launched = HowLaunched.load(folder) or HowLaunched(run_config={})
        launched = launched.model_copy(update={"run_config": settings.to_run_config(), "supernodes": None})
        check_fresh(output)
        prepare(settings, launched)
        writable_folder(output, "results folder")
        parent = Parent(folder=str(folder), run=journal.facts.run, centers=len(journal.order))
        with claimed(output):
            _copy(journal, output, plan, parent, protocol)
    launched.save(output)
    return plan_resume(output, [])


def extended_settings(folder: Path, center: str) -> tuple[Settings, Journal]:
    """The settings of the finished run in `folder` with `center` as one more stage. Raises as `plan_extension`."""
    folder = _existing(folder)
    with claimed(folder):
        journal = Journal.open(folder)
        _check_finished(journal, folder)
        return _extended(journal, center), journal


def _extended(journal: Journal, center: str) -> Settings:
    folder, facts = journal.results, journal.facts
    if center in journal.order:
        raise SettingsError(f"{center} is a center of the run in {folder} already: name another one")
    if center in _settings(journal).run.evaluators:
        raise SettingsError(
            f"{center} is an evaluator of the run in {folder}, which tests on all of its subjects, so that none is "
            "left to train on: begin a new run with it in centers"
        )
    if reason := METHODS[str(facts.settings["method"])].not_extendable:
        raise SettingsError(f"a {facts.settings['method']} run cannot be extended: {reason}")
    order = (*facts.order, center)
    # `given`, since that is the order now; the settings then run the same from the start, too.
    settings = _settings(journal).with_changes({"centers": ",".join(order), "order": "given"})
    if settings.run.centers != order:
        raise SettingsError(f"{center!r} is no center name; use letters, digits, - and _")
    return settings


def _extended_plan(journal: Journal, settings: Settings, protocol: StudyProtocol | None) -> RunPlan:
    """What follows for the longer run. Raises `SettingsError` where a protocol is lacking, or does not fit."""
    if journal.protocol is None:
        return RunPlan(uuid.uuid4().hex, settings, settings.run.centers, {})
    if protocol is None:
        raise SettingsError(
            f"the run in {journal.results} is over hospitals that joined, who must approve the longer one: propose it "
            f"by wardround coordinator propose FOLDER --extends {quoted(journal.results)} --center NAME, and give what "
            "they approved by --protocol"
        )
    plan = plan_of(protocol, number_of(protocol, settings), settings.to_run_config())
    if not plan.lineage or plan.lineage[-1].run != journal.facts.run:
        raise SettingsError(f"protocol {protocol.digest[:8]} does not go on from the run in {journal.results}")
    return plan


def _copy(journal: Journal, output: Path, plan: RunPlan, parent: Parent, protocol: StudyProtocol | None) -> None:
    """A journal that begins as another one ended."""
    try:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=output) as name:
            new = Path(name)
            journal.begin_extended(new, plan, parent, protocol)
            for index in range(journal.trained):
                stage = journal.stage_folder(index)
                shutil.copytree(stage, new / JOURNAL / stage.name, copy_function=_link)
            (new / JOURNAL).rename(output / JOURNAL)
    except OSError as error:
        raise ResultsError(
            f"the run cannot be copied to {output} ({error.strerror or error}): free or choose another disk"
        ) from None


def _link(source: str, target: str) -> None:
    """A second name for a file of the journal (which replaces files, and never changes one), or else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _from_the_start(folder: Path, launched: HowLaunched | None, changes: list[str]) -> Continuation:
    if launched is None:
        raise ResultsError(f"{folder} holds no run: give the results folder of a run that was interrupted")
    kept = Settings.from_run_config(launched.run_config)
    settings = changed_settings(launched.run_config | {"output-dir": str(folder)}, changes)
    if changed := settings.changes_of_science(kept):
        raise SettingsError(f"the run in {folder} was begun with other settings: {'; '.join(changed)}; start a new run")
    return Continuation(folder, settings, launched, "the roll call: it was interrupted before its first stage")


def _settings(journal: Journal) -> Settings:
    return Settings.from_run_config(journal.facts.settings)


def _existing(folder: Path) -> Path:
    folder = absolute(folder, "results folder")
    if not is_folder(folder):
        raise ResultsError(f"{folder} is no folder: give the results folder of a run")
    return folder


def _check_finished(journal: Journal, folder: Path) -> None:
    remains = journal.where(plan_course(journal.order, _settings(journal).run))
    if remains != NOTHING or not (folder / RESULTS).is_file():
        raise ResultsError(f"the run in {folder} is not finished ({remains}): first wardround resume {quoted(folder)}")

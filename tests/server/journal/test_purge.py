"""Crops that were withdrawn or have expired are in no folder of a run, nor of those that it extends."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from server.journal.journal import Journal
from server.journal.records import Parent
from shared.config.settings import Settings
from shared.files import NEW
from shared.paths import claimed
from shared.protocol.plan import RunPlan
from shared.replay.manifest import SealedContribution, Visit
from shared.replay.sealing import Terms, seal
from shared.stage_archive import NO_TRANSIT
from shared.trust.identity import Keys
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from tests.support.joined import bytes_below
from tests.support.journals import ORDER, card, crop, figures_of, flip, weights_of

SUBJECTS = ("a" * 16, "b" * 16)


def sealed(run: str, days: float = 30.0) -> SealedContribution:
    """What the first center gave: two subjects' crops for the second one."""
    sender, other = Keys.generate(ORDER[0]), Keys.generate(ORDER[1])
    one, two = crop(ORDER[0]), crop(ORDER[1])
    mine = [
        one.__class__(one.provenance.model_copy(update={"subject": SUBJECTS[0]}), one.payload),
        two.__class__(two.provenance.model_copy(update={"subject": SUBJECTS[1], "center": ORDER[0]}), two.payload),
    ]
    terms = Terms(Visit(run=run, stage=0, center=ORDER[0]), (other.identity,), datetime.now(UTC) + timedelta(days=days))
    return seal(mine, sender, lambda identity: None, terms)


def begun(folder: Path, settings: Settings, days: float = 30.0) -> tuple[Journal, SealedContribution]:
    """The journal of a run that has had its first stage, and what that gave."""
    folder.mkdir()
    run = uuid4().hex
    journal = Journal.create(folder, RunPlan(run, settings, ORDER, {}), {c: card(c) for c in ORDER})
    given = sealed(run, days)
    task = TrainTask(run=run, stage=0, center=ORDER[0], contribute=True)
    weights = weights_of(settings.network, 0)
    journal.add_visit(TrainRequest(task, weights, ()), TrainReply(weights, given, figures_of()), settings, NO_TRANSIT)
    return journal, given


def extended(parent: Journal, folder: Path, settings: Settings) -> Journal:
    """As `wardround extend` begins a longer run, with links to the stages' files."""
    folder.mkdir()
    said = Parent(folder=str(parent.results), run=parent.facts.run, centers=len(ORDER))
    parent.begin_extended(folder, RunPlan(uuid4().hex, settings, (*ORDER, "nih"), {}), said)
    for stage in (parent.results / "journal").glob("stage-*"):
        shutil.copytree(stage, folder / "journal" / stage.name, copy_function=lambda a, b: Path(b).hardlink_to(a))
    return Journal.open(folder)


def crops_in(folder: Path, given: SealedContribution) -> set[str]:
    """Whose crops any file below the folder holds."""
    content = bytes_below(folder)
    return {entry.subject for entry in given.present if given.payloads[entry.checksum].tobytes() in content}


def test_a_withdrawal_reaches_every_run_that_was_extended(tmp_path: Path, settings: Settings) -> None:
    first, given = begun(tmp_path / "first", settings)
    second = extended(first, tmp_path / "second", settings)
    third = extended(second, tmp_path / "third", settings)
    assert crops_in(tmp_path, given) == set(SUBJECTS)
    third.add_withdrawn(ORDER[0], [SUBJECTS[0]])
    for name in ("first", "second", "third"):
        assert crops_in(tmp_path / name, given) == {SUBJECTS[1]}, name
        journal = Journal.open(tmp_path / name)
        assert journal.trained == 1 and journal.damaged == [], "it is whole without them"
        assert journal.withdrawn == {ORDER[0]: [SUBJECTS[0]]}, "nor does another extension hand them on"


def test_a_parent_that_is_in_use_is_purged_the_next_time(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    first, given = begun(tmp_path / "first", settings)
    second = extended(first, tmp_path / "second", settings)
    with claimed(tmp_path / "first"):
        second.add_withdrawn(ORDER[0], SUBJECTS)
        assert crops_in(tmp_path / "first", given) == set(SUBJECTS)
    assert f"are still in {tmp_path / 'first'}" in capsys.readouterr().out
    Journal.open(tmp_path / "second")
    assert crops_in(tmp_path, given) == set()


def test_a_parent_that_is_gone_is_named_and_another_run_in_its_place_is_left_alone(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    first, given = begun(tmp_path / "first", settings)
    second = extended(first, tmp_path / "second", settings)
    (tmp_path / "first").rename(tmp_path / "moved")
    second.add_withdrawn(ORDER[0], SUBJECTS)
    assert f"{tmp_path / 'first'}, which was extended, is not there" in capsys.readouterr().out
    _, other = begun(tmp_path / "first", settings)
    Journal.open(tmp_path / "second")
    assert crops_in(tmp_path / "first", other) == set(SUBJECTS)
    assert crops_in(tmp_path / "second", given) == set()


@pytest.mark.parametrize("name", ["model.safetensors", "visit.json", "exemplars.safetensors"])
def test_what_was_set_aside_as_damaged_is_purged_too(tmp_path: Path, settings: Settings, name: str) -> None:
    _, given = begun(tmp_path / "run", settings)
    flip(tmp_path / "run" / "journal" / "stage-000" / name)
    journal = Journal.open(tmp_path / "run")
    assert journal.trained == 0 and list((tmp_path / "run" / "journal").glob("damaged-*"))
    before = crops_in(tmp_path, given)
    assert before, "of the two, one crop at least is whole"
    journal.add_withdrawn(ORDER[0], [SUBJECTS[0]])
    assert SUBJECTS[0] not in crops_in(tmp_path, given)
    if name == "model.safetensors":
        assert crops_in(tmp_path, given) == {SUBJECTS[1]}


def test_expired_crops_are_deleted_here_and_in_the_runs_that_were_extended(tmp_path: Path, settings: Settings) -> None:
    first, given = begun(tmp_path / "first", settings)
    second = extended(first, tmp_path / "second", settings)
    second.forget_expired(datetime.now(UTC) + timedelta(days=29))
    assert crops_in(tmp_path / "first", given) == crops_in(tmp_path / "second", given) == set(SUBJECTS)
    second.forget_expired(datetime.now(UTC) + timedelta(days=31))
    assert crops_in(tmp_path, given) == set() and second.memory() == ()
    assert Journal.open(tmp_path / "second").trained == 1


def test_expired_crops_are_deleted_when_a_journal_is_opened(tmp_path: Path, settings: Settings) -> None:
    _, given = begun(tmp_path / "run", settings, days=-1)
    assert crops_in(tmp_path, given) == set(SUBJECTS)
    journal = Journal.open(tmp_path / "run")
    assert crops_in(tmp_path, given) == set() and journal.trained == 1 and journal.damaged == []
    assert not list(tmp_path.rglob(f"{NEW}*"))
    document = json.loads((tmp_path / "run" / "journal" / "stage-000" / "visit.json").read_text())
    assert document["body"]["contribution"] is None

"""Writing a journal: a disk that refuses costs nothing, and SIGKILL one step at most."""

import os
import resource
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import pytest
import torch

from server.journal.journal import Journal
from server.results import versions
from shared.config.settings import Settings
from shared.errors import ResultsError
from shared.protocol.plan import RunPlan
from shared.stage_archive import NO_TRANSIT, Moved
from tests.support.forks import Fork
from tests.support.journals import ORDER, card, content, files_in, journal_of, scores_of, visit_of, weights_of

# A disk that refuses


def write_on_a_full_disk(folder: Path, log: TextIO) -> None:
    """Every kind of write, in a process whose files may not be larger than 100 bytes."""
    journal = Journal.open(folder)
    settings = Settings.from_run_config(journal.facts.settings)
    visit = visit_of(journal, settings)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    for write in (
        lambda: journal.add_visit(*visit, settings, NO_TRANSIT),
        lambda: journal.add_tests(0, scores_of(0, "amu")),
        lambda: journal.end_tests(0, {}, 1.0, Moved()),
        lambda: journal.ask_again("milan"),
        lambda: journal.add_attempt(1, "here", {}),
    ):
        try:
            write()
        except Exception as error:
            print(type(error).__name__, error, file=log)


def test_a_full_disk_is_said_and_leaves_what_was_finished(tmp_path: Path, settings: Settings) -> None:
    journal = journal_of(tmp_path, settings, without=(1, "milan"))
    before, files = content(journal), files_in(tmp_path)
    code, said = Fork(partial(write_on_a_full_disk, tmp_path)).end()
    assert code == 0
    assert len(said) == 5, "each write is refused, in one line"
    for line in said:
        assert line.startswith(f"ResultsError the journal in {tmp_path / 'journal'} cannot be written")
        assert "what was finished before is safe" in line
    assert files_in(tmp_path) == files, "not a byte more or less"
    assert content(Journal.open(tmp_path)) == before


def test_a_refused_write_is_not_believed_to_be_there(tmp_path: Path, settings: Settings) -> None:
    journal = journal_of(tmp_path, settings)
    folder, away = tmp_path / "journal", tmp_path / "away"
    folder.rename(away)
    folder.write_text("a file where a folder was")
    for write in (
        lambda: journal.add_visit(*visit_of(journal, settings), settings, NO_TRANSIT),
        lambda: journal.add_tests(0, scores_of(0, "amu")),
        lambda: journal.end_tests(0, {}, 1.0, Moved()),
        lambda: journal.add_attempt(7, "here", versions()),
    ):
        with pytest.raises(ResultsError, match="what was finished before is safe"):
            write()
    assert journal.trained == 3
    assert journal.row(0).tests["amu"] != scores_of(0, "amu")
    folder.unlink()
    away.rename(folder)
    assert Journal.open(tmp_path).trained == 3


def test_a_journal_below_a_file_is_refused(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot be written"):
        Journal.create(tmp_path / "file", RunPlan(uuid4().hex, settings, ORDER, {}), {c: card(c) for c in ORDER})


# SIGKILL at any moment

CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir"}
"""Names by which Python tells of a change to a disk, beside the opening of a file (its table of audit events)."""

STAGES = 2
VERSIONS = {"torch": "2"}


def die_before(change: int) -> None:
    """SIGKILL this process before its n-th change to the disk (from 0).

    A file that is about to be forced to disk is cut to its half first: more need not have arrived.
    """
    left = change

    def next_change(descriptor: int | None = None) -> None:
        nonlocal left
        if left == 0:
            if descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.truncate(f"/proc/self/fd/{descriptor}", os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def hear(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if left >= 0 and (writes or event in CHANGES):
            next_change()

    def fsync(descriptor: int, real: Callable[[int], None] = os.fsync) -> None:
        next_change(descriptor)
        real(descriptor)

    sys.addaudithook(hear)
    os.fsync = fsync


def write_on(folder: Path, change: int, log: TextIO) -> None:
    """Open a journal and write into it until the n-th change; what is done is noted in `log`, line by line."""
    die_before(change)
    journal = Journal.open(folder)
    settings = Settings.from_run_config(journal.facts.settings)
    journal.add_attempt(1, "here", VERSIONS)
    for index in range(STAGES):
        journal.add_visit(*visit_of(journal, settings), settings, NO_TRANSIT)
        print("trained", index, file=log)
        for center in ORDER:
            journal.add_tests(index, scores_of(index, center))
            print("tested", index, center, file=log)
        journal.end_tests(index, {}, 1.0, Moved())
        print("ended", index, file=log)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files are cut by the way that Linux names them")
def test_a_writer_that_is_killed_at_any_moment_loses_what_it_was_writing_and_nothing_else(
    tmp_path: Path, settings: Settings
) -> None:
    cards = {c: card(c) for c in ORDER}
    reached = []
    for change in count():
        folder = tmp_path / str(change)
        folder.mkdir()
        Journal.create(folder, RunPlan(uuid4().hex, settings, ORDER, {}), cards)
        code, log = Fork(partial(write_on, folder, change)).end()
        assert code in (0, -signal.SIGKILL)
        reached.append(check_prefix(folder, settings, log))
        shutil.rmtree(folder)
        if code == 0:
            break
    tested = len(ORDER)
    states = [(stage + 1, stage * tested + cells) for stage in range(STAGES) for cells in range(tested + 1)]
    assert sorted(set(reached)) == reached_once(reached) == [(0, 0), *states]


def reached_once(states: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbours that are the same, once."""
    return [state for state, _ in groupby(states)]


def check_prefix(folder: Path, settings: Settings, said: list[str]) -> tuple[int, int]:
    """What the log says is done is in the journal, with one step more at most; and the journal can go on."""
    log = [line.split() for line in said]
    journal = Journal.open(folder)
    assert journal.damaged == []
    trained = sum(line[0] == "trained" for line in log)
    assert journal.trained in (trained, trained + 1)
    tested = {(int(line[1]), line[2]) for line in log if line[0] == "tested"}
    known = {(index, center) for index in range(journal.trained) for center in journal.row(index).tests}
    assert tested <= known and len(known - tested) <= 1
    ended = sum(line[0] == "ended" for line in log)
    assert sum(journal.row(index).evaluating_seconds for index in range(journal.trained)) in (ended, ended + 1)
    assert (journal.trained - trained) + len(known - tested) <= 1
    for index in range(journal.trained):
        expected = weights_of(settings.network, index)
        assert all(torch.equal(value, expected[name]) for name, value in journal.weights(index).items())
        assert all(figures == scores_of(index, center) for center, figures in journal.row(index).tests.items())
    assert journal.memory() or not journal.trained
    before = journal.trained
    journal.add_attempt(2, "going on", VERSIONS)
    journal.add_visit(*visit_of(journal, settings), settings, NO_TRANSIT)
    journal.add_tests(before, scores_of(before, "amu"))
    again = Journal.open(folder)
    assert again.trained == before + 1 and list(again.row(before).tests) == ["amu"] and again.damaged == []
    return before, len(known)

"""Writing a journal: a disk that refuses costs nothing, and SIGKILL one step at most."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from server.journal.journal import Journal
from server.results import versions
from shared.config.settings import Settings
from shared.errors import ResultsError
from shared.model.network import initial_weights
from shared.stage_archive import NO_TRANSIT, Moved
from tests.conftest import ROOT
from tests.support.journals import ORDER, card, content, files_in, journal_of, scores_of, visit_of

# A disk that refuses


FULL = """
import resource, sys
from pathlib import Path
from server.journal.journal import Journal
from shared.stage_archive import NO_TRANSIT, Moved
from shared.config.settings import Settings
from tests.support.journals import scores_of, visit_of

journal = Journal.open(Path(sys.argv[1]))
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
        print(type(error).__name__, error)
"""
"""Every kind of write, in a process whose files may not be larger than 100 bytes."""


def test_a_full_disk_is_said_and_leaves_what_was_finished(tmp_path: Path, settings: Settings) -> None:
    journal = journal_of(tmp_path, settings, without=(1, "milan"))
    before, files = content(journal), files_in(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
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
        Journal.create(tmp_path / "file", settings, ORDER, {c: card(c) for c in ORDER})


# SIGKILL at any moment

KILLS = 25


def write_on(folder: Path, log: Path) -> None:
    """Open a journal and write into it as fast as can be; what is done is noted in `log`, line by line."""
    with log.open("a") as file:

        def done(*words: Any) -> None:
            print(*words, file=file, flush=True)

        journal = Journal.open(folder)
        settings = Settings.from_run_config(journal.facts.settings)
        done("open")
        journal.add_attempt(1, "here", versions())
        done("attempt")
        while journal.trained < 200:
            index = journal.trained
            journal.add_visit(*visit_of(journal, settings), settings, NO_TRANSIT)
            done("trained", index)
            for center in ORDER:
                journal.add_tests(index, scores_of(index, center))
                done("tested", index, center)
            journal.end_tests(index, {}, 1.0, Moved())
            done("ended", index)


FORKING = """
import os, sys, torch
from pathlib import Path
from tests.server.journal.test_durability import write_on
torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    folder = Path(line.strip())
    child = os.fork()
    if not child:
        write_on(folder, folder / "log")
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


def test_a_writer_that_is_killed_at_any_moment_loses_what_it_was_writing_and_nothing_else(
    tmp_path: Path, settings: Settings
) -> None:
    random = np.random.default_rng(7)
    cards = {c: card(c) for c in ORDER}
    reached = set()
    writers = subprocess.Popen(
        [sys.executable, "-c", FORKING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert writers.stdin and writers.stdout
    with writers:
        assert writers.stdout.readline() == "ready\n"
        for kill in range(KILLS):
            folder = tmp_path / str(kill)
            folder.mkdir()
            Journal.create(folder, settings, ORDER, cards)
            (folder / "log").touch()
            print(folder, file=writers.stdin)
            writer = int(writers.stdout.readline())
            while not (folder / "log").stat().st_size:
                time.sleep(0.0005)
            time.sleep(random.uniform(0, 0.4))
            os.kill(writer, signal.SIGKILL)
            assert writers.stdout.readline() == "gone\n"
            reached.add(check_prefix(folder, settings))
        writers.stdin.close()
    assert len(reached) > 5, "the kills fell on different moments"


def check_prefix(folder: Path, settings: Settings) -> tuple[int, int]:
    """What the log says is done is in the journal, with one step more at most; and the journal can go on."""
    log = [line.split() for line in (folder / "log").read_text().splitlines()]
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
        expected = initial_weights(settings.network, index)
        assert all(torch.equal(value, expected[name]) for name, value in journal.weights(index).items())
        assert all(figures == scores_of(index, center) for center, figures in journal.row(index).tests.items())
    assert journal.memory() or not journal.trained
    before = journal.trained
    journal.add_attempt(2, "going on", versions())
    journal.add_visit(*visit_of(journal, settings), settings, NO_TRANSIT)
    journal.add_tests(before, scores_of(before, "amu"))
    again = Journal.open(folder)
    assert again.trained == before + 1 and list(again.row(before).tests) == ["amu"] and again.damaged == []
    return before, len(known)

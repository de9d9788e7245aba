"""The journal: what was written is there, what is damaged is noticed, and SIGKILL costs one step at most."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from server.course import plan_course
from server.journal.journal import Journal
from server.journal.records import Row
from server.results import versions
from shared.config.settings import CIRCUMSTANCES, Settings
from shared.errors import CenterError, ResultsError, SettingsError
from shared.files import NEW, read_document, write_document
from shared.model.network import initial_weights
from shared.paths import claimed
from shared.replay.contribution import PlainContribution
from shared.stage_archive import NO_TRANSIT, Moved
from shared.wire.headers import CenterCard, TestFigures, TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from tests.conftest import ROOT
from tests.server.test_results import ORDER, crop, figures_of, journal_of
from tests.support.scored import case_score


@pytest.fixture
def settings(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "seed": 7})


def visit_of(journal: Journal, settings: Settings) -> tuple[TrainRequest, TrainReply]:
    """The training that comes next: its model follows from its number."""
    index = journal.trained
    weights = initial_weights(settings.network, index)
    center = journal.order[index % len(journal.order)]
    task = TrainTask(run=journal.facts.run, stage=index, center=center, contribute=True)
    return TrainRequest(task, weights, ()), TrainReply(weights, PlainContribution((crop(center),)), figures_of())


def scores_of(index: int, center: str) -> TestFigures:
    """Scores that tell from which stage and center they are."""
    dice = (1 + index + 0.1 * ORDER.index(center)) / 1000
    case = case_score("t0", "T2w", dice=dice)
    return TestFigures(center=center, cases=(case,), seconds=0.5)


def content(journal: Journal) -> dict[str, Any]:
    """All that a journal says, arrays by their bytes."""
    course = plan_course(journal.order, Settings.from_run_config(journal.facts.settings).run)
    return {
        "facts": journal.facts,
        "attempts": journal.attempts,
        "records": journal.records(course),
        "rows": [journal.row(index) for index in range(journal.trained)],
        "weights": [
            {name: (str(value.dtype), value.numpy().tobytes()) for name, value in journal.weights(index).items()}
            for index in range(journal.trained)
        ],
        "memory": [(c.document, {k: v.tobytes() for k, v in c.payloads.items()}) for c in journal.memory()],
    }


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path: Path, at: int = -20) -> None:
    """Change one bit."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


# What was written is there


def test_a_journal_opened_again_says_the_same(tmp_path: Path, settings: Settings) -> None:
    written = journal_of(tmp_path, settings, without=(1, "milan"))
    opened = Journal.open(tmp_path)
    assert content(opened) == content(written)
    assert opened.damaged == []
    assert opened.trained == 3
    for index in range(3):
        expected = initial_weights(settings.network, index)
        assert all(torch.equal(value, expected[name]) for name, value in opened.weights(index).items())
    assert tuple(contribution.center for contribution in opened.memory()) == ORDER
    assert opened.row(1).missing == {"milan": "was switched off"}


def test_an_unfinished_journal_knows_what_comes_next(tmp_path: Path, settings: Settings) -> None:
    course = plan_course(ORDER, settings.run)
    journal = Journal.create(tmp_path, settings, ORDER, {c: card(c) for c in ORDER})
    assert Journal.open(tmp_path).where(course) == "stage 1/3: training at ucsf"
    journal.add_visit(*visit_of(journal, settings), settings, NO_TRANSIT)
    assert Journal.open(tmp_path).untested(course[0]) == ORDER
    journal.add_tests(0, scores_of(0, "amu"))
    assert Journal.open(tmp_path).where(course) == "stage 1/3: testing at ucsf, milan"
    journal.end_tests(0, {"ucsf": "was away"}, 1.0, Moved())
    journal.add_tests(0, scores_of(0, "milan"))
    assert Journal.open(tmp_path).where(course) == "stage 2/3: training at amu"


def untested(journal: Journal) -> list[tuple[str, ...]]:
    """Of each stage."""
    run = Settings.from_run_config(journal.facts.settings).run
    return [journal.untested(stage) for stage in plan_course(journal.order, run)]


def card(center: str, fingerprint: str = "f") -> CenterCard:
    return CenterCard(center=center, training_subjects=2, test_subjects=2, contrasts=("T2w",), fingerprint=fingerprint)


def test_a_center_that_is_asked_again_is_untested_again_and_its_scores_fill_the_gap(
    tmp_path: Path, settings: Settings
) -> None:
    journal_of(tmp_path, settings, without=(1, "milan"))
    journal = Journal.open(tmp_path)
    assert journal.ask_again("amu") == 0
    assert journal.ask_again("milan") == 1
    again = Journal.open(tmp_path)
    assert untested(again) == [(), ("milan",), ()]
    again.add_tests(1, scores_of(1, "milan"))
    assert Journal.open(tmp_path).row(1).missing == {}


def test_a_score_takes_the_place_of_its_absence(tmp_path: Path, settings: Settings) -> None:
    journal = journal_of(tmp_path, settings, without=(1, "milan"))
    journal.add_tests(1, scores_of(1, "milan"))
    assert Journal.open(tmp_path).row(1).missing == {}


def test_an_attempt_that_ended_without_a_word_has_no_end(tmp_path: Path, settings: Settings) -> None:
    journal = journal_of(tmp_path, settings)
    journal.add_attempt(6, "stage 2/3: training at amu", versions())
    first, last = Journal.open(tmp_path).attempts
    assert first.ended and first.reason is None
    assert last.ended is None and last.begins == "stage 2/3: training at amu"


# What is damaged is noticed, named and kept

STAGE_FILES = ["visit.json", "model.safetensors", "exemplars.safetensors"]


@pytest.mark.parametrize("name", STAGE_FILES)
@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize(
    "damage",
    [flip, lambda path: path.unlink(), lambda path: os.truncate(path, 30), lambda path: os.truncate(path, 0)],
    ids=["bit", "missing", "truncated", "empty"],
)
def test_a_damaged_stage_is_set_aside_with_what_built_on_it(
    tmp_path: Path, settings: Settings, stage: int, name: str, damage: Callable[[Path], None]
) -> None:
    before = content(journal_of(tmp_path, settings))
    folder = tmp_path / "journal"
    damage(folder / f"stage-{stage:03d}" / name)
    left = files_in(folder)
    journal = Journal.open(tmp_path)
    assert journal.trained == stage
    after = content(journal)
    assert after["weights"] == before["weights"][:stage]
    assert after["records"] == before["records"][:stage]
    assert after["memory"] == before["memory"][:stage]
    (said,) = journal.damaged
    assert str(folder / f"stage-{stage:03d}" / name) in said
    assert f"stage {stage + 1} is trained again" in said
    assert sorted(files_in(folder).values()) == sorted(left.values()), "nothing is deleted"
    aside = sorted(path.name for path in folder.glob("damaged-*"))
    assert [path.rpartition("-stage-")[2] for path in aside] == [f"{index:03d}" for index in range(stage, 3)]


def test_what_was_set_aside_can_be_done_again(tmp_path: Path, settings: Settings) -> None:
    journal_of(tmp_path, settings)
    for _ in range(2):
        flip(tmp_path / "journal" / "stage-001" / "model.safetensors")
        journal = Journal.open(tmp_path)
        assert journal.trained == 1
        for _ in range(2):
            journal.add_visit(*visit_of(journal, settings), settings, NO_TRANSIT)
        assert Journal.open(tmp_path).trained == 3
        assert Journal.open(tmp_path).damaged == []
    assert len(list((tmp_path / "journal").glob("damaged-*"))) == 4


@pytest.mark.parametrize("stage", [0, 1])
def test_a_stage_that_is_missing_among_others_ends_the_journal_before_it(
    tmp_path: Path, settings: Settings, stage: int
) -> None:
    journal_of(tmp_path, settings)
    folder = tmp_path / "journal"
    (folder / f"stage-{stage:03d}").rename(tmp_path / "elsewhere")
    journal = Journal.open(tmp_path)
    assert journal.trained == stage
    (said,) = journal.damaged
    assert f"stage-{stage:03d} is missing" in said
    assert len(list(folder.glob("damaged-*"))) == 2 - stage


def test_a_stage_under_another_s_name_is_not_used(tmp_path: Path, settings: Settings) -> None:
    journal_of(tmp_path, settings)
    folder = tmp_path / "journal"
    (folder / "stage-001").rename(tmp_path / "elsewhere")
    (folder / "stage-002").rename(folder / "stage-001")
    journal = Journal.open(tmp_path)
    assert journal.trained == 1
    assert "holds stage 3" in journal.damaged[0]


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: os.truncate(path, 30),
        lambda path: path.write_text("[]"),
        lambda path: write_document(path, {"tests": {"amu": 3}}),
        lambda path: write_document(path, []),
    ],
    ids=["bit", "truncated", "list", "wrong", "wrong-kind"],
)
def test_the_model_of_a_damaged_row_is_tested_again(
    tmp_path: Path, settings: Settings, damage: Callable[[Path], None]
) -> None:
    journal_of(tmp_path, settings)
    path = tmp_path / "journal" / "stage-001" / "row.json"
    damage(path)
    journal = Journal.open(tmp_path)
    assert journal.trained == 3
    assert untested(journal) == [(), ORDER, ()]
    assert journal.row(1) == Row()
    (said,) = journal.damaged
    assert str(path) in said or "Row" in said
    assert "tested again" in said


@pytest.mark.parametrize(
    "damage",
    [flip, lambda path: path.write_bytes(b"\xff"), lambda path: write_document(path, [{"when": "today"}])],
    ids=["bit", "bytes", "wrong"],
)
def test_damaged_attempts_are_forgotten_aloud_and_nothing_else(
    tmp_path: Path, settings: Settings, damage: Callable[[Path], None]
) -> None:
    before = content(journal_of(tmp_path, settings))
    damage(tmp_path / "journal" / "attempts.json")
    journal = Journal.open(tmp_path)
    assert journal.attempts == []
    assert "earlier attempts are forgotten" in journal.damaged[0]
    assert content(journal) == before | {"attempts": []}
    journal.add_attempt(9, "here", versions())
    assert len(Journal.open(tmp_path).attempts) == 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "holds no journal of a run"),
        (flip, "does not match its checksum"),
        (lambda path: os.truncate(path, 40), "is damaged"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: path.write_bytes(os.urandom(64)), "is damaged"),
        (lambda path: path.write_text("{}"), "is damaged"),
        (lambda path: path.write_text("3"), "is damaged"),
        (lambda path: write_document(path, {}), "cannot be used"),
        (lambda path: write_document(path, []), "cannot be used"),
        (lambda path: write_document(path, read_document(path) | {"order": []}), "cannot be used"),
        (lambda path: write_document(path, read_document(path) | {"format": 99}), "use the version that wrote it"),
        (lambda path: (path.unlink(), path.mkdir()), "is damaged"),
    ],
    ids=[
        "missing",
        "bit",
        "truncated",
        "empty",
        "noise",
        "no-checksum",
        "number",
        "nothing",
        "list",
        "no-order",
        "format",
        "folder",
    ],
)
def test_a_first_page_that_cannot_be_used_is_one_clear_error_and_nothing_is_touched(
    tmp_path: Path, settings: Settings, damage: Callable[[Path], Any], said: str
) -> None:
    journal_of(tmp_path, settings)
    damage(tmp_path / "journal" / "run.json")
    left = files_in(tmp_path)
    with pytest.raises(ResultsError, match=said) as caught:
        Journal.open(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert files_in(tmp_path) == left


def test_a_folder_without_a_journal_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no journal of a run"):
        Journal.open(tmp_path)


def test_a_journal_is_never_begun_over_another(tmp_path: Path, settings: Settings) -> None:
    before = content(journal_of(tmp_path, settings))
    with pytest.raises(ResultsError, match="holds the journal of another run: choose a new folder"):
        Journal.create(tmp_path, settings, ORDER, {c: card(c) for c in ORDER})
    assert content(Journal.open(tmp_path)) == before


def test_what_an_interrupted_write_left_is_no_part_of_the_journal(tmp_path: Path, settings: Settings) -> None:
    before = content(journal_of(tmp_path, settings))
    folder = tmp_path / "journal"
    half = folder / f"{NEW}abc" / "stage-003"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    for where in (tmp_path, folder, folder / "stage-002"):
        (where / f"{NEW}def").write_text("half a document")
    assert content(Journal.open(tmp_path)) == before
    assert not list(tmp_path.rglob(f"{NEW}*")), "they take room, and nobody needs them"


# A disk that refuses


FULL = """
import resource, sys
from pathlib import Path
from server.journal.journal import Journal
from shared.stage_archive import NO_TRANSIT, Moved
from shared.config.settings import Settings
from tests.server.journal.test_journal import scores_of, visit_of

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


# Two at once


@contextmanager
def other_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has claimed the results folder."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom shared.paths import claimed\n"
        "with claimed(Path(sys.argv[1])):\n    print('claimed', flush=True)\n    sys.stdin.read()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdin and run.stdout
    with run:
        assert run.stdout.readline() == "claimed\n"
        yield run
        run.kill()


def test_a_results_folder_is_one_process_s_until_it_ends_however(tmp_path: Path) -> None:
    with other_run(tmp_path) as other:
        with pytest.raises(ResultsError, match="is in use by another run"), claimed(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with claimed(tmp_path):
            pass
    with claimed(tmp_path), pytest.raises(ResultsError, match="is in use by another run"), claimed(tmp_path):
        pass


# What must agree

OTHERWISE: dict[str, Any] = {
    "method": "finetune",
    "centers": "ucsf,amu",
    "order": "given",
    "carry": "encoder",
    "output-dir": "/elsewhere",
    "resume": True,
    "tracking": "tensorboard",
    "data-dir": "/elsewhere",
    "cache-dir": "/elsewhere",
    "contrasts": "T2w",
    "empty-labels": "keep",
    "activation": "normalised-relu",
    "loss": "dice-ce",
    "schedule": "constant",
    "device": "cpu",
    "replay-mode": "paper",
    "sealing": "on",
    "test-fraction": 0.25,
    "lesion-share": 0.25,
    "replay-share": 0.25,
    "window-overlap": 0.5,
    "decay-factor": 0.25,
    "ewc-decay": 0.5,
    "patch-size": 24,
    "memory-megabytes": 100.0,
}
"""Another value for each key; numbers that are not here may be doubled, or be one more."""


@pytest.mark.parametrize("key", Settings.keys())
def test_a_run_goes_on_under_other_circumstances_but_not_with_another_science(
    tmp_path: Path, run_config: dict[str, Any], key: str
) -> None:
    config = run_config | {"exemplar-mm": 256.0, "epochs": 1}
    settings = Settings.from_run_config(config)
    journal = Journal.create(tmp_path, settings, ORDER, {c: card(c) for c in ORDER})
    value = OTHERWISE.get(key, config[key] * 2 if isinstance(config[key], float) else None)
    value = config[key] + 1 if value is None else value
    changed = Settings.from_run_config(config | {key: value})
    journal.check_settings(settings)
    if key in CIRCUMSTANCES:
        journal.check_settings(changed)
        return
    with pytest.raises(SettingsError, match="was begun with other settings") as caught:
        journal.check_settings(changed)
    message = str(caught.value)
    assert f"{key} = {value!r} here, {config[key]!r} there" in message
    assert message.count(" here, ") == 1, "only what differs is named"
    assert str(tmp_path) in message and "start a new run" in message


def test_all_differences_are_named_at_once(tmp_path: Path, run_config: dict[str, Any]) -> None:
    settings = Settings.from_run_config(run_config)
    journal = Journal.create(tmp_path, settings, ORDER, {c: card(c) for c in ORDER})
    other = Settings.from_run_config(run_config | {"seed": 3, "steps": 5, "device": "cpu"})
    with pytest.raises(SettingsError) as caught:
        journal.check_settings(other)
    assert "seed = 3 here" in str(caught.value) and "steps = 5 here" in str(caught.value)
    assert "device" not in str(caught.value)


def test_a_center_with_other_subjects_than_before_stops_the_run(tmp_path: Path, settings: Settings) -> None:
    journal = journal_of(tmp_path, settings)
    journal.check_cards({c: card(c) for c in ORDER})
    with pytest.raises(CenterError, match="center amu has other subjects than when the run was begun"):
        journal.check_cards({"ucsf": card("ucsf"), "amu": card("amu", "changed")})


def test_what_a_new_center_says_of_itself_is_kept_and_must_stay_true(tmp_path: Path, settings: Settings) -> None:
    journal_of(tmp_path, settings).check_cards({"nih": card("nih")})
    journal = Journal.open(tmp_path)
    assert journal.facts.cards["nih"] == card("nih")
    with pytest.raises(CenterError, match="center nih has other subjects"):
        journal.check_cards({"nih": card("nih", "changed")})


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
from tests.server.journal.test_journal import write_on
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


def test_the_journal_is_read_by_anybody_who_reads_json(tmp_path: Path, settings: Settings) -> None:
    journal_of(tmp_path, settings)
    for path in (tmp_path / "journal").rglob("*.json"):
        document = json.loads(path.read_text())
        assert set(document) == {"sha256", "body"}

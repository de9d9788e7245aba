"""The journal: what was written is there, and a run goes on only as it was begun."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch

from server.journal.journal import Journal
from server.results import versions
from shared.config.settings import CIRCUMSTANCES, Settings
from shared.course import plan_course
from shared.errors import CenterError, ResultsError, SettingsError
from shared.model.network import initial_weights
from shared.protocol.plan import RunPlan
from shared.stage_archive import NO_TRANSIT, Moved
from tests.support.journals import ORDER, card, content, journal_of, scores_of, untested, visit_of

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
    journal = Journal.create(tmp_path, RunPlan(uuid4().hex, settings, ORDER, {}), {c: card(c) for c in ORDER})
    assert Journal.open(tmp_path).where(course) == "stage 1/3: training at ucsf"
    journal.add_visit(*visit_of(journal, settings), settings, NO_TRANSIT)
    assert Journal.open(tmp_path).untested(course[0]) == ORDER
    journal.add_tests(0, scores_of(0, "amu"))
    assert Journal.open(tmp_path).where(course) == "stage 1/3: testing at ucsf, milan"
    journal.end_tests(0, {"ucsf": "was away"}, 1.0, Moved())
    journal.add_tests(0, scores_of(0, "milan"))
    assert Journal.open(tmp_path).where(course) == "stage 2/3: training at amu"


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


def test_a_journal_is_never_begun_over_another(tmp_path: Path, settings: Settings) -> None:
    before = content(journal_of(tmp_path, settings))
    with pytest.raises(ResultsError, match="holds the journal of another run: choose a new folder"):
        Journal.create(tmp_path, RunPlan(uuid4().hex, settings, ORDER, {}), {c: card(c) for c in ORDER})
    assert content(Journal.open(tmp_path)) == before


# What must agree

OTHERWISE: dict[str, Any] = {
    "method": "finetune",
    "centers": "ucsf,amu",
    "evaluators": "bwh",
    "order": "given",
    "carry": "encoder",
    "output-dir": "/elsewhere",
    "resume": True,
    "tracking": "tensorboard",
    "data-dir": "/elsewhere",
    "protocol": "/elsewhere/protocol.json",
    "start": "/elsewhere/model.safetensors",
    "start-digest": "a" * 64,
    "cache-dir": "/elsewhere",
    "contrasts": "T2w",
    "empty-labels": "keep",
    "activation": "normalised-relu",
    "loss": "dice",
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
    "mas-decay": 0.5,
    "patch-size": 24,
    "untested-centers": "train",
    "norm": "instance",
    "dice-over": "batch",
    "optimiser": "adamw",
    "replay-deal": "centers",
    "exemplar-choice": "lesion-aware",
    "memory-megabytes": 100.0,
    "lesion-weight": 1.0,
    "augment": "all",
}
"""Another value for each key; numbers that are not here may be doubled, or be one more."""


@pytest.mark.parametrize("key", Settings.keys())
def test_a_run_goes_on_under_other_circumstances_but_not_with_another_science(
    tmp_path: Path, run_config: dict[str, Any], key: str
) -> None:
    config = run_config | {"exemplar-mm": 256.0, "epochs": 1}
    if key == "activation":
        config["loss"] = "dice"  # which goes with both
    settings = Settings.from_run_config(config)
    journal = Journal.create(tmp_path, RunPlan(uuid4().hex, settings, ORDER, {}), {c: card(c) for c in ORDER})
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
    journal = Journal.create(tmp_path, RunPlan(uuid4().hex, settings, ORDER, {}), {c: card(c) for c in ORDER})
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


def test_the_journal_is_read_by_anybody_who_reads_json(tmp_path: Path, settings: Settings) -> None:
    journal_of(tmp_path, settings)
    for path in (tmp_path / "journal").rglob("*.json"):
        document = json.loads(path.read_text())
        assert set(document) == {"sha256", "body"}

"""A study's runs on disk: places, commands, and what is left to do."""

import tomllib
from pathlib import Path

import pytest

from scenarios.runner.resume import HowLaunched
from scenarios.study.plan import Wish, new_plan
from scenarios.study.run_folder import Attempt, CellFolder
from shared.clock import utc_now
from shared.errors import ResultsError
from tests.conftest import ROOT

CELL = new_plan(Wish(scenario=ROOT / "scenarios" / "smoke.toml", methods=("replay",)), 1, utc_now).cells()[1]


def test_a_new_run_begins_and_one_that_was_begun_is_resumed(tmp_path: Path) -> None:
    place = CellFolder(tmp_path, CELL.name)
    assert place.state == "new"
    begin = ["run", str(place.scenario), "--output", str(place.run), "--cpus", "2", "--cores", "3"]
    assert place.command(2, 3, None)[4:] == begin
    assert place.command(2, 3, 0.5)[-2:] == ["--gpus", "0.5"]
    place.run.mkdir(parents=True)
    assert place.state == "new", "an empty folder is nothing yet"
    HowLaunched(run_config={}).save(place.run)
    assert place.state == "begun"
    assert place.command(2, 3, None)[4:] == ["resume", str(place.run)]
    (place.run / "results.json").touch()
    assert place.state == "finished"


def test_its_scenario_is_one_that_can_be_run_alone(tmp_path: Path) -> None:
    place = CellFolder(tmp_path, CELL.name)
    place.prepare(CELL)
    assert tomllib.loads(place.scenario.read_text()) == CELL.settings.to_run_config()
    assert CELL.name == "replay-descending-seed1" and CELL.settings.run.seed == 1


def test_attempts_are_noted(tmp_path: Path) -> None:
    place = CellFolder(tmp_path, CELL.name)
    assert place.read_record().attempts == ()
    place.prepare(CELL)
    attempt = Attempt(started="2026-01-02T03:04:05+00:00", seconds=3.5, peak_mb=900.0, code=0)
    place.note([attempt])
    assert place.read_record().attempts == (attempt,)
    (tmp_path / "cells" / f"{CELL.name}.json").write_text("{")
    assert place.read_record().attempts == (), "times alone are lost"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for study in (tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(ResultsError, match=f"study folder {study} cannot be written"):
            CellFolder(study, CELL.name).prepare(CELL)

"""Going on with a run: what is left of it, what may change, and how it grows by a hospital."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scenarios.runner.resume import Continuation, HowLaunched, plan_evaluation, plan_extension, plan_resume
from server.journal.journal import Journal
from server.results import write_results
from shared.config.settings import CIRCUMSTANCES, Settings
from shared.course import plan_course
from shared.errors import ResultsError, SettingsError, WardroundError
from shared.paths import LOCK, claimed
from shared.stage_archive import Moved
from tests.support.journals import ORDER, content, files_in, journal_of, of_method, scores_of
from tests.support.processes import other_run


@pytest.fixture
def settings(run_config: dict[str, Any], tmp_path: Path) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "seed": 7, "cache-dir": str(tmp_path / "cache")})


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """A finished run whose score of amu after stage 2 is missing."""
    return finished(tmp_path / "run", settings, without=(1, "amu"))


def finished(folder: Path, settings: Settings, **how: Any) -> Path:
    folder.mkdir()
    write_results(folder, settings, plan_course(ORDER, settings.run), journal_of(folder, settings, **how))
    launched(folder, settings).save(folder)
    return folder


def launched(folder: Path, settings: Settings) -> HowLaunched:
    return HowLaunched(run_config=settings.to_run_config() | {"output-dir": str(folder)}, supernodes=2, cpus=3)


def nothing(settings: Settings, launched: HowLaunched) -> None:
    """All hospitals have their data."""


def extension(folder: Path, center: str, output: Path) -> Continuation:
    return plan_extension(folder, center, output, nothing)


def lasting(folder: Path) -> dict[str, bytes]:
    """A folder's files, but for its lock."""
    return {name: raw for name, raw in files_in(folder).items() if not name.endswith(LOCK)}


PLANS: dict[str, Callable[[Path], Continuation]] = {
    "resume": lambda folder: plan_resume(folder, []),
    "evaluate": lambda folder: plan_evaluation(folder, "amu"),
    "extend": lambda folder: extension(folder, "nih", folder.parent / "longer"),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def test_an_evaluator_is_asked_again_and_cannot_join(tmp_path: Path, settings: Settings) -> None:
    run = settings.run.model_copy(update={"evaluators": ("nih",)})
    folder = finished(tmp_path / "run", settings.model_copy(update={"run": run}))
    assert plan_evaluation(folder, "nih").remains == "stage 1/3: testing at nih"
    for stage in range(3):
        Journal.open(folder).end_tests(stage, {"nih": "was not there"}, 0.0, Moved())
    assert plan_resume(folder, []).remains == ""
    with pytest.raises(SettingsError, match=r"nih is an evaluator of the run in .*: begin a new run with it in cent"):
        extension(folder, "nih", tmp_path / "longer")
    with pytest.raises(SettingsError, match=r"karo is no center of the run .*: its are ucsf, amu, milan, nih"):
        plan_evaluation(folder, "karo")
    assert plan_evaluation(folder, "nih").remains == "stage 1/3: testing at nih"


# Resume


def test_a_finished_run_has_nothing_left(folder: Path) -> None:
    before = lasting(folder)
    going = plan_resume(folder, [])
    assert (going.folder, going.remains, going.damaged) == (folder, "", ())
    assert lasting(folder) == before


def test_an_unfinished_run_goes_on_where_it_stopped(folder: Path, settings: Settings) -> None:
    (folder / "journal" / "stage-002").rename(folder / "elsewhere")
    going = plan_resume(folder, [])
    assert going.remains == "stage 3/3: training at milan"
    assert going.settings.run.resume and going.settings.run.output_dir == str(folder)
    assert going.settings.changes_of_science(settings) == []
    assert going.launched == launched(folder, settings)


def test_a_run_without_its_results_writes_them(folder: Path) -> None:
    (folder / "results.json").unlink()
    assert plan_resume(folder, []).remains == "writing the results"


def test_results_of_an_earlier_version_are_written_again(folder: Path) -> None:
    earlier = json.loads((folder / "results.json").read_text())
    del earlier["version"]
    (folder / "results.json").write_text(json.dumps(earlier))
    assert plan_resume(folder, []).remains == "writing the results"
    (folder / "results.json").write_text(json.dumps(earlier | {"version": 99}))
    assert plan_resume(folder, []).remains == "", "what a later version wrote is left alone"


def test_a_damaged_stage_is_reported_and_done_again(folder: Path) -> None:
    path = folder / "journal" / "stage-001" / "model.safetensors"
    os.truncate(path, 10)
    going = plan_resume(folder, [])
    assert going.remains == "stage 2/3: training at amu"
    (said,) = going.damaged
    assert str(path) in said


def test_a_run_that_was_moved_goes_on_where_it_lies(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "moved")
    (moved / "results.json").unlink()
    assert plan_resume(moved, []).settings.run.output_dir == str(moved)


def test_a_folder_may_be_given_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert plan_resume(Path("run"), []).folder == folder


@pytest.mark.parametrize(
    "change", ["wait-seconds=5", "patience-minutes=0", "device=cpu", "data-dir=/data", "checkpoint-seconds=1"]
)
def test_circumstances_may_change(folder: Path, change: str) -> None:
    key, _, value = change.partition("=")
    assert key in CIRCUMSTANCES
    changed = plan_resume(folder, [change]).settings.to_run_config()[key]
    assert str(changed).removesuffix(".0") == value


def test_a_change_of_science_is_refused_and_shown(folder: Path) -> None:
    before = lasting(folder)
    with pytest.raises(SettingsError, match="seed = 8 here, 7 there") as caught:
        plan_resume(folder, ["wait-seconds=5", "seed=8", "steps=9"])
    assert "steps = 9 here, 8 there" in str(caught.value) and "wait-seconds" not in str(caught.value)
    assert lasting(folder) == before


def test_a_run_of_flower_s_own_command_goes_on_by_default(folder: Path) -> None:
    (folder / "launch.json").unlink()
    going = plan_resume(folder, [])
    assert (going.launched.supernodes, going.launched.cpus, going.launched.superlink) == (None, 2, None)


def test_a_run_interrupted_before_its_first_stage_begins_anew(tmp_path: Path, settings: Settings) -> None:
    launched(tmp_path, settings).save(tmp_path)
    going = plan_resume(tmp_path, ["device=cpu"])
    assert going.remains == "the roll call: it was interrupted before its first stage"
    assert not going.settings.run.resume and going.settings.run.output_dir == str(tmp_path)
    assert going.settings.training.device == "cpu"
    with pytest.raises(SettingsError, match="seed = 8 here, 7 there"):
        plan_resume(tmp_path, ["seed=8"])


# What cannot go on


@every_plan
def test_a_folder_that_is_none(tmp_path: Path, plan: Callable[[Path], Continuation]) -> None:
    with pytest.raises(ResultsError, match="is no folder: give the results folder of a run"):
        plan(tmp_path / "nowhere")


@every_plan
def test_a_folder_without_a_run(tmp_path: Path, plan: Callable[[Path], Continuation]) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").touch()
    with pytest.raises(ResultsError, match=r"holds no (journal of a )?run"):
        plan(tmp_path / "holiday")
    assert not (tmp_path / "longer").exists()


@every_plan
def test_a_run_that_another_process_has(folder: Path, plan: Callable[[Path], Continuation]) -> None:
    before = lasting(folder)
    with claimed(folder), pytest.raises(ResultsError, match="is in use by another run"):
        plan(folder)
    assert lasting(folder) == before
    assert not (folder.parent / "longer").exists()
    plan(folder)


def test_a_run_that_another_real_process_has(folder: Path) -> None:
    with other_run(folder):
        for plan in PLANS.values():
            with pytest.raises(ResultsError, match="is in use by another run"):
                plan(folder)


@pytest.mark.parametrize("raw", ["", "{", '{"sha256": "0", "body": {}}', "[]"])
@every_plan
def test_a_damaged_note_of_the_launch_is_named_with_the_mend(
    folder: Path, plan: Callable[[Path], Continuation], raw: str
) -> None:
    (folder / "launch.json").write_text(raw)
    with pytest.raises(ResultsError, match=r"launch.json cannot be used .*: delete it, then defaults are used"):
        plan(folder)
    (folder / "launch.json").unlink()
    plan_resume(folder, [])


# Evaluate


def test_a_missing_score_is_asked_for_again(folder: Path) -> None:
    assert plan_evaluation(folder, "amu").remains == "stage 2/3: testing at amu"
    assert plan_evaluation(folder, "amu").remains == "stage 2/3: testing at amu", "and once more, if that was cut off"


def test_where_no_score_is_missing_nothing_remains(folder: Path) -> None:
    before = lasting(folder)
    assert plan_evaluation(folder, "ucsf").remains == ""
    assert lasting(folder) == before


def test_a_center_that_is_none_of_the_run_s_has_no_scores(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"nih is no center of the run in .*: its are ucsf, amu, milan"):
        plan_evaluation(folder, "nih")


def test_an_unfinished_run_is_resumed_first(folder: Path) -> None:
    (folder / "journal" / "stage-002").rename(folder / "elsewhere")
    for plan in (PLANS["evaluate"], PLANS["extend"]):
        with pytest.raises(ResultsError, match=r"is not finished \(stage 3/3: training at milan\): first wardround"):
            plan(folder)
    assert Journal.open(folder).row(1).missing == {"amu": "was switched off"}, "nothing was asked again"


# Extend


def test_an_extended_run_begins_as_the_other_ended(folder: Path, settings: Settings) -> None:
    parent, before = Journal.open(folder), lasting(folder)
    output = folder.parent / "longer"
    going = extension(folder, "nih", output)
    assert lasting(folder) == before, "the other stays as it is"
    journal = Journal.open(output)
    assert journal.damaged == []
    assert journal.order == (*ORDER, "nih")
    assert journal.facts.run != parent.facts.run
    assert journal.facts.parent is not None
    assert journal.facts.parent.model_dump() == {"folder": str(folder), "run": parent.facts.run, "centers": 3}
    assert journal.facts.cards == parent.facts.cards
    assert journal.attempts == []
    assert content(journal)["weights"] == content(parent)["weights"], "to the last bit"
    assert content(journal)["memory"] == content(parent)["memory"]
    assert content(journal)["rows"] == content(parent)["rows"]
    assert (going.folder, going.remains) == (output, "stage 1/4: testing at nih")
    assert going.settings.run.centers == (*ORDER, "nih") and going.settings.run.order == "given"
    changed = {change.partition(" ")[0] for change in going.settings.changes_of_science(settings)}
    assert changed == {"centers", "order"}
    assert (going.launched.supernodes, going.launched.cpus) == (None, 3)


def test_what_is_added_to_an_extended_run_is_not_added_to_the_other(folder: Path) -> None:
    extension(folder, "nih", folder.parent / "longer")
    before = content(Journal.open(folder))
    longer = Journal.open(folder.parent / "longer")
    longer.ask_again("amu")
    longer.add_tests(1, scores_of(1, "amu"))
    assert content(Journal.open(folder)) == before
    assert Journal.open(folder.parent / "longer").row(1).tests["amu"] == scores_of(1, "amu")


def test_an_extended_run_lasts_without_the_other(folder: Path, tmp_path: Path) -> None:
    extension(folder, "nih", tmp_path / "longer")
    before = content(Journal.open(tmp_path / "longer"))
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert content(Journal.open(tmp_path / "longer")) == before


@pytest.mark.parametrize("center", ORDER)
def test_a_center_of_the_run_cannot_join_it(folder: Path, center: str) -> None:
    with pytest.raises(SettingsError, match=f"{center} is a center of the run in .* already"):
        extension(folder, center, folder.parent / "longer")


@pytest.mark.parametrize("center", ["new york", "../nih", "nih;bwh"])
def test_a_name_that_is_none_cannot_join(folder: Path, center: str) -> None:
    with pytest.raises(SettingsError, match="is no center name"):
        extension(folder, center, folder.parent / "longer")
    assert not (folder.parent / "longer").exists()


def test_a_pooled_run_cannot_be_extended(tmp_path: Path, settings: Settings) -> None:
    folder = finished(tmp_path / "run", of_method(settings, "pooled"))
    with pytest.raises(SettingsError, match="a pooled run cannot be extended"):
        extension(folder, "nih", tmp_path / "longer")


def test_an_extension_never_overwrites(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "longer").mkdir()
    (tmp_path / "longer" / "precious").touch()
    for output in (tmp_path / "longer", folder):
        before = lasting(output)
        with pytest.raises(ResultsError, match="is not empty"):
            extension(folder, "nih", output)
        assert lasting(output) == before


def test_an_extension_below_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ResultsError, match="is not writable"):
            extension(folder, "nih", output)


def test_a_hospital_without_data_does_not_leave_half_an_extension(folder: Path, tmp_path: Path) -> None:
    def prepare(settings: Settings, launched: HowLaunched) -> None:
        assert settings.run.centers[-1] == "nih" and launched.cpus == 3
        raise WardroundError("nih has no data")

    with pytest.raises(WardroundError, match="nih has no data"):
        plan_extension(folder, "nih", tmp_path / "longer", prepare)
    assert not (tmp_path / "longer").exists()
    extension(folder, "nih", tmp_path / "longer")

"""`results.json`: written and read by one schema, with a version that its keys are pinned to."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import ResultsError
from shared.results import VERSION, ImageScores, RunResults, is_outdated, read_results
from tests.support.results import make_history, make_results, make_stage

KEYS = {
    "RunResults": (
        "version method order seed R acc evaluators R_evaluators acc_evaluators learning_accuracy bwt bwt_per_center "
        "bwt_over_k bwt_of_learnt forgetting not_learnt not_asked missing "
        "settings versions stages test_scores mean_scores notes history passed_over withdrawn"
    ),
    "StageResult": (
        "stage center steps restarts final_loss training_subjects training_seconds compute_seconds evaluating_seconds "
        "transit_seconds sent_bytes received_bytes tests_asked tests_sent_bytes tests_received_bytes memory_exemplars "
        "memory_bytes state_bytes set_aside test_set_aside rounds"
    ),
    "RoundResult": "round transit_seconds sent_bytes received_bytes final_loss centers",
    "TrainedCenter": "steps final_loss training_subjects training_seconds compute_seconds",
    "ImageScores": "stage center subject contrast",
    "CenterScores": "stage center subjects images",
    "MissingTest": "stage center reason",
    "PassedOver": "center contrast reason count",
    "RunHistory": "run extends attempts interruptions",
    "RunAttempt": "started flower_run begins versions ended reason",
    "Interruption": "at stopped reason resumed",
    "ExtendedRun": "folder run centers",
}
"""Of version 4. Scores stand beside the keys of `ImageScores` and `CenterScores`, by any name."""

R = [[0.6, 0.2], [None, 1 / 3]]


def write(folder: Path, document: Any) -> Path:
    (folder / "results.json").write_text(json.dumps(document))
    return folder


def whole() -> dict[str, Any]:
    return make_results(("here", "there"), R).model_dump(mode="json")


def test_the_keys_are_those_of_this_version() -> None:
    """Where this fails: raise `VERSION`, let `of_this_version` read the earlier files, and pin the new keys here."""
    schema = RunResults.model_json_schema()
    parts = {"RunResults": schema, **schema["$defs"]}
    assert VERSION == 4
    pinned = {name: set(keys.split()) for name, keys in KEYS.items()}
    assert {name: set(part["properties"]) for name, part in parts.items()} == pinned
    scored = {"ImageScores", "CenterScores"}
    assert all(part["additionalProperties"] is False for name, part in parts.items() if name not in scored)
    required = {name: set(part["required"]) for name, part in parts.items()}
    required["RunResults"].add("version")  # a file without one is not read
    assert required == pinned, "every key is always written"


def test_a_file_of_version_1_is_read(tmp_path: Path) -> None:
    """Written by the first Wardround that had a version; every later one reads it."""
    kept = Path(__file__).with_name("results_version_1.json")
    (tmp_path / "results.json").write_bytes(kept.read_bytes())
    results = read_results(tmp_path)
    assert (results.method, results.order, results.seed) == ("replay", ("ucsf", "amu", "milan"), 7)
    assert results.acc == pytest.approx((0.4 + 0.65 + 0.8) / 3)
    assert results.R[1][1] is None and results.missing[0].center == "amu"
    assert [image.dice for image in results.final_images] == pytest.approx([0.3, 0.5, 0.55, 0.75, 0.7, 0.9])
    assert results.stages[0].moved_bytes == 400 + 200 + 900 + 30


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    image = ImageScores(stage=1, center="there", subject="s", contrast="FLAIR", dice=0.1 + 0.2, a_score_of_later=-1.5)
    changes = {
        "acc": 0.1 + 0.2,
        "test_scores": (image,),
        "settings": {"seed": 0, "learning-rate": 4e-3, "resume": False, "data-dir": ""},
        "stages": (make_stage(0, set_aside={"cannot be read": 1}), make_stage(1, "there")),
    }
    results = make_results(("here", "there"), R, **changes)
    (tmp_path / "results.json").write_bytes(results.to_json())
    again = read_results(tmp_path)
    assert again == results and again.to_json() == results.to_json()
    assert [type(value) for value in again.settings.values()] == [int, float, bool, str]
    assert again.test_scores[0].scores == {"dice": 0.1 + 0.2, "a_score_of_later": -1.5}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_never_written(number: float) -> None:
    for changes in ({"bwt": number}, {"R": [[number, 0.2], [0.1, 0.5]]}):
        with pytest.raises(ValidationError):
            make_results(("here", "there"), R, **changes)
    with pytest.raises(ValidationError):
        make_stage(final_loss=number)
    with pytest.raises(ValidationError):
        ImageScores(stage=0, center="here", subject="s", contrast="T2w", dice=0.5, hd95_mm=number)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"more": 1}, "more: Extra inputs"),
        ({"R": [[0.6, 0.2]]}, "R has 1 rows, but there are 2 stages"),
        ({"R": [[0.6], [0.2]]}, "R must have 2 columns"),
        ({"R": [[0.6, 1.2], [0.2, 0.1]]}, "R.0.1"),
        ({"order": []}, "order"),
        ({"missing": [{"stage": 0, "center": "here"}]}, "missing.0.reason"),
        ({"test_scores": [{"stage": 0, "center": "here", "subject": "s", "contrast": "T2w"}]}, "dice, a number"),
        ({"history": make_history().model_dump() | {"attempts": [{"started": "now"}]}}, "history.attempts.0.started"),
        ({"version": None}, "version"),
    ],
)
def test_a_damaged_file_is_one_line_that_says_where(tmp_path: Path, changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ResultsError) as caught:
        read_results(write(tmp_path, whole() | changes))
    said = str(caught.value)
    assert "\n" not in said and where in said
    assert f"{tmp_path / 'results.json'} " in said
    assert not is_outdated(tmp_path)


def of_version(version: int) -> dict[str, Any]:
    """The whole file, but for the pseudonyms that stood there until version 4 counted."""
    document = whole() | {"version": version}
    for stage in document["stages"]:
        stage["set_aside"] = {f"{place:016x}": reason for place, reason in enumerate(stage["set_aside"])}
    return document


def test_a_file_of_version_3_is_read_as_one_that_counts(tmp_path: Path) -> None:
    document = of_version(3)
    document["passed_over"] = [
        {"center": "here", "subject": s * 16, "contrast": "FLAIR", "reason": "cannot be read"} for s in "ab"
    ]
    document["stages"][0]["test_set_aside"] = {"here": {"a" * 16: "has no label", "b" * 16: "has no label"}}
    found = read_results(write(tmp_path, document))
    assert [one.model_dump() for one in found.passed_over] == [
        {"center": "here", "contrast": "FLAIR", "reason": "cannot be read", "count": 2}
    ]
    assert found.stages[0].set_aside == whole()["stages"][0]["set_aside"]
    assert found.stages[0].test_set_aside == {"here": {"has no label": 2}}


def test_a_file_of_version_1_is_read_as_one_in_which_nobody_was_asked_what_is_passed_over(tmp_path: Path) -> None:
    document = of_version(1) | {"R": [[0.05, 0.2], [0.6, 1 / 3]], "bwt": 0.55}
    for key in ("passed_over", "not_learnt", "bwt_of_learnt"):
        del document[key]
    found = read_results(write(tmp_path, document))
    assert (found.passed_over, found.not_learnt, found.bwt_of_learnt) == ((), ("here",), None)
    assert not is_outdated(tmp_path)


def test_a_file_of_version_2_is_read_as_one_in_which_no_stage_began_again(tmp_path: Path) -> None:
    document = of_version(2)
    for stage in document["stages"]:
        del stage["restarts"]
    found = read_results(write(tmp_path, document))
    assert found == read_results(write(tmp_path, whole()))
    assert [stage.restarts for stage in found.stages] == [0, 0]


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_from_before_there_were_evaluators_is_read_as_one_without(tmp_path: Path, version: int) -> None:
    document = of_version(version)
    for key in ("evaluators", "R_evaluators", "acc_evaluators"):
        del document[key]
    found = read_results(write(tmp_path, document))
    assert (found.evaluators, found.R_evaluators, found.acc_evaluators) == ((), ((), ()), None)
    assert found.R == ((0.6, 0.2), (None, 1 / 3))


def test_the_evaluators_scores_have_a_row_a_stage_and_a_column_an_evaluator() -> None:
    make_results(("here", "there"), R, evaluators=("far",), R_evaluators=((0.5,), (None,)))
    for rows in (((0.5,),), ((0.5, 0.5), (0.5, 0.5))):
        with pytest.raises(ValidationError, match="R_evaluators must have 1 columns, and as many rows as R"):
            make_results(("here", "there"), R, evaluators=("far",), R_evaluators=rows)


def earlier() -> dict[str, Any]:
    document = whole()
    del document["version"]
    return document


def test_a_file_without_a_version_says_how_it_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "run.json").touch()
    with pytest.raises(ResultsError) as caught:
        read_results(write(tmp_path, earlier()))
    assert str(caught.value) == (
        f"{tmp_path / 'results.json'} was written by an earlier Wardround (0.1.0) without a version, and this one "
        f"reads version 4: 'wardround resume {tmp_path}' writes it again from the run's journal"
    )
    assert is_outdated(tmp_path)


def test_without_its_journal_the_version_that_wrote_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"without a version.*is not in .*: use the version that wrote it"):
        read_results(write(tmp_path, earlier() | {"versions": 3}))


def test_a_file_of_a_later_version_says_which_and_who_wrote_it(tmp_path: Path) -> None:
    later = whole() | {"version": 7, "versions": {"wardround": "3.1"}, "more": {}}
    with pytest.raises(ResultsError) as caught:
        read_results(write(tmp_path, later))
    assert str(caught.value) == (
        f"{tmp_path / 'results.json'} has version 7 (written by Wardround 3.1), and this one reads version 4: "
        "use the Wardround that wrote it"
    )
    assert not is_outdated(tmp_path), "a run that resumes does not write over it"

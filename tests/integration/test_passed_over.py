"""Whole runs over data as hospitals have it: whoever takes no part is named, and nobody's test is lost in silence."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scenarios.report.case_scores import read_details
from scenarios.results.runs import study_of_runs
from scenarios.runner.resume import plan_resume
from scenarios.runner.summary import describe
from server.journal.journal import Journal
from shared.errors import CenterError
from shared.result_notes import passed_over_lines
from shared.results import read_results
from tests.support.cut_runs import CENTERS, cut_off, go_on, start
from tests.support.datasets import write_dataset

SUBJECTS = ("sub-a", "sub-b", "sub-c", "sub-d", "sub-e")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, center in enumerate(CENTERS):
        write_dataset(tmp_path / "data" / center, SUBJECTS, ("FLAIR",), voxel=6.0, first=10 * number)
    return tmp_path / "data"


@pytest.fixture
def over(config: dict[str, Any], data: Path, tmp_path: Path) -> dict[str, Any]:
    """A run over these data sets."""
    return config | {"data-dir": str(data), "cache-dir": str(tmp_path / "cache"), "contrasts": "FLAIR"}


def image(data: Path, center: str, subject: str) -> Path:
    return data / center / subject / "anat" / f"{subject}_FLAIR.nii.gz"


def label(data: Path, center: str, subject: str) -> Path:
    (found,) = (data / center).glob(f"derivatives/*/{subject}/anat/*.nii.gz")
    return found


def test_everything_passed_over_is_in_the_output_the_results_the_summary_and_the_report(
    over: dict[str, Any], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label(data, "milan", "sub-a").unlink()
    image(data, "milan", "sub-b").write_bytes(b"")
    image(data, "ucsf", "sub-c").write_bytes(image(data, "ucsf", "sub-d").read_bytes())
    start(over, tmp_path / "run")
    results = read_results(tmp_path / "run")
    lines = [
        "milan passes over 1 FLAIR image: it cannot be read",
        "milan passes over 1 FLAIR image: it has no image with a label",
        "ucsf passes over 2 FLAIR images: each has an image that another subject has, too",
    ]
    assert passed_over_lines(results.passed_over) == lines
    assert sum(one.count for one in results.passed_over) == 4
    said, summary = capsys.readouterr().out, describe(results, tmp_path / "run")
    notes = read_details(study_of_runs([tmp_path / "run"], datetime.now(UTC)), tmp_path).notes
    for line in lines:
        assert line in said and f"NOTE {line}" in summary and any(line in note for note in notes)
    assert all(cell is not None for row in results.R for cell in row), "every center has a subject to test on"
    assert not any(stage.set_aside or stage.test_set_aside for stage in results.stages)


def test_a_center_that_is_left_without_a_test_subject_ends_the_run_before_it_begins(
    over: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    for subject in SUBJECTS[1:]:
        image(data, "ucsf", subject).write_bytes(b"")
    with pytest.raises(CenterError, match=r"center ucsf has no subject to test on \(it has 1 usable subject; 4 were"):
        start(over, tmp_path / "run")
    start(over | {"untested-centers": "train"}, tmp_path / "wanted")
    results = read_results(tmp_path / "wanted")
    column = results.order.index("ucsf")
    assert all(row[column] is None for row in results.R)
    assert {cell.reason for cell in results.missing} == {
        "has no subject to test on (it has 1 usable subject; 4 were passed over)"
    }
    assert [stage.training_subjects for stage in results.stages if stage.center == "ucsf"] == [1]


def test_what_is_lost_or_mended_while_a_run_is_interrupted_moves_nobody(
    over: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    content = image(data, "amu", "sub-a").read_bytes()
    image(data, "amu", "sub-a").write_bytes(b"")
    cut_off(over, tmp_path / "run", 3, "before")
    before = Journal.open(tmp_path / "run").facts.cards
    image(data, "amu", "sub-a").write_bytes(content)
    image(data, "milan", "sub-a").unlink()
    go_on(plan_resume(tmp_path / "run", []))
    results = read_results(tmp_path / "run")
    for center, card in Journal.open(tmp_path / "run").facts.cards.items():
        assert card.fingerprint == before[center].fingerprint
    lines = passed_over_lines(results.passed_over)
    assert "amu passes over 1 FLAIR image: it cannot be read" in lines
    assert any("could not when the run began: it takes no part in this run" in line for line in lines)
    assert any(line.startswith("milan passes over 1 subject") for line in lines)

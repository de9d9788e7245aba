"""One file, one verdict: the check, a run, segmenting and external validation refuse and warn in the same words."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.data.inventory import Case, LabelChoice
from client.data.layouts import find_cases
from client.data.preprocessing import prepare
from client.data.rules import PUBLIC, Finding, refusal
from client.data.volume_cache import open_volume
from client.qc.case_check import check_case
from scenarios.inference.ensemble import Ensemble
from scenarios.inference.external_validation import Ask, validate
from scenarios.inference.segment import plan_jobs, segment_image
from shared.errors import DataError
from tests.scenarios.inference.test_segment import bright
from tests.support import oddities, spoiled
from tests.support.datasets import write_dataset, write_image
from tests.support.examples import examples
from tests.support.oddities import meant
from tests.support.spoiled import AFFINE, IMAGE, LABEL, Accepted, Refused

MODEL = Ensemble((bright(spacing=4.0),))

ALL_REFUSED = spoiled.REFUSED | oddities.REFUSED
ALL_ACCEPTED = spoiled.ACCEPTED | oddities.ACCEPTED


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A good case in a BIDS data set."""
    write_dataset(tmp_path / "data", ["sub-1"], voxel=3.0)
    (found,) = find_cases(tmp_path / "data", ("FLAIR",))
    return found


def said_by_run(case: Case, folder: Path, allow_empty: bool = False) -> list[str]:
    """The refusal of a run, whether it prepares the case or finds it in the cache, or its warnings."""
    answers = []
    for _ in range(2):
        try:
            answers.append([str(one) for one in open_volume(case, 4.0, folder / "cache", allow_empty).warnings])
        except DataError as error:
            answers.append([str(error), error.public])
    assert answers[0] == answers[1]
    return answers[0]


def said_by_segment(case: Case, folder: Path) -> list[str]:
    """The refusal of `wardround segment`, or its warnings."""
    folder = folder / "segmented"
    folder.mkdir()
    (job,) = plan_jobs([case.image], folder, mask=False)
    try:
        return [*segment_image(MODEL, job, torch.device("cpu")).warnings]
    except DataError as error:
        assert not list(folder.iterdir()), "nothing is written of an image that is refused"
        return [str(error), error.public]


def said_by_realism(case: Case, folder: Path, allow_empty: bool = False) -> list[str]:
    """Why `wardround realism` skips the only case, or its warnings."""
    choice = LabelChoice(lesion_value=case.lesion_value)
    try:
        ask, hospitals = Ask(allow_empty, choice), {"data": folder / "data"}
        (scored,) = validate(MODEL, hospitals, torch.device("cpu"), lambda one: None, ask).scored
    except DataError as error:
        return [str(error).partition("that could be scored: ")[2]]
    return [*scored.warnings]


def refused(case: Case, finding: Finding) -> str:
    return str(refusal(case.label if finding.part == "label" else case.image, finding))


@pytest.mark.parametrize("odd", ALL_REFUSED.values(), ids=ALL_REFUSED)
def test_what_one_refuses_all_refuse_in_the_same_words(
    case: Case, tmp_path: Path, odd: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    odd.spoil(case)
    case, code, part = meant(case, odd), odd.code, odd.part
    checked = check_case(case)
    first = checked.problems[0]
    assert (first.code, first.part) == (code, part)
    why = refused(case, first)
    assert first.text in why and first.mend in why
    assert said_by_run(case, tmp_path) == [why, PUBLIC[code]]
    if code != "missing":  # which leaves no case to judge
        assert said_by_realism(case, tmp_path) == [why]
    # Segmenting has no label to refuse.
    assert said_by_segment(case, tmp_path) == ([why, PUBLIC[code]] if part == "image" else [])
    if code == "empty":
        assert check_case(case, allow_empty=True).ok
        assert said_by_run(case, tmp_path, allow_empty=True) == []
        assert said_by_realism(case, tmp_path, allow_empty=True) == []
    assert capfd.readouterr() == ("", ""), "nothing is said beside the findings"


@pytest.mark.parametrize("odd", ALL_ACCEPTED.values(), ids=ALL_ACCEPTED)
def test_what_one_warns_of_all_warn_of_in_the_same_words(
    case: Case, tmp_path: Path, odd: Accepted, capfd: pytest.CaptureFixture[str]
) -> None:
    odd.spoil(case)
    case = meant(case, odd)
    checked = check_case(case)
    assert checked.ok and tuple(finding.code for finding in checked.warnings) == odd.codes
    said = [str(finding) for finding in checked.warnings]
    assert said_by_run(case, tmp_path) == said
    assert said_by_realism(case, tmp_path) == said
    assert said_by_segment(case, tmp_path) == [str(one) for one in checked.warnings if one.part == "image"]
    if odd.ml is not None:
        assert checked.measured is not None and checked.measured.lesion_ml == pytest.approx(odd.ml, abs=2e-3)
        volume = open_volume(case, 4.0, tmp_path / "cache")
        voxel = abs(np.linalg.det(volume.own_affine[:3, :3])) / 1000
        assert float(volume.truth.sum(dtype=float)) / 255 * voxel == pytest.approx(odd.ml, rel=5e-3)
    assert capfd.readouterr() == ("", "")


@examples(0.4, fixture=True)
@given(
    st.sampled_from(["image", "label"]),
    st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_whatever_a_header_says_check_and_run_agree(tmp_path: Path, part: str, changes: list[tuple[int, int]]) -> None:
    paths = {"image": tmp_path / "a_FLAIR.nii", "label": tmp_path / "a_label.nii"}
    write_image(paths["image"], IMAGE.astype(np.float32), AFFINE)
    write_image(paths["label"], LABEL, AFFINE)
    raw = bytearray(paths[part].read_bytes())
    for place, value in changes:
        raw[place] = value
    paths[part].write_bytes(raw)
    case = Case("a", "FLAIR", paths["image"], paths["label"])
    problems = check_case(case).problems
    assert "unexpected" not in [problem.code for problem in problems]
    try:
        prepare(case, 4.0)
        said = ""
    except DataError as error:
        said = str(error)
    assert said == (refused(case, problems[0]) if problems else "")

"""A run's division into training and test: kept as it was begun with, whatever becomes of the files."""

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.governance.policy import Policy
from client.hospital.center import LATE, Hospital, open_hospital
from client.hospital.config import Data, Site
from client.hospital.division import KEPT_DAYS
from client.hospital.node import NO_PINS, prepared_folder
from shared.config.settings import Settings
from shared.errors import DataError, RecordError
from tests.support.datasets import write_dataset

RUN, LATER, ELSE = "0" * 32, "1" * 32, "2" * 32
SUBJECTS = [f"sub-{name}" for name in "abcdefgh"]
Open = Callable[..., Hospital]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", SUBJECTS, ("FLAIR",))


@pytest.fixture
def reopened(tmp_path: Path, data: Path, run_config: dict[str, Any]) -> Open:
    """Opens the hospital for a run, as the roll call does."""

    def open_it(*runs: str, look_over: bool = True, **changes: Any) -> Hospital:
        config = run_config | {"cache-dir": str(tmp_path / "cache"), "contrasts": "FLAIR"} | changes
        settings = Settings.from_run_config(config)
        own = Data(folder=data, contrasts=("FLAIR",))
        site = Site("grace", tmp_path / "state", own, None, NO_PINS, Policy(role="both"))
        return open_hospital(site, prepared_folder(site, False, settings), settings, runs, look_over)

    return open_it


def image(data: Path, subject: str) -> Path:
    return data / subject / "anat" / f"{subject}_FLAIR.nii.gz"


def label(data: Path, subject: str) -> Path:
    (found,) = data.glob(f"derivatives/*/{subject}/anat/*.nii.gz")
    return found


def sides(hospital: Hospital) -> tuple[list[str], list[str]]:
    return [case.subject for case in hospital.training], [case.subject for case in hospital.test]


def divided(hospital: Hospital) -> set[str]:
    return {case.subject for case in (*hospital.training, *hospital.test)}


def passed(hospital: Hospital) -> dict[str, str]:
    return {one.subject: one.public for one in hospital.passed_over}


def test_who_cannot_be_used_is_passed_over_and_only_the_others_are_divided(reopened: Open, data: Path) -> None:
    whole = reopened(ELSE)
    for subject in whole.test:
        image(data, subject.subject).write_bytes(b"")
    label(data, whole.training[0].subject).unlink()
    left = reopened(RUN)
    gone = {whole.training[0].subject: "has no image with a label"} | {
        case.subject: "cannot be read" for case in whole.test
    }
    assert passed(left) == gone
    training, test = sides(left)
    assert sorted(training + test) == sorted(set(SUBJECTS) - set(gone)) and test, "a test subject is left"
    good, problems = left.open(left.test)
    assert [case.subject for case, _ in good] == test and not problems


def test_all_of_an_evaluator_s_subjects_test(reopened: Open) -> None:
    training, test = sides(reopened(RUN, evaluators="grace"))
    assert (training, test) == ([], SUBJECTS)
    assert all(sides(reopened(ELSE)))


def test_a_file_that_is_lost_later_moves_nobody(reopened: Open, data: Path) -> None:
    before = reopened(RUN)
    gone = before.test[0].subject
    image(data, gone).unlink()
    after = reopened(RUN)
    assert sides(after) == sides(before) and after.card.fingerprint == before.card.fingerprint
    assert reopened(RUN, look_over=False).test == before.test
    good, problems = after.open(after.test)
    assert [case.subject for case, _ in good] == [case.subject for case in before.test[1:]]
    assert problems == {after.pseudonym(gone): "cannot be read"}
    assert sides(reopened(ELSE)) != sides(before), "another run never knew it"


def test_a_file_that_is_mended_later_takes_no_part_and_is_named(
    reopened: Open, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = image(data, "sub-c").read_bytes()
    image(data, "sub-c").write_bytes(b"")
    before = reopened(RUN)
    assert passed(before) == {"sub-c": "cannot be read"}
    image(data, "sub-c").write_bytes(content)
    capsys.readouterr()
    after = reopened(RUN)
    assert sides(after) == sides(before) and passed(after) == {"sub-c": LATE}
    assert f"grace: sub-c FLAIR {LATE}" in capsys.readouterr().out
    assert "sub-c" in divided(reopened(ELSE))


def test_a_run_that_goes_on_from_another_keeps_its_division(reopened: Open, data: Path) -> None:
    before = reopened(RUN)
    image(data, before.training[0].subject).unlink()
    assert sides(reopened(LATER, RUN)) == sides(before)
    assert sides(reopened(LATER)) == sides(before), "kept for the later run by itself"


def test_the_data_folder_may_move(reopened: Open, data: Path, tmp_path: Path) -> None:
    before = reopened(RUN)
    data.rename(tmp_path / "elsewhere")
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    (kept,) = (tmp_path / "state" / "divisions").iterdir()
    assert str(tmp_path) not in kept.read_text()
    assert sides(reopened(RUN)) == sides(before)


def test_one_image_under_two_subjects_is_used_for_neither(reopened: Open, data: Path) -> None:
    voxels = gzip.decompress(image(data, "sub-a").read_bytes())
    image(data, "sub-b").write_bytes(gzip.compress(voxels, compresslevel=1))
    opened = reopened(RUN)
    assert passed(opened) == dict.fromkeys(("sub-a", "sub-b"), "has an image that another subject has, too")
    assert not {"sub-a", "sub-b"} & divided(opened)


def test_a_damaged_division_is_not_drawn_anew(reopened: Open, tmp_path: Path) -> None:
    reopened(RUN)
    (path,) = (tmp_path / "state" / "divisions").iterdir()
    document = json.loads(path.read_text())
    document["body"]["test"] = document["body"]["training"]
    path.write_text(json.dumps(document))
    with pytest.raises(RecordError, match=r"who trains and who tests in a run, cannot be read .*: restore it"):
        reopened(RUN)


def test_divisions_of_runs_long_forgotten_are_deleted(reopened: Open, tmp_path: Path) -> None:
    reopened(ELSE)
    (old,) = (tmp_path / "state" / "divisions").iterdir()
    then = time.time() - (KEPT_DAYS + 1) * 86400
    os.utime(old, (then, then))
    reopened(RUN)
    assert [path.name for path in old.parent.iterdir()] == [f"grace-{RUN}.json"]


def test_nobody_usable_is_an_error_with_the_reasons(reopened: Open, data: Path) -> None:
    for subject in SUBJECTS:
        image(data, subject).write_bytes(b"")
    with pytest.raises(DataError, match=r"center grace has no usable subject of 8: .*is an empty file: copy") as caught:
        reopened(RUN)
    assert caught.value.public == "center grace has no usable subject of 8: " + "; ".join(["one cannot be read"] * 5)


def test_files_are_read_once(reopened: Open, data: Path) -> None:
    first = reopened(RUN)
    for subject in SUBJECTS:
        content, when = image(data, subject).read_bytes(), image(data, subject).stat().st_mtime_ns
        image(data, subject).write_bytes(bytes(len(content)))
        os.utime(image(data, subject), ns=(when, when))
    assert sides(reopened(ELSE)) == sides(first) and not reopened(RUN).passed_over


def test_the_runs_that_a_run_goes_on_from_are_known_to_its_later_messages(reopened: Open) -> None:
    assert reopened(LATER, RUN).runs == (LATER, RUN)
    assert reopened(LATER, look_over=False).runs == (LATER, RUN)
    assert reopened(LATER, ELSE).runs == (LATER, RUN), "as was said first"
    assert reopened(ELSE, look_over=False).runs == (ELSE,)

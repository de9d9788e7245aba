"""Hospitals that a person describes: what the file says is what is made, and every mistake is named."""

from pathlib import Path

import pytest

from scenarios.simulation.center_config import read_centers
from shared.errors import SettingsError
from shared.phantoms.centers import CenterProfile
from shared.phantoms.relaxation import Sequence
from shared.phantoms.scanner import Protocol
from tests.conftest import ROOT

EXAMPLE = ROOT / "scenarios" / "centers" / "example.toml"
GOOD = """
[centers.here]
subjects = 3
lesion-ml = 5.0
lesion-spread = 0.5
slice-ratio = 2.0
orientation = "LPS"
[centers.here.FLAIR]
field = "3T"
tr = 9000
te = 120
ti = 2500
noise = 0.05
bias = 0.1
blur = 0.5
level = 300.0
"""


def read(tmp_path: Path, text: str) -> tuple[CenterProfile, ...]:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return read_centers(path)


def test_the_file_becomes_the_center_that_it_describes(tmp_path: Path) -> None:
    (center,) = read(tmp_path, GOOD)
    flair = Protocol(Sequence("3T", tr=9000, te=120, ti=2500), noise=0.05, bias=0.1, blur=0.5, level=300)
    assert center == CenterProfile(
        "here", "here", 3, {"FLAIR": flair}, load=5.0, spread=0.5, slice_ratios=(2.0,), orientation="LPS"
    )


def test_what_varies_is_read(tmp_path: Path) -> None:
    keys = "vary = 0.5\nrandom-share = 0.25\nresampled = 1\nslice-ratio = [1, 2.5]"
    (center,) = read(tmp_path, GOOD.replace("slice-ratio = 2.0", keys))
    assert (center.vary, center.random_share, center.resampled) == (0.5, 0.25, 1.0)
    assert center.slice_ratios == (1.0, 2.5)
    (usual,) = read(tmp_path, GOOD.replace("slice-ratio = 2.0\n", ""))
    assert (usual.vary, usual.random_share, usual.resampled, usual.slice_ratios) == (0.0, 0.0, 0.0, (1.0,))


def test_the_example_has_both_kinds_of_hospital() -> None:
    riverside, hillside = read_centers(EXAMPLE)
    assert (riverside.title, riverside.subjects, riverside.contrasts) == ("Riverside", 12, ("FLAIR",))
    assert (hillside.title, hillside.subjects, hillside.contrasts) == ("Hillside", 8, ("FLAIR", "T2w"))


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("subjects = 3", "subjects = 0", "[centers.here] subjects = 0: give a whole number from 1 to 100000"),
        ("subjects = 3", "subjects = 2.5", "[centers.here] subjects = 2.5: give a whole number from 1"),
        ("subjects = 3\n", "", "[centers.here] subjects is missing: give a whole number from 1"),
        ("lesion-ml = 5.0", "lesion-ml = 0", "[centers.here] lesion-ml = 0: give a number above 0 up to 150"),
        ("lesion-ml = 5.0", "lesion-ml = nan", "[centers.here] lesion-ml = nan: give a number above 0 up to 150"),
        ("noise = 0.05", "noise = 2", "[centers.here.FLAIR] noise = 2: give a number from 0 to 1"),
        ('"3T"', '"7T"', "[centers.here.FLAIR] field = '7T': input should be '1.5T' or '3T'"),
        ("te = 120", "te = 1", "[centers.here.FLAIR] te = 1: give a number from 5 to 500"),
        ("ti = 2500\n", "", "[centers.here] FLAIR: ti is missing: FLAIR has an inversion"),
        ("FLAIR", "T2w", "[centers.here] T2w: ti is for FLAIR alone"),
        (
            "noise = 0.05",
            "nois = 0.05",
            "[centers.here.FLAIR] unknown key nois: known are field, tr, te, ti",
        ),
        ("subjects = 3", "subjects = 3\nvary = 2", "[centers.here] vary = 2: give a number from 0 to 1"),
        (
            "subjects = 3",
            "subjects = 3\nrandom-share = -1",
            "[centers.here] random-share = -1: give a number from 0 to 1",
        ),
        (
            "subjects = 3",
            "subjects = 3\nresampled = 'no'",
            "[centers.here] resampled = 'no': give a number from 0 to 1",
        ),
        ("subjects = 3", "subjects = 3\nvaries = 1", "[centers.here] unknown key varies: known are title, subjects"),
        *(
            (
                "slice-ratio = 2.0",
                f"slice-ratio = {wrong}",
                f"[centers.here] slice-ratio = {said}: give a number from 1",
            )
            for wrong, said in [("0.5", "0.5"), ("[]", "[]"), ("[1, 11]", "[1, 11]"), ("true", "True"), ("'3'", "'3'")]
        ),
        ("centers.here.FLAIR", "centers.here.T1w", "[centers.here] unknown key T1w"),
        ('"LPS"', '"LPR"', "[centers.here] orientation = 'LPR': should be one letter each of R or L"),
        ("centers.here", 'centers."over there"', "[centers.over there]: name it by letters, digits, - and _"),
    ],
)
def test_each_mistake_is_named_with_what_is_allowed(tmp_path: Path, was: str, becomes: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, GOOD.replace(was, becomes))
    assert said in str(caught.value) and str(tmp_path / "mine.toml") in str(caught.value)


def test_a_center_needs_a_contrast(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\[centers.here\] has no contrast: add a table \[centers.here.FLAIR\]"):
        read(tmp_path, GOOD.partition("[centers.here.FLAIR]")[0])


@pytest.mark.parametrize(
    ("text", "said"), [("", "centers is missing"), ("[centers]", "centers"), ("centers = [", "is not TOML")]
)
def test_a_file_without_centers_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.toml cannot be read \(No such file"):
        read_centers(tmp_path / "none.toml")

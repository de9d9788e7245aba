"""Runs that are extended by one more hospital equal the run of all, also where they are cut off."""

from pathlib import Path
from typing import Any

import pytest

from scenarios.runner.resume import plan_resume
from shared.errors import SettingsError
from shared.results import read_results
from tests.support.cut_runs import CENTERS, Moment, PowerCut, extension, files_in, go_on, lasting, start


@pytest.fixture
def parent(config: dict[str, Any], tmp_path: Path) -> Path:
    """A finished run of two centers."""
    folder = tmp_path / "parent"
    start(config | {"centers": ",".join(CENTERS[:2])}, folder)
    return folder


def test_a_run_that_is_extended_equals_the_run_of_all_and_trains_only_the_new_center(
    uncut: dict[str, Any], parent: Path, tmp_path: Path
) -> None:
    before = files_in(parent)
    grid = go_on(extension(parent, CENTERS[2], tmp_path / "longer"))
    assert grid.trains == 1
    assert sum(message.metadata.message_type == "evaluate" for message in grid.sent) == 2 + 3
    longer = lasting(tmp_path / "longer")
    assert longer["R"] == uncut["R"], "to the last bit"
    assert longer == uncut
    assert files_in(parent) == before, "the run that was extended stays as it is"
    extends = read_results(tmp_path / "longer").history.extends
    assert extends is not None and extends.run == read_results(parent).history.run


@pytest.mark.parametrize(
    ("cut", "moment"),
    [
        (1, "after"),
        (4, "between"),
        *(pytest.param(*cut, marks=pytest.mark.slow) for cut in [(0, "after"), (2, "before"), (3, "after")]),
    ],
)
def test_an_extension_cut_off_at_any_message_ends_as_if_nothing_had_been(
    uncut: dict[str, Any], parent: Path, tmp_path: Path, cut: int, moment: Moment
) -> None:
    with pytest.raises(PowerCut):
        go_on(extension(parent, CENTERS[2], tmp_path / "longer"), cut, moment)
    go_on(plan_resume(tmp_path / "longer", []))
    assert lasting(tmp_path / "longer") == uncut


def test_an_extension_can_be_extended(config: dict[str, Any], uncut: dict[str, Any], tmp_path: Path) -> None:
    start(config | {"centers": CENTERS[0]}, tmp_path / "one")
    go_on(extension(tmp_path / "one", CENTERS[1], tmp_path / "two"))
    go_on(extension(tmp_path / "two", CENTERS[2], tmp_path / "three"))
    assert lasting(tmp_path / "three") == uncut


@pytest.mark.parametrize("method", ["ewc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lwf", "mas"))])
def test_what_holds_a_model_is_there_when_its_run_is_extended(
    config: dict[str, Any], tmp_path: Path, method: str
) -> None:
    config = config | {"method": method}
    start(config, tmp_path / "whole")
    start(config | {"centers": ",".join(CENTERS[:2])}, tmp_path / "parent")
    assert go_on(extension(tmp_path / "parent", CENTERS[2], tmp_path / "longer")).trains == 1
    assert lasting(tmp_path / "longer") == lasting(tmp_path / "whole")


def test_a_run_of_rounds_cannot_be_extended(config: dict[str, Any], tmp_path: Path) -> None:
    start(config | {"method": "fedavg", "rounds": 1}, tmp_path / "run")
    with pytest.raises(SettingsError, match="a fedavg run cannot be extended: one more center would have had its part"):
        extension(tmp_path / "run", "nih", tmp_path / "longer")
    assert not (tmp_path / "longer").exists()

"""Hospitals that the tests of messages ask."""

from pathlib import Path
from typing import Any

import pytest

from scenarios.simulation.clientapp import app
from tests.support.datasets import write_dataset
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import HOSPITAL, NAMES


@pytest.fixture
def grid(run_config: dict[str, Any]) -> FakeGrid:
    """Each center at a simulated node of its own: milan 100, ucsf 101, amu 102."""
    return FakeGrid.simulated(app, run_config, nodes=3)


@pytest.fixture
def deployed(run_config: dict[str, Any], tmp_path: Path) -> FakeGrid:
    """Node 7: a hospital with a data set of its own, which lets all leave that can."""
    write_dataset(tmp_path / "st-elsewhere", NAMES)
    (tmp_path / "hospital.toml").write_text(HOSPITAL)
    config = run_config | {"centers": "grace,mercy", "sealing": "off", "cache-dir": str(tmp_path / "cache")}
    return FakeGrid(app, config, {7: {"hospital": str(tmp_path / "hospital.toml")}})


@pytest.fixture
def plain(run_config: dict[str, Any], tmp_path: Path) -> FakeGrid:
    """Node 7: the same hospital without a hospital.toml."""
    folder = write_dataset(tmp_path / "st-elsewhere", [*NAMES, *(f"{name}-2" for name in NAMES)])
    config = run_config | {"centers": "grace,mercy", "cache-dir": str(tmp_path / "cache"), "test-fraction": 0.5}
    config |= {"steps": 20, "batch-size": 8}  # by the least that a policy lets pass that says nothing of it
    return FakeGrid(app, config, {7: {"center": "grace", "data-dir": str(folder)}})

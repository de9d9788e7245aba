"""Hospitals that the tests of messages ask."""

from pathlib import Path
from typing import Any

import pytest

from scenarios.simulation.clientapp import app
from shared.trust.identity import Keys
from tests.support.approved import Deployed
from tests.support.datasets import write_dataset
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import HOSPITAL, NAMES


@pytest.fixture
def grid(run_config: dict[str, Any]) -> FakeGrid:
    """Each center at a simulated node of its own: milan 100, ucsf 101, amu 102."""
    return FakeGrid.simulated(app, run_config, nodes=3)


@pytest.fixture
def deployed(run_config: dict[str, Any], tmp_path: Path) -> Deployed:
    """Node 7: a hospital with a data set of its own, which lets all leave that can."""
    write_dataset(tmp_path / "st-elsewhere", NAMES)
    toml = tmp_path / "hospital.toml"
    toml.write_text(HOSPITAL)
    config = run_config | {"centers": "grace,mercy", "sealing": "off", "cache-dir": str(tmp_path / "cache")}
    return Deployed(app, config, {7: {"hospital": str(toml)}}, toml=toml, others={"mercy": Keys.generate("mercy")})

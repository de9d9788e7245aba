"""Courses that the tests of the strategies and of tracking start."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error
from flwr.clientapp import ClientApp

from shared.config.settings import Settings
from tests.support.fakes import FakeGrid
from tests.support.journeys import CENTERS, NODES, Journey, Setup, Train, hospitals, moved, trained


@pytest.fixture
def journey(run_config: dict[str, Any], tmp_path: Path) -> Setup:
    """A journey over three hospitals; keywords are keys of the run-config with _ for -."""

    def setup(
        client: ClientApp | None = None, errors: dict[tuple[int, str, int], Error] | None = None, **changes: object
    ) -> Journey:
        changed = {key.replace("_", "-"): value for key, value in changes.items()}
        config = (
            run_config
            | {"features": 2, "centers": ",".join(CENTERS), "order": "given", "patience-minutes": 0.0}
            | changed
        )
        nodes: dict[int, dict[str, Any]] = {node: {} for node in NODES.values()}
        settings = Settings.from_run_config(config)
        spec = settings.run.spec
        client = client or hospitals(train=partial(trained, parts=spec.state, carries=spec.carries))
        grid = FakeGrid(client, config, nodes, errors=errors or {})
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Journey(settings, grid, folder)

    return setup


@pytest.fixture
def rounds(journey: Setup) -> Setup:
    """A journey of three rounds; keywords as for `journey`."""

    def setup(train: Train = moved, **how: Any) -> Journey:
        return journey(hospitals(train=train), method="fedavg", steps=9, **({"rounds": 3} | how))

    return setup

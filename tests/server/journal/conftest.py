"""Settings for the tests of the journal."""

from typing import Any

import pytest

from shared.config.settings import Settings


@pytest.fixture
def settings(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "seed": 7})

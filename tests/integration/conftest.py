"""A run of three centers in this process, for the tests that cut it off or extend it."""

from typing import Any

import pytest

from tests.support.cut_runs import MESSAGES, lasting, smaller, start


@pytest.fixture
def config(run_config: dict[str, Any]) -> dict[str, Any]:
    """The smoke scenario, smaller still."""
    return smaller(run_config)


@pytest.fixture
def uncut(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run computes that nothing happens to; run once."""
    if not _kept:
        folder = tmp_path_factory.mktemp("uncut")
        assert start(config, folder).pushes == MESSAGES
        _kept.update(lasting(folder))
    return _kept


_kept: dict[str, Any] = {}

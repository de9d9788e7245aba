"""A run of three centers in this process, for the tests that cut it off or extend it."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.cut_runs import MESSAGES, lasting, smaller, start


@pytest.fixture
def config(run_config: dict[str, Any]) -> dict[str, Any]:
    """The smoke scenario, smaller still."""
    return smaller(run_config)


@pytest.fixture
def finished(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to, run once; it is read only."""
    if not _finished:
        folder = tmp_path_factory.mktemp("uncut")
        assert start(config, folder).pushes == MESSAGES
        _finished.append(folder)
    return _finished[0]


@pytest.fixture
def uncut(finished: Path) -> dict[str, Any]:
    """What a run computes that nothing happens to."""
    return lasting(finished)


_finished: list[Path] = []

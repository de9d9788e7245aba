"""The attacks have the power that they claim: against a simulated node, which does all that it is asked, for ever."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.replay.manifest import SealedContribution
from tests.redteam.attacks import ADAMW, DEFAULT, open_sealed_crop, read_lesion_volumes, read_own_patch
from tests.redteam.hospitals import (
    TWO,
    Nodes,
    RunConfig,
    reporting_means,
    simulated,
    write_hospitals,
    write_unlike_lesions,
)


@pytest.fixture
def unprotected(tmp_path: Path, run_config: dict[str, Any]) -> Nodes:
    return simulated(write_hospitals(tmp_path / "hospitals"), run_config)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "messages", "error"), [(ADAMW, 5, 1e-3), (DEFAULT, 10, 0.01)])
def test_the_attack_reads_a_patch_of_the_hospital_s_own(
    unprotected: Nodes, recipe: RunConfig, messages: int, error: float
) -> None:
    found = read_own_patch(unprotected, "mercy", unprotected.run_config, recipe)
    assert found.messages == messages
    assert found.truth.std() > 0.3
    assert found.error < error and found.correlation > 0.9999


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "messages", "error"), [(ADAMW, 5, 1e-3), (DEFAULT, 10, 0.01)])
def test_the_attack_opens_a_sealed_crop(unprotected: Nodes, recipe: RunConfig, messages: int, error: float) -> None:
    found, given = open_sealed_crop(unprotected, TWO, unprotected.run_config, recipe)
    assert isinstance(given, SealedContribution)
    assert found.messages == messages + 1
    assert found.error < error and found.correlation > 0.9999


def test_the_attack_reads_each_subject_s_lesion_volume_from_means(tmp_path: Path, run_config: dict[str, Any]) -> None:
    truth = write_unlike_lesions(tmp_path / "hospitals" / "grace")
    nodes = simulated(tmp_path / "hospitals", run_config | {"features": 2}, reporting_means())
    found, messages = read_lesion_volumes(nodes, "grace", len(truth), nodes.run_config)
    assert messages == 15
    assert len(set(truth)) == len(truth)
    np.testing.assert_allclose(found, truth, atol=0.01, err_msg="in ml")

"""The attacks have the power that they claim: against a simulated node, which does all that it is asked, for ever."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.replay.manifest import SealedContribution
from shared.wire.records import Refused
from tests.redteam.attacks import ADAMW, DEFAULT, open_sealed_crop, read_lesion_volumes, read_own_patch
from tests.redteam.hospitals import (
    TWO,
    Nodes,
    RunConfig,
    deployed,
    reporting_means,
    simulated,
    smoke_config,
    write_hospitals,
    write_unlike_lesions,
)
from tests.support.joined import Study


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
    """As well as scores are rounded: a tenth of a ml in each of the means that it takes apart."""
    truth = write_unlike_lesions(tmp_path / "hospitals" / "grace")
    nodes = simulated(tmp_path / "hospitals", run_config | {"features": 2}, reporting_means())
    found, messages = read_lesion_volumes(nodes, "grace", len(truth), nodes.run_config)
    assert messages == 15
    assert len(set(truth)) == len(truth)
    np.testing.assert_allclose(found, truth, atol=0.3, err_msg="in ml")
    assert np.corrcoef(found, truth)[0, 1] > 0.99


# A hospital that joined


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study.made(tmp_path / "joined", smoke_config())
    made.plan()  # something is approved, though not this
    return made


NOTHING = "this hospital has not approved protocol"


@pytest.mark.parametrize("recipe", [ADAMW, DEFAULT], ids=["adamw", "default"])
def test_a_hospital_that_joined_trains_no_crafted_model(study: Study, recipe: RunConfig) -> None:
    with pytest.raises(Refused, match=NOTHING):
        read_own_patch(deployed(study), "mercy", study.config, recipe)
    with pytest.raises(Refused, match=NOTHING):
        open_sealed_crop(deployed(study), TWO, study.config, recipe)
    assert not [entry for center in TWO for entry in study.audit(center) if entry.kind in ("sent", "received")]
    assert study.audited("mercy", "refused", "request")


def test_a_hospital_that_joined_tests_no_silent_model(study: Study) -> None:
    with pytest.raises(Refused, match=NOTHING):
        read_lesion_volumes(deployed(study), "grace", 5, study.config)
    assert not [entry for entry in study.audit("grace") if entry.kind == "sent"]

"""Methods that move no exemplar, over hospitals that joined and share none."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error

from shared.errors import CenterError
from shared.methods import METHODS as SPECS
from shared.wire.messages import TrainRequest, unpack_train_request
from tests.support.joined import CENTERS, NODES, Study, Wire

METHODS = [name for name, spec in SPECS.items() if not spec.replays and spec.course in ("sequential", "rounds")]


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    """Three hospitals that share no exemplar and made no keys."""
    study = Study.made(tmp_path, run_config)
    for center in CENTERS:
        means = {"report_subject_scores": False, "least_test_subjects": 2, "allow_averaged_models": True}
        study.write_site(center, share_exemplars=False, **means)
    return study


def asked(wire: Wire) -> list[TrainRequest]:
    return [unpack_train_request(m.content) for m in wire.sent if m.metadata.message_type == "train"]


@pytest.mark.parametrize("method", METHODS)
def test_hospitals_that_share_no_exemplar_train_and_are_tested(study: Study, method: str) -> None:
    wire = study.wire(method=method, rounds=2)
    results = study.run(wire)
    assert len(results.R) == (1 if method == "fedavg" else 3)
    assert all(0 <= cell <= 1 for row in results.R for cell in row)
    assert sum(stage.steps for stage in results.stages) == 2 * 3
    assert not any(request.memory or request.task.contribute for request in asked(wire))
    for center in CENTERS:
        visits = 2 if method == "fedavg" else 1
        assert len(study.audited(center, "received", "train request")) == visits
        assert len(study.audited(center, "sent", "trained model")) == visits
        assert study.audited(center, "sent", "exemplars") == []
        importance = study.audited(center, "sent", "importance of its parameters")
        assert [entry.facts.size for entry in importance] == (
            [stage.state_bytes for stage in results.stages[:1]] if SPECS[method].state else []
        )
        assert not list((study.root / center / "state").rglob("reply")), "what the coordinator has is deleted"


@pytest.mark.parametrize("method", ["ewc", "fedavg"])
def test_a_run_that_a_hospital_broke_off_goes_on_to_the_same_end(study: Study, method: str) -> None:
    whole = study.run(study.wire(method=method, rounds=2), "whole")
    broken = study.wire(method=method, rounds=2)
    broken.errors = {(NODES["mercy"], "train", 0): Error(2, "killed")}
    with pytest.raises(CenterError, match="mercy failed at train: killed"):
        study.run(broken, "resumed")
    resumed = study.run(study.wire(method=method, rounds=2), "resumed", resume=True)
    assert resumed.R == whole.R
    assert [stage.final_loss for stage in resumed.stages] == [stage.final_loss for stage in whole.stages]


@pytest.mark.parametrize("method", ["ewc", "fedavg"])
def test_a_hospital_that_may_only_be_tested_is_named_before_anything_starts(study: Study, method: str) -> None:
    study.write_site("elsewhere", role="evaluate", share_exemplars=False, allow_averaged_models=True)
    wire = study.wire(method=method, rounds=2)
    with pytest.raises(CenterError, match="center elsewhere is to train, but its policy lets it test only"):
        study.run(wire)
    assert asked(wire) == []

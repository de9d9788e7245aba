"""What the project promises of training itself. Minutes, so marked slow; CI runs them."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict

import server.app
from scenarios.run_config import default_run_config, load_settings
from scenarios.simulation.clientapp import app as client
from shared.results import RunResults, read_results
from tests.conftest import ROOT
from tests.support.fakes import FakeGrid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def whole_run(run_config: dict[str, Any], folder: Path) -> RunResults:
    """ServerApp and ClientApp in this process, from roll call to results."""
    config = run_config | {"output-dir": str(folder)}
    server.app.app(FakeGrid.simulated(client, config, nodes=2), Context(1, 1, {}, RecordDict(), config))
    return read_results(folder)


def test_replay_keeps_what_fine_tuning_forgets(tmp_path: Path) -> None:
    """From FLAIR to T2w: fine-tuning loses the first hospital, replay does not, and both learn the second alike."""
    config = default_run_config() | {"centers": "bwh,milan", "phantom-scale": 0.1}
    finetune = whole_run(config | {"method": "finetune"}, tmp_path / "finetune")
    replay = whole_run(config | {"method": "replay"}, tmp_path / "replay")
    assert finetune.order == replay.order == ("bwh", "milan")
    assert finetune.R[0] == replay.R[0], "the first stage is the same for both"
    assert finetune.R[0][0] > 0.5
    assert finetune.bwt < -0.2
    assert replay.bwt > finetune.bwt + 0.2


def test_the_paper_s_scenario_takes_a_step_at_each_of_two_centers(tmp_path: Path) -> None:
    """`paper.toml` with less data and one epoch: full network, patches, spacing and memory."""
    settings = load_settings(ROOT / "scenarios" / "paper.toml", [], None)
    less = {"centers": "ucsf,amu", "phantom-scale": 0.01, "epochs": 1, "order": "given", "window-overlap": 0.0}
    results = whole_run(settings.to_run_config() | less, tmp_path / "paper")
    first, second = results.stages
    assert (first.steps, second.steps) == (1, 1)
    assert (first.memory_exemplars, second.memory_exemplars) == (1, 2)
    assert all(0 <= cell <= 1 for row in results.R for cell in row)

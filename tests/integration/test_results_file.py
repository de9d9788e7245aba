"""What whole runs write is what the schema of `results.json` says."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.metrics.scores import Scores
from shared.results import read_results
from tests.support.cut_runs import start
from tests.support.journals import no_constant


@pytest.mark.parametrize("method", ["replay", "fedavg"])
def test_every_key_that_a_run_writes_is_in_the_schema(config: dict[str, Any], tmp_path: Path, method: str) -> None:
    start(config | {"method": method, "rounds": 3}, tmp_path / "run")
    text = (tmp_path / "run" / "results.json").read_text()
    document = json.loads(text, parse_constant=no_constant)
    assert read_results(tmp_path / "run").model_dump(mode="json") == document, "nothing is lost, and nothing added"
    assert bool(document["stages"][0]["rounds"]) == (method == "fedavg")
    places = {"stage", "center", "subject", "contrast"}
    assert all(set(image) == places | Scores.model_fields.keys() for image in document["test_scores"])

"""Bytes that a run moved, added up by hand."""

from scenarios.results.runs import bytes_moved
from tests.support.results import make_results, make_stage

COUNTED = {"sent_bytes": 1, "received_bytes": 20, "tests_sent_bytes": 300, "tests_received_bytes": 4000}


def test_what_all_stages_counted_is_added_up() -> None:
    stages = [make_stage(0, **COUNTED), make_stage(1, **COUNTED | {"received_bytes": 70})]
    results = make_results(("here", "there"), [[0.5, 0.1], [0.4, 0.6]], stages=stages)
    assert bytes_moved(results) == 4321 + 4371


def test_pooled_training_would_move_the_images() -> None:
    assert bytes_moved(make_results(("here", "there"), [[0.5, 0.1]], method="pooled")) is None

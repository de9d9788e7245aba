"""Bytes that a run moved, added up by hand."""

from scenarios.results.bytes_moved import bytes_moved

COUNTED = {"sent_bytes": 1, "received_bytes": 20, "tests_sent_bytes": 300, "tests_received_bytes": 4000}


def test_what_all_stages_counted_is_added_up() -> None:
    stages = [COUNTED, {**COUNTED, "received_bytes": 70}]
    assert bytes_moved({"method": "replay", "stages": stages}) == 4321 + 4371


def test_pooled_training_would_move_the_images() -> None:
    assert bytes_moved({"method": "pooled", "stages": [COUNTED]}) is None


def test_a_run_that_counted_nothing_has_no_figure() -> None:
    assert bytes_moved({"method": "replay", "stages": [COUNTED, {"memory_bytes": 7}]}) is None

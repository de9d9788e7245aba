"""Bytes that a run moved, reckoned by hand."""

from pathlib import Path

from report.bytes_moved import bytes_moved
from shared.places import MODEL


def write_model(folder: Path) -> None:
    (folder / MODEL).write_bytes(bytes(10))


def test_bytes_of_a_sequential_run_by_hand(tmp_path: Path) -> None:
    """Two centers: a model of 10 bytes there and back twice, tested at both twice, crops of 3 and then 3 + 4 bytes."""
    write_model(tmp_path)
    results = {
        "method": "replay",
        "order": ["a", "b"],
        "R": [[0.0, 0.0], [0.0, 0.0]],
        "stages": [{"memory_bytes": 3}, {"memory_bytes": 7}],
    }
    there_and_back, tests, crops = 2 * 2 * 10, 2 * 2 * 10, 3 + (3 + 4)
    assert bytes_moved(results, tmp_path) == there_and_back + tests + crops


def test_bytes_of_averaged_models_by_hand(tmp_path: Path) -> None:
    """Two rounds over three centers: six times there and back, and one test at each."""
    write_model(tmp_path)
    rounds = [{"centers": {"a": {}, "b": {}, "c": {}}}] * 2
    stage = {"memory_bytes": 0, "importance_bytes": 0, "rounds": rounds}
    results = {"method": "fedavg", "order": ["a", "b", "c"], "R": [[0.0] * 3], "stages": [stage]}
    assert bytes_moved(results, tmp_path) == 6 * 2 * 10 + 3 * 10


def test_bytes_of_what_travels_beside_a_model_by_hand(tmp_path: Path) -> None:
    """Two centers; an importance of 4 bytes comes back from the first, goes to the second and comes back again."""
    write_model(tmp_path)
    stages = [{"memory_bytes": 0, "importance_bytes": 4, "rounds": []}] * 2
    results = {"method": "ewc", "order": ["a", "b"], "R": [[0.0] * 2] * 2, "stages": stages}
    assert bytes_moved(results, tmp_path) == 2 * 2 * 10 + 2 * 2 * 10 + 4 + 4 + 4


def test_without_the_model_file_nothing_is_reckoned_nor_for_pooled_images(tmp_path: Path) -> None:
    results = {"method": "finetune", "order": ["a"], "R": [[0.0]], "stages": [{"memory_bytes": 0}]}
    assert bytes_moved(results, tmp_path) is None
    write_model(tmp_path)
    assert bytes_moved(results, tmp_path) == 2 * 10 + 10
    assert bytes_moved(results | {"method": "pooled"}, tmp_path) is None

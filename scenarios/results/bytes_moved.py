"""What a run sent over the network, by what it counted."""

from collections.abc import Mapping
from typing import Any

COUNTED = ("sent_bytes", "received_bytes", "tests_sent_bytes", "tests_received_bytes")
"""Of each stage: the messages' contents to and from the centers, for training and for tests."""


def bytes_moved(results: Mapping[str, Any]) -> int | None:
    """Bytes to and from the hospitals in all stages of a run, from its `results.json`.

    None for pooled training, which would have to move the images themselves, and where the run
    was made before bytes were counted.
    """
    stages: list[dict[str, Any]] = results["stages"]
    if results["method"] == "pooled" or not all(stage.keys() >= set(COUNTED) for stage in stages):
        return None
    return sum(int(stage[key]) for stage in stages for key in COUNTED)

"""What a run sent over the network, reckoned from what it kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.places import MODEL


def bytes_moved(results: Mapping[str, Any], folder: Path) -> int | None:
    """Bytes of models and exemplars to and from the hospitals in the run of `folder`.

    For each training the model goes to a center and comes back, with what travels beside it; then
    it goes to every center to be tested. A model counts as its file does. None where that file is
    gone, and for pooled training, which would have to move the images themselves.
    """
    if results["method"] == "pooled":
        return None
    try:
        model_bytes = (folder / MODEL).stat().st_size
    except OSError:
        return None
    stages: list[dict[str, Any]] = results["stages"]
    trainings = sum(sum(len(part["centers"]) for part in stage.get("rounds", ())) or 1 for stage in stages)
    tests = len(results["R"]) * len(results["order"])
    # The memory so far goes there, and what is added comes back: together, the memory after the stage.
    memory = sum(int(stage["memory_bytes"]) for stage in stages)
    # The importance of the parameters (ewc) comes back whole from each stage, and goes to the next.
    importance = [int(stage.get("importance_bytes", 0)) for stage in stages]
    return (2 * trainings + tests) * model_bytes + memory + sum(importance) + sum(importance[:-1])

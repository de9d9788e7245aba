"""Whole runs in this process over a runtime whose coordinator can be cut off at any message."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from flwr.app import Context, Message, RecordDict

import server.app
from scenarios.runner.resume import Continuation, HowLaunched, plan_extension
from scenarios.simulation.clientapp import app as client
from shared.paths import LOCK
from shared.results import read_results
from tests.support.fakes import FakeGrid

CENTERS = ("milan", "ucsf", "amu")
MESSAGES = 7
"""Times that a run of three stages sends: the roll call, and a train and a test round each."""

Moment = Literal["before", "after", "between"]


class PowerCut(BaseException):
    """The coordinator ends, here and now."""


@dataclass
class CutGrid(FakeGrid):
    """A runtime whose coordinator is cut off at the n-th time (from 0) that it sends.

    Before the messages are sent; after they were worked off, their replies unread; or between
    the first reply and the others.
    """

    cut: int | None = None
    moment: Moment = "before"
    pushes: int = 0
    trains: int = 0
    _read: bool = False

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        here = self.pushes == self.cut
        if here and self.moment == "before":
            raise PowerCut
        self.trains += sum(message.metadata.message_type == "train" for message in messages)
        keys = super().push_messages(messages)
        self.pushes += 1
        if here and self.moment == "after":
            raise PowerCut
        return keys

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        if self.cut is None or self.pushes != self.cut + 1:
            return super().pull_messages(message_ids)
        if self._read:
            raise PowerCut
        self._read = True
        return super().pull_messages(list(message_ids)[:1])


def smaller(run_config: dict[str, Any]) -> dict[str, Any]:
    """The smoke scenario, smaller still; its learning rate makes up for its few steps."""
    tiny = {"features": 2, "steps": 3, "batch-size": 2, "window-overlap": 0.0, "learning-rate": 0.05, "device": "cpu"}
    return run_config | tiny | {"order": "given", "centers": ",".join(CENTERS)}


def start(config: dict[str, Any], folder: Path, grid: CutGrid | None = None) -> CutGrid:
    """Run from the beginning, as the command line does."""
    config = config | {"output-dir": str(folder)}
    folder.mkdir(exist_ok=True)
    HowLaunched(run_config=config).save(folder)
    grid = grid or CutGrid.simulated(client, config, nodes=2)
    grid.run_config = config
    server.app.app(grid, Context(1, 1, {}, RecordDict(), config))
    return grid


def go_on(going: Continuation, cut: int | None = None, moment: Moment = "before") -> CutGrid:
    """Go on as planned, perhaps to the next cut."""
    config = going.settings.to_run_config() | {"output-dir": str(going.folder)}
    grid = CutGrid.simulated(client, config, nodes=2)
    grid.cut, grid.moment = cut, moment
    server.app.app(grid, Context(2, 1, {}, RecordDict(), config))
    return grid


def extension(folder: Path, center: str, output: Path) -> Continuation:
    """An extension by a simulated hospital, which makes its data when it is asked."""
    return plan_extension(folder, center, output, lambda settings, launched: None)


def cut_off(config: dict[str, Any], folder: Path, cut: int, moment: Moment) -> CutGrid:
    """Run to the cut."""
    grid = CutGrid.simulated(client, config, nodes=2)
    grid.cut, grid.moment = cut, moment
    with pytest.raises(PowerCut):
        start(config, folder, grid)
    assert not (folder / "results.json").exists()
    return grid


def lasting(folder: Path) -> dict[str, Any]:
    """What a run computed: its results without costs, history, and where they were written."""
    results = read_results(folder).model_dump(mode="json")
    del results["history"]
    for key in ("output-dir", "resume"):
        del results["settings"][key]
    results["stages"] = timeless(results["stages"])
    results["model"] = (folder / "model.safetensors").read_bytes()
    results["matrix"] = (folder / "matrix.csv").read_text()
    return results


def timeless(part: Any) -> Any:
    """A part of results without the seconds that anything took, and the messages that it took.

    (How many a run needs hangs on its interruptions; how long one is, on the digits of its times.)
    """
    costs = ("_seconds", "sent_bytes", "received_bytes")
    if isinstance(part, dict):
        return {key: timeless(value) for key, value in part.items() if not key.endswith(costs)}
    return [timeless(value) for value in part] if isinstance(part, list) else part


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK
    }

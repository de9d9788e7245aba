"""The parts of a round of federated averaging: what each center answered, on disk until their average is.

A run that is interrupted within a round goes on with the centers that have not answered yet.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from shared.config.groups import NetworkSettings
from shared.errors import DamagedError
from shared.stage_archive import KeptVisit, keep_visit, open_visit
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from shared.wire.request_digest import request_digest


def read_parts(journal: Path, round_: int, set_aside: Callable[[list[Path], str], None]) -> dict[Path, KeptVisit]:
    """The parts of `round_` in a journal's folder; `set_aside` gets what is damaged, or built on what was."""
    parts = {}
    for folder in sorted(journal.glob("round-*")):
        try:
            kept = open_visit(folder)
            if kept.visit.stage > round_:
                raise DamagedError(f"{folder} goes on from a round that is not there")
        except DamagedError as error:
            set_aside([folder], f"{error}: its center trains this round again")
            continue
        if kept.visit.stage < round_:  # its average was kept, and then the coordinator ended
            shutil.rmtree(folder, ignore_errors=True)
        else:
            parts[folder] = kept
    return parts


class Parts:
    """The parts that are there of the round under way, in the journal's folder."""

    def __init__(self, folder: Path, kept: Mapping[Path, KeptVisit]) -> None:
        self._folder = folder
        self._kept = dict(kept)

    def find(self, request: TrainRequest) -> KeptVisit | None:
        """What a center answered to this very request, or nothing."""
        kept = self._kept.get(self._place(request.task))
        return kept if kept is not None and kept.visit.request == request_digest(request) else None

    def add(self, request: TrainRequest, reply: TrainReply, network: NetworkSettings) -> KeptVisit:
        """Keep an answer. Raises `OSError` where the disk refuses."""
        folder = self._place(request.task)
        shutil.rmtree(folder, ignore_errors=True)  # the answer to another request
        self._kept[folder] = keep_visit(folder, request, reply, network)
        return self._kept[folder]

    def forget(self) -> None:
        """Delete all parts: their average is on disk."""
        for folder in self._kept:
            shutil.rmtree(folder, ignore_errors=True)
        self._kept = {}

    def _place(self, task: TrainTask) -> Path:
        return self._folder / f"round-{task.stage:03d}-{task.center}"

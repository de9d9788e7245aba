"""Checkpoints of a stage's training on disk, from which it goes on where its process ended."""

import io
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from client.training.attempts import KEPT
from client.training.trainer import STATE
from shared.errors import DamagedError
from shared.files import file_checksum, read_document, write_document, write_whole
from shared.log import say

DOCUMENT, SOURCES = "checkpoint.json", "sources.json"


@dataclass
class CheckpointFiles:
    """The last checkpoint of one training, in its folder; `Checkpoints` of client/training/trainer.py."""

    folder: Path
    digest: str
    """Of the request that the training answers; those of another are not used."""
    center: str
    every_seconds: float
    sources: Mapping[str, Collection[str]] | None = None
    """On whom the training is: the contrasts of each subject, by pseudonym."""
    voided: Callable[[frozenset[str]], None] = lambda subjects: None
    """Hears whose going or coming has the training begin anew."""
    _saved_at: float = field(default_factory=time.monotonic)

    def load(self) -> dict[str, Any] | None:
        """The state of the last checkpoint, or nothing where there is none that can be used."""
        if self.sources is not None:
            self._begin(self.sources)
        try:
            about = read_document(self.folder / DOCUMENT)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            self._start_over(error)
            return None
        try:
            path = self.folder / str(about["file"])
            if about["request"] != self.digest:
                raise DamagedError("it belongs to another request")
            if file_checksum(path) != about["sha256"]:
                raise DamagedError(f"{path} does not match its checksum")
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state.keys() - KEPT != STATE:
                raise DamagedError(f"{path} is of another version")
        except (DamagedError, OSError, KeyError, TypeError, AttributeError) as error:
            self._start_over(error)
            return None
        say(f"{self.center}: going on after step {len(state['losses'])}, where a checkpoint was kept")
        return state

    def _start_over(self, error: Exception) -> None:
        say(f"{self.center}: a checkpoint is not used ({error}): training from the start")

    def _begin(self, sources: Mapping[str, Collection[str]]) -> None:
        """Where an earlier process trained on others, delete its checkpoints, and tell `voided` whose going or coming.

        They hold what a withdrawn subject taught, and count on images that are not there.
        """
        new = {subject: sorted(contrasts) for subject, contrasts in sources.items()}
        path = self.folder / SOURCES
        try:
            old = self._sources()
        except (DamagedError, TypeError, ValueError) as error:
            self._start_over(error)
            old = {}
            self.voided(frozenset())
        if old == new:
            return
        if old:
            self.voided(frozenset(subject for subject in old | new if old.get(subject) != new.get(subject)))
        self.forget()
        try:
            write_document(path, new)
        except OSError as error:
            say(f"{self.center}: {path} cannot be written ({error.strerror or error}): going on without")

    def _sources(self) -> dict[str, list[str]]:
        """On whom an earlier process trained, nobody where none did.

        Raises `DamagedError`, `TypeError` or `ValueError` where that cannot be read.
        """
        try:
            return dict(read_document(self.folder / SOURCES))
        except FileNotFoundError:
            return {}

    def subjects(self) -> Collection[str]:
        """On whom the training is, or was, as far as that can be read."""
        try:
            return self._sources().keys()
        except (DamagedError, TypeError, ValueError):
            return ()

    def forget(self) -> None:
        """Delete what is kept: the training begins anew."""
        for name in (DOCUMENT, SOURCES):
            (self.folder / name).unlink(missing_ok=True)
        for path in self.folder.glob("step-*.pt"):
            path.unlink(missing_ok=True)

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        return time.monotonic() - self._saved_at >= self.every_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Keep a checkpoint in place of the last. Where the disk refuses, training goes on without."""
        path = self.folder / f"step-{len(state['losses']):06d}.pt"
        buffer = io.BytesIO()
        torch.save(state, buffer)
        try:
            write_whole(path, buffer.getbuffer())
            about = {"file": path.name, "sha256": file_checksum(path), "request": self.digest}
            write_document(self.folder / DOCUMENT, about)
            for old in self.folder.glob("step-*.pt"):
                if old != path:
                    old.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or error
            say(f"{self.center}: a checkpoint cannot be kept in {self.folder} ({reason}): going on without")
        self._saved_at = time.monotonic()

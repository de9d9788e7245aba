"""The simulated patients that the figures are measured on, and the hospital that has them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from flwr.app import Context, RecordDict

from client.data.inventory import Case
from client.data.preprocessing import Volume
from client.handlers import Desk
from client.hospital.center import Hospital, open_hospital
from client.hospital.config import Site
from scenarios.simulation.hospitals import prepare_hospitals
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from shared.paths import cache_folder


@dataclass(frozen=True)
class Bedside:
    """A hospital whose state is kept in a folder of the benchmark's, so that nothing of it outlasts that."""

    center: str
    settings: Settings
    state: Path

    @property
    def desk(self) -> Desk:
        """Where its messages are answered."""
        return Desk(find=lambda center, context, settings: self._site(settings))

    @property
    def site(self) -> Site:
        """What the hospital is; its data are made where they are missing."""
        return self._site(self.settings)

    def _site(self, settings: Settings) -> Site:
        return replace(simulated_site(self.center, settings), state=self.state / self.center)

    def open(self) -> Hospital:
        """Its subjects, divided into training and test as in a run."""
        with hushed():
            prepare_hospitals(self.settings, lambda line: None)
        return open_hospital(self.site, cache_folder(self.settings.data.cache_dir), self.settings)

    def training(self) -> list[tuple[Case, Volume]]:
        """The volumes that it trains on."""
        hospital = self.open()
        with hushed():
            return hospital.open(hospital.training)[0]

    @property
    def context(self) -> Context:
        """Flower's context of a node that simulates this hospital."""
        node = {"partition-id": 0, "num-partitions": 1}
        return Context(0, 0, dict(node), RecordDict(), dict(self.settings.to_run_config()))


@contextmanager
def hushed() -> Iterator[None]:
    """Without the lines that a hospital says to whoever watches its run."""
    with redirect_stdout(io.StringIO()):
        yield

"""The ClientApp of `flwr run`: it answers as simulated hospitals, and as deployed ones where a node is one.

Like client/app.py, it brings in no torch before the first message.
"""

from typing import TYPE_CHECKING

from client.app import hospital_app

if TYPE_CHECKING:
    from client.hospital.config import Site
    from shared.config.settings import Settings


def find(center: str, settings: "Settings") -> "Site":
    """The hospital that a simulated center is. Raises `SettingsError`."""
    from scenarios.simulation.sites import simulated_site

    return simulated_site(center, settings)


app = hospital_app(simulated=find)

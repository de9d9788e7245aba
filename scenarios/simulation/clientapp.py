"""The ClientApp of `flwr run`: it answers as simulated hospitals, and as deployed ones where a node is one.

Like client/app.py, it brings in no torch before the first message.
"""

from typing import TYPE_CHECKING

from client.app import hospital_app

if TYPE_CHECKING:
    from flwr.app import Context

    from client.hospital.config import Site
    from shared.config.settings import Settings


def find(center: str, context: "Context", settings: "Settings") -> "Site":
    """The hospital that `center` is at a node. Raises `SettingsError` or `TrustError`."""
    from scenarios.simulation.sites import find_site

    return find_site(center, context, settings)


app = hospital_app(find=find)

"""What a SuperNode is: one hospital, or in simulation one or several made-up ones.

Its node config says so: `hospital` names a `hospital.toml`, which says all else. Flower's simulation gives partitions
instead; whoever simulates owns all data, and allows everything. Nobody else is anybody: what runs on patients is what
their hospital approved, and that stands beside its `hospital.toml`.
"""

from pathlib import Path

from flwr.app import Context

from client.governance.pinned_keys import Peers
from client.hospital.config import Site
from shared.config.settings import Settings
from shared.errors import SettingsError
from shared.paths import cache_folder, writable_folder

NOBODY = (
    "this SuperNode does not say whose it is: make a hospital.toml by 'wardround hospital init', and join with "
    "'wardround hospital join' (which starts it with --node-config \"hospital='/FOLDER/hospital.toml'\")"
)
SIMULATED = (
    "this ClientApp knows no simulated hospitals: simulate with the one that pyproject.toml names, "
    "scenarios.simulation.clientapp"
)
NO_PINS = Peers({}, {}, "a hospital.toml, of which a simulated hospital has none")


def is_simulated(context: Context) -> bool:
    """Whether Flower's simulation gave this node its partition."""
    return "partition-id" in context.node_config


def simulated_centers(context: Context, settings: Settings) -> tuple[str, ...]:
    """The centers of a simulated node: every n-th one."""
    config = context.node_config
    return settings.run.participants[int(config["partition-id"]) :: int(config["num-partitions"])]


def no_simulation(center: str, settings: Settings) -> Site:
    """Raises `SettingsError`: for a ClientApp that knows no simulated hospitals."""
    raise SettingsError(SIMULATED)


def site_here(context: Context) -> Site:
    """The hospital that a deployed node is. Raises `SettingsError` or `TrustError`."""
    if "hospital" not in context.node_config:
        raise SettingsError(NOBODY)
    path = Path(str(context.node_config["hospital"]))
    site = Site.read(path)
    if context.node_config.get("center", site.center) != site.center:
        raise SettingsError(
            f"this SuperNode was started as center {context.node_config['center']}, but {path} is that of "
            f"{site.center}: leave center out of --node-config",
            f"this SuperNode was started as another center than {site.center}, which its hospital.toml names",
        )
    return site


def prepared_folder(site: Site, simulated: bool, settings: Settings) -> Path:
    """Where prepared volumes are kept: patients' images, and so nowhere that a coordinator names.

    Raises `ResultsError` where it cannot be written.
    """
    folder = cache_folder(settings.data.cache_dir) if simulated else site.state / "prepared"
    return writable_folder(folder, "cache folder")

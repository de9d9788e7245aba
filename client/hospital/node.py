"""What a SuperNode is: one hospital, or in simulation one or several made-up ones.

Its node config says so. `hospital` names a `hospital.toml`, which says all else. `center` and
`data-dir` (and `state-dir`) without that file make a hospital that trains and tests, and shares
no exemplar. Flower's simulation gives partitions instead; whoever simulates owns all data, and
allows everything.
"""

from pathlib import Path

from flwr.app import Context

from client.governance.pinned_keys import Peers
from client.governance.policy import Policy
from client.hospital.config import Data, Site
from shared.config.settings import Settings
from shared.errors import SettingsError
from shared.paths import cache_folder, writable_folder

NOBODY = (
    "this SuperNode does not say whose it is: start it with --node-config \"hospital='/FOLDER/hospital.toml'\", or "
    "with --node-config \"center='NAME' data-dir='/FOLDER'\""
)
SIMULATED = (
    "this ClientApp knows no simulated hospitals: simulate with the one that pyproject.toml names, "
    "scenarios.simulation.clientapp"
)
NO_PINS = Peers({}, {}, "a hospital.toml, of which this SuperNode has none")


def is_simulated(context: Context) -> bool:
    """Whether Flower's simulation gave this node its partition."""
    return "partition-id" in context.node_config


def centers_here(context: Context, settings: Settings) -> tuple[str, ...]:
    """The centers of this node: its own when deployed, every n-th one in simulation.

    Raises `SettingsError` where the node does not say, or its `hospital.toml` is wrong.
    """
    config = context.node_config
    if is_simulated(context):
        return settings.run.participants[int(config["partition-id"]) :: int(config["num-partitions"])]
    if "hospital" in config:
        return (_site(context).center,)
    if "center" not in config or "data-dir" not in config:
        raise SettingsError(NOBODY)
    return (str(config["center"]),)


def site_of(center: str, context: Context, settings: Settings) -> Site:
    """The hospital that `center` is at this node, which is deployed. Raises `SettingsError` or `TrustError`."""
    config = context.node_config
    if is_simulated(context):
        raise SettingsError(SIMULATED)
    if "hospital" in config:
        return _site(context)
    state = config.get("state-dir")
    return Site(
        center=center,
        state=Path(str(state)).expanduser() if state else cache_folder(settings.data.cache_dir) / "state" / center,
        data=Data(folder=Path(str(config["data-dir"])), contrasts=settings.data.contrasts),
        coordinator=None,
        peers=NO_PINS,
        policy=Policy(role="both"),
    )


def prepared_folder(site: Site, context: Context, settings: Settings) -> Path:
    """Where prepared volumes are kept: patients' images, and so nowhere that a coordinator names.

    Raises `ResultsError` where it cannot be written.
    """
    ours = not is_simulated(context) and "hospital" in context.node_config
    return writable_folder(site.state / "prepared" if ours else cache_folder(settings.data.cache_dir), "cache folder")


def _site(context: Context) -> Site:
    path = Path(str(context.node_config["hospital"]))
    site = Site.read(path)
    if context.node_config.get("center", site.center) != site.center:
        raise SettingsError(
            f"this SuperNode was started as center {context.node_config['center']}, but {path} is that of "
            f"{site.center}: leave center out of --node-config",
            f"this SuperNode was started as another center than {site.center}, which its hospital.toml names",
        )
    return site

"""Whether the Ray cluster that the environment names is there."""

import os
import re
import socket

from shared.errors import LaunchError

SECONDS = 10.0
"""For which an answer is waited; Ray itself would wait for minutes."""

_ADDRESS = re.compile(r"(?:ray://)?(?P<host>[^/]+):(?P<port>\d+)")


def cluster_address() -> str | None:
    """The Ray cluster that the user names by `RAY_ADDRESS`; none where it means this machine alone."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return address if address and address != "local" else None


def check_cluster(address: str) -> None:
    """Raise `LaunchError` where nobody listens at `host:port` or `ray://host:port`; of `auto`, Ray finds out."""
    if (found := _ADDRESS.fullmatch(address)) is None:
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=SECONDS).close()
    except (OSError, OverflowError) as error:
        raise no_cluster(address, str(error)) from None


def no_cluster(address: str, reason: str) -> LaunchError:
    """What to say of a cluster that is not there."""
    return LaunchError(
        f"the Ray cluster at RAY_ADDRESS={address} does not answer ({reason}): "
        "start it, or unset RAY_ADDRESS to use this machine alone"
    )

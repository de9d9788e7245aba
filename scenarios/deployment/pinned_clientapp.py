"""A joined hospital runs the Wardround that it installed, whatever code a coordinator ships.

Flower sends the application's code to a node with each run. Its SuperNode starts `flwr-clientapp`, by
that bare name, to install that code and run it. Here the name leads to this module first: it does
what `flwr-clientapp` does, but installs nothing and loads the ClientApp of this very installation.
So the policy is enforced by code that the hospital has read, and where the coordinator's differs the
roll call says so (server/roster.py). The other things that a SuperNode could be told to start are refused.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared.errors import LaunchError
from shared.files import private_folder

RUNS = "flwr-clientapp"
REFUSED = ("flwr-agentapp", "flwr-connector", "flwr-model", "flwr-serverapp", "flwr-simulation")
"""What else a SuperNode starts by name."""


def guarded(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment in which Flower's names lead here; `folder` is made for them.

    Raises `LaunchError` where it cannot be written or run from, or where this Flower would not ask there.
    """
    check_flower()
    private_folder(folder, "folder")
    path = os.pathsep.join([str(folder), environment.get("PATH", os.defpath)])
    for name in (RUNS, *REFUSED):
        _write(folder / name, name)
        if shutil.which(name, path=path) != str(folder / name):
            # Flower would pass it over, and run what the coordinator sent.
            raise LaunchError(
                f"programs cannot be run from {folder}: choose a state-dir without {os.pathsep!r} in its path, on a "
                "disk that is not mounted noexec"
            )
    return {**environment, "PATH": path}


def check_flower() -> None:
    """Raise `LaunchError` where this version of Flower starts or loads apps in a way that is not known here."""
    from shared.flower_private import clientapp_runtime, commands_of_a_supernode

    unknown = sorted(commands_of_a_supernode() - {RUNS, *REFUSED})
    unknown += [name for name in _replaced() if not hasattr(clientapp_runtime(), name)]
    if unknown:
        raise LaunchError(
            f"this version of Flower has other ways to run a coordinator's code ({', '.join(unknown)}): "
            "install flwr as .ci/constraints.txt has it"
        )


def main() -> None:
    """What `flwr-clientapp` and the others are where a hospital has joined."""
    name = sys.argv.pop(1)
    sys.argv[0] = name
    if name != RUNS:
        sys.exit(f"{name} was asked for, which no hospital runs: refused")
    from shared.flower_private import clientapp_runtime, flwr_clientapp

    for name, ours in _replaced().items():
        setattr(clientapp_runtime(), name, ours)
    flwr_clientapp()


def _replaced() -> dict[str, Callable[..., Any]]:
    """By its name in Flower's `run_clientapp`, what takes its place."""
    return {
        "install_from_fab": _install_nothing,
        "install_app_dependencies": _no_dependencies,
        "get_load_client_app_fn": _loader,
    }


def _install_nothing(*_: Any, **__: Any) -> None:
    """The coordinator's code stays in the message that brought it."""


def _no_dependencies(*_: Any, **__: Any) -> None:
    raise LaunchError("the coordinator's code asks for packages to be installed: refused")


def _loader(*_: Any, **__: Any) -> Callable[..., Any]:
    def load(*_: Any) -> Any:
        from client.app import app

        return app

    return load


def _write(path: Path, name: str) -> None:
    command = shlex.join([sys.executable, "-P", "-m", "scenarios.deployment.pinned_clientapp", name])
    try:
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o700)
    except OSError as error:
        raise LaunchError(f"{path} cannot be written ({error.strerror}): let this user write it") from None


if __name__ == "__main__":
    main()

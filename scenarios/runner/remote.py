"""Run a Flower app on a SuperLink that is there already, follow its log, and say truly how it ended."""

import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from scenarios.processes.output import own_words
from scenarios.processes.supervisor import flower_command
from scenarios.run_config import Value, toml_lines
from scenarios.runner.local import completed
from shared.errors import LaunchError

_STARTED = re.compile(r"Successfully started run (\d+)")


def run_on(
    superlink: str,
    app: Path,
    run_config: Mapping[str, Value],
    on_line: Callable[[str], None],
    home: Path | None = None,
) -> str:
    """Run the app on the SuperLink connection `superlink` of Flower's configuration, to its end.

    The configuration is the one in the folder `home`, else the user's own.

    Returns the final status, `finished:completed`; raises `LaunchError` with the reason where
    Flower knows no such connection or the run did not complete. On KeyboardInterrupt the run
    goes on without being followed.
    """
    flwr = flower_command("flwr")
    check_known(superlink, home)
    environment = {**os.environ, "FLWR_DISABLE_UPDATE_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    if home is not None:
        environment["FLWR_HOME"] = str(home)
    heard: list[str] = []
    run = ""
    with tempfile.TemporaryDirectory(prefix="wardround-") as folder:
        settings = Path(folder) / "run-config.toml"
        settings.write_text(toml_lines(run_config), encoding="utf-8")
        follow = subprocess.Popen(
            [flwr, "run", str(app), superlink, "--stream", "--run-config", str(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        assert follow.stdout is not None
        try:
            for raw in follow.stdout:
                line = own_words(raw.decode("utf-8", "replace").rstrip("\r\n"))
                if started := _STARTED.search(line):
                    run = started[1]
                heard.append(line)
                # A long run prints much, and only its end can explain a failure.
                del heard[:-200]
                on_line(line)
            code = follow.wait()
        except KeyboardInterrupt:
            follow.terminate()
            follow.wait()
            on_line(f"no longer following run {run or '(not started)'}: it goes on at the SuperLink {superlink}")
            raise
    if not run:
        raise LaunchError("\n".join([f"flwr could not run the app on SuperLink {superlink}:", *heard[-15:]]))
    listing = subprocess.run(
        [flwr, "list", superlink, "--run-id", run, "--format", "json"], capture_output=True, text=True, env=environment
    )
    if listing.returncode:
        raise LaunchError(
            f"the SuperLink {superlink} was lost while run {run} was followed (flwr ended with code {code}): "
            "see whether it runs"
        )
    return completed(listing.stdout, heard)


def check_known(superlink: str, home: Path | None) -> None:
    """Raise `LaunchError` where Flower's configuration, in `home` or the user's own, has no such connection."""
    folder = home or Path(os.environ.get("FLWR_HOME") or "~/.flwr").expanduser()
    path = folder / "config.toml"
    entry = f'[superlink.{superlink}]\naddress = "HOST:PORT"\nroot-certificates = "CA.crt"'
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("superlink", {})
    except FileNotFoundError:
        raise LaunchError(f"Flower knows no SuperLink yet: write {path} with\n{entry}") from None
    except (OSError, ValueError) as error:
        raise LaunchError(f"{path}, Flower's configuration, cannot be read ({error}): mend it") from None
    known = sorted(name for name, entry in table.items() if isinstance(entry, dict))
    if superlink not in known:
        raise LaunchError(
            f"Flower knows no SuperLink {superlink!r}: {path} has {', '.join(known) or 'none'}; give one of these, or "
            f"add\n{entry}"
        )

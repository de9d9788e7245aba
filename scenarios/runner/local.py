"""Run a Flower app in simulation, follow its log, and say truly how it ended.

`flwr run --stream` exits with 0 whether the run finished or failed, and leaves a SuperLink
behind. `launch` starts a SuperLink of its own (scenarios/runner/superlink.py), hands each line of
the run to the caller as it comes, asks for the final status, and stops all that it started.

The lines come by one road: what a ServerApp prints or logs goes to the SuperLink, and what a
ClientApp prints goes there too, by way of Ray, at most about a second late.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from scenarios.processes.output import own_words, plain, tail
from scenarios.processes.ray_address import cluster_address
from scenarios.run_config import Value, toml_lines
from scenarios.runner.superlink import CONNECTION, superlink
from shared.errors import LaunchError

# The Flower command line, imported while the SuperLink starts: that saves two seconds, and as
# much again for the second command. A line on its standard input is the sign to run the app;
# then it prints the list of runs after a mark.
_SPEAKER = """
import sys
import click
from shared.flower_private import command_line

mark, connection, *run = sys.argv[1:]
if not sys.stdin.readline():
    sys.exit("the launcher ended")
app = command_line()
try:
    app(["run", *run], standalone_mode=False)
    print(mark, flush=True)
    app(["list", connection, "--format", "json"], standalone_mode=False)
except click.ClickException as error:
    sys.exit("Error: " + error.format_message())
"""
_MARK = "\x1e"

COMPLETED = "finished:completed"
"""How Flower calls the end of a run that came to it."""

# What Flower says in place of the reason.
_WRAPPINGS = {"An error was encountered. Ending simulation.", "Simulation Runtime crashed."}


@dataclass(frozen=True)
class Launch:
    """A Flower app and what to run it with."""

    app: Path
    """The folder that holds `pyproject.toml`."""
    run_config: Mapping[str, Value]
    """What differs from the app's own run-config."""
    supernodes: int
    """The simulated SuperNodes."""
    cpus: int
    """The CPU cores of each ClientApp; more than the machine has is an error."""
    gpus: float = 0.0
    """The GPUs of each ClientApp; 0.5 lets two share one."""
    cores: int | None = None
    """The CPU cores of all ClientApps together; none: the machine's."""


def launch(launch: Launch, on_line: Callable[[str], None], is_last: Callable[[str], bool] = lambda line: False) -> str:
    """Run the app to its end and return its final status, `finished:completed`.

    `on_line` gets each line of the log without line end, colours and Ray's `(ClientAppActor
    pid=...)`. Where `is_last` says of one that all is written by then, it is the end: the seconds
    in which Ray and Flower say goodbye to each other are spared, but not to a cluster of others.
    Raises `LaunchError` with the reason when the run did not complete. When this function is
    left, nothing that it started is running; KeyboardInterrupt passes through, and in the main
    thread SIGTERM and SIGHUP become SystemExit.
    """
    app = launch.app.resolve()
    if not (app / "pyproject.toml").is_file():
        raise LaunchError(f"{app} is no Flower app: it holds no pyproject.toml")
    with superlink(app) as ours:
        settings = ours.folder / "run-config.toml"
        settings.write_text(toml_lines(launch.run_config), encoding="utf-8")
        run = [str(app), CONNECTION, "--stream", "--run-config", str(settings)]
        run += ["--federation-config", federation_config(launch)]
        speaker = ours.child(
            [sys.executable, "-P", "-c", _SPEAKER, _MARK, CONNECTION, *run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert speaker.stdin is not None and speaker.stdout is not None
        ours.wait()
        with suppress(BrokenPipeError):  # one that ended already has said why
            speaker.stdin.write(b"run\n")
            speaker.stdin.flush()
        heard: list[str] = []

        def hear(line: str) -> None:
            ours.note_sessions()
            on_line(line)

        listing = _follow(speaker.stdout, hear, heard, is_last if cluster_address() is None else lambda line: False)
        if listing is None:
            ours.hurry()
            return COMPLETED
        if speaker.wait() == 0:
            return completed(listing, heard)
        if ours.process.poll() is not None:
            raise LaunchError(
                f"the SuperLink ended during the run, with code {ours.process.returncode}:\n{tail(ours.log)}"
            )
        raise LaunchError("\n".join(["flwr could not run the app:", *heard[-15:], *_errors(ours.log)]))


def _follow(
    pipe: IO[bytes], on_line: Callable[[str], None], heard: list[str], is_last: Callable[[str], bool]
) -> str | None:
    """Pass on all lines up to the mark, keep them in `heard`, and return what follows the mark.

    None where another line was the last.
    """
    lines = _text(pipe)
    for line in lines:
        # The log's last line may lack its end, and then the mark shares it.
        marked, line = line.endswith(_MARK), line.removesuffix(_MARK)
        if marked and not line:
            break
        heard.append(line)
        # A long run prints much, and only its end can explain a failure.
        del heard[:-200]
        on_line(line)
        if is_last(line):
            return None
        if marked:
            break
    return "\n".join(lines)


def _text(pipe: IO[bytes]) -> Iterator[str]:
    for line in pipe:
        yield own_words(line.decode("utf-8", "replace").rstrip("\r\n"))


def _errors(log: Path) -> list[str]:
    """The errors in a SuperLink's log: there it names the wrong key, which it does not tell `flwr run`."""
    lines = plain(log.read_text("utf-8", "replace")).splitlines()
    return [line for line in lines if line.startswith("ERROR")]


def completed(listing: str, heard: Iterable[str]) -> str:
    """The final status in the answer of `flwr list --format json`.

    Raises `LaunchError` when the one run did not complete. Flower gives the reason; where it
    only says that something went wrong, the last error in the log stands for it.
    """
    try:
        run: dict[str, Any] = json.loads(listing)["runs"][0]
        status, details = str(run["status"]), str(run.get("status-details", ""))
    except (ValueError, LookupError, TypeError) as error:
        raise LaunchError(f"flwr does not say how the run ended: {listing.strip() or error}") from error
    if status == COMPLETED:
        return status
    reason = details.removeprefix("Simulation failed with exception: ").strip()
    if reason in {"", "N/A", *_WRAPPINGS}:
        reason = last_error(heard) or reason
    raise LaunchError(f"the run ended as {status}: {reason or 'run again with --verbose to see why'}")


def last_error(heard: Iterable[str]) -> str:
    """What the last exception in the log said that is not Flower's wrapping, or nothing."""
    matches = (re.match(r"[\w.]*(?:Error|Exception): (.+)", line) for line in heard)
    messages = [match[1] for match in matches if match and match[1] not in _WRAPPINGS]
    return messages[-1] if messages else ""


def federation_config(launch: Launch) -> str:
    """The simulation's size, as `--federation-config` takes it."""
    config = (
        f"num-supernodes={launch.supernodes} client-resources-num-cpus={launch.cpus} "
        f"client-resources-num-gpus={float(launch.gpus)}"
    )
    return config if launch.cores is None else f"{config} init-args-num-cpus={launch.cores}"

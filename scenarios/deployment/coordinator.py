"""A coordinator's folder: certificates, database, and the connection by which commands reach its SuperLink.

    FOLDER/
      ca.crt              the authority's certificate: give it to the hospitals
      tls/                keys and the server certificate, for their owner alone
      state.db            who is enrolled, runs, messages under way
      flower/config.toml  Flower's connection `wardround`
      superlink.log

The SuperLink listens on the loopback address alone. Its Control API asks nobody who they are,
and whoever reaches it can run code at every hospital: the outside world sees the Fleet API,
through a proxy (scenarios/deployment/nginx.py).
"""

import re
import shutil
import socket
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from scenarios.deployment.certificates import LOOPBACK, Files, check_server, make_trial
from scenarios.processes.supervisor import End, flower_command
from shared.errors import LaunchError, ResultsError
from shared.files import private_folder, write_whole
from shared.text import quoted

CONNECTION = "wardround"
HOST = "127.0.0.1"
PORT = 9092
"""Not Flower's own default, at which another project's SuperLink may listen."""


@dataclass(frozen=True)
class Coordinator:
    """Where things lie in a coordinator's folder."""

    folder: Path

    @property
    def tls(self) -> Files:
        """The inner connection's certificate files."""
        inside = self.folder / "tls"
        return Files(self.folder / "ca.crt", inside / "server.pem", inside / "server.key")

    @property
    def home(self) -> Path:
        """What Flower's commands need as FLWR_HOME."""
        return self.folder / "flower"

    @property
    def log(self) -> Path:
        """The SuperLink's own lines."""
        return self.folder / "superlink.log"

    @property
    def address(self) -> str:
        """Where the SuperLink listens. Raises `ResultsError` where the folder is no coordinator's."""
        path = self.home / "config.toml"
        try:
            return str(tomllib.loads(path.read_text("utf-8"))["superlink"][CONNECTION]["address"])
        except FileNotFoundError:
            raise ResultsError(
                f"{self.folder} is no coordinator's folder: make one by: wardround coordinator up {quoted(self.folder)}"
            ) from None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"{path} cannot be used ({error}): delete it, and start the coordinator again") from None

    @property
    def port(self) -> int:
        """The SuperLink's port on the loopback address."""
        return int(self.address.rpartition(":")[2])

    def prepare(self, port: int | None, hosts: Sequence[str], given: Files | None) -> list[str]:
        """Make what is missing in the folder; returns what was done, in words.

        A port and certificates that are there stay, unless others are asked for.
        """
        private_folder(self.folder, "coordinator's folder")
        private_folder(self.tls.key.parent, "key folder")
        private_folder(self.home, "folder")
        done = self._certificates(hosts, given)
        if port is None:
            port = self.port if (self.home / "config.toml").exists() else PORT
        connection = {"address": f"{HOST}:{port}", "root-certificates": str(self.tls.authority.resolve())}
        text = tomli_w.dumps({"superlink": {"default": CONNECTION, CONNECTION: connection}})
        text = f'# Written by "wardround coordinator up".\n{text}'
        (self.home / "config.toml").write_text(text, encoding="utf-8")
        return done

    def _certificates(self, hosts: Sequence[str], given: Files | None) -> list[str]:
        if given is not None:
            # Checked before anything is copied: an earlier, working set stays where this one is wrong.
            check_server(given, [*LOOPBACK, *hosts])
            shutil.copyfile(given.authority, self.tls.authority)
            shutil.copyfile(given.certificate, self.tls.certificate)
            write_whole(self.tls.key, given.key.read_bytes(), private=True)
            return [f"took the certificate {given.certificate}"]
        if self.tls.certificate.is_file() and not hosts:
            check_server(self.tls, LOOPBACK)
            return []
        new = not self.tls.authority.is_file()
        make_trial(self.tls, self.tls.key.parent / "authority.key", hosts)
        names = ", ".join([*LOOPBACK, *hosts])
        return [f"made {'an authority of our own and ' if new else ''}a certificate for {names}"]

    def command(self) -> list[str]:
        """The command line of the SuperLink. Raises `LaunchError` where its port is taken."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError as error:
                raise LaunchError(
                    f"port {self.port} of {HOST} cannot be used ({error.strerror}): end the coordinator that runs "
                    "there already, or choose another --port"
                ) from None
        options = ["--host", HOST, "--port", str(self.port), "--enable-supernode-auth"]
        options += ["--ssl-ca-certfile", str(self.tls.authority), "--ssl-certfile", str(self.tls.certificate)]
        options += ["--ssl-keyfile", str(self.tls.key), "--database", str(self.folder.resolve() / "state.db")]
        return [flower_command("flower-superlink"), *options, "--disable-runtime-dependency-installation"]


READY = "Uvicorn running on"
"""Ends the start in a SuperLink's log."""


def judge(end: End) -> str:
    """What a SuperLink's end means. Raises `LaunchError` where it would end so again."""
    text = "\n".join(end.last)
    if "Exit Code: 105" in text:
        raise LaunchError(
            "the database was made by another version of Flower, and this one cannot read it: install the version "
            "that made it, or set state.db aside and enroll the hospitals anew"
        )
    if end.seconds < 20 and (match := re.search(r"Exit Code: (\d+)\n(.*)", text)):
        raise LaunchError(f"the SuperLink cannot start: {match[2]} (Flower's exit code {match[1]})")
    return f"the SuperLink ended with code {end.code}"

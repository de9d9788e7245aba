"""The nginx configuration that shows the outside world a coordinator's Fleet API, and nothing else.

A SuperLink serves hospitals (Fleet), its own ServerApps (Runtime) and whoever gives orders
(Control) on one port. Here each Fleet call is listed, and the path that goes on to the SuperLink
is built from that list: a path of `..`, `%2e` or `//` cannot reach another API.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from shared.errors import SettingsError

FLEET = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "get-run",
    "get-fab",
    "pull-object",
    "push-object",
    "confirm-message-received",
)
"""What a SuperNode calls once it is enrolled; register-node and unregister-node are the coordinator's alone."""

BODY_MEGABYTES = 64
"""Flower cuts arrays into parts of 5 MB and a FAB has 10 MB at most; whoever is not enrolled shall not send more."""

UNSIGNED_KILOBYTES = 8
"""Of a request that is for no call of a node."""

RATE, BURST, CONNECTIONS = 200, 4000, 64
"""Requests a second of one address, how many more may come at once, and its connections.

A hospital moves one part of a message a request, and hospitals may share an address: a model of 200 arrays and a memory
of 1,000 crops come in one burst.
"""

SECONDS = 300
"""For the SuperLink's answer, which can take long while it writes a large message to its database."""


@dataclass(frozen=True)
class Proxy:
    """What nginx needs to know."""

    listen: str
    """Port, or address and port."""
    certificate: Path
    key: Path
    superlink: str
    """Address and port of the SuperLink."""
    authority: Path
    """By which the SuperLink's own certificate is checked."""

    def server(self) -> str:
        """The `server` block, to lie in /etc/nginx/conf.d."""
        return f"""\
# Written by "wardround coordinator proxy": hospitals reach the Fleet API, and nobody anything else.
limit_req_zone $binary_remote_addr zone=wardround_requests:10m rate={RATE}r/s;
limit_conn_zone $binary_remote_addr zone=wardround_connections:10m;

server {{
    listen {_plain(self.listen)} ssl;
    server_tokens off;

    ssl_certificate {_quoted(self.certificate)};
    ssl_certificate_key {_quoted(self.key)};
    ssl_protocols TLSv1.2 TLSv1.3;

    # Models pass through here, and leave no copy on this machine's disk.
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    client_max_body_size {UNSIGNED_KILOBYTES}k;
    client_body_timeout {SECONDS}s;
    proxy_read_timeout {SECONDS}s;
    proxy_send_timeout {SECONDS}s;

    location ~ ^/v1/fleet/({"|".join(FLEET)})$ {{
        limit_except POST {{ deny all; }}
        # Who is no node does not sign: that is answered here, and its body is not read.
        set $unsigned "";
        if ($http_flwr_signature = "") {{ set $unsigned 1; }}
        if ($http_flwr_public_key = "") {{ set $unsigned 1; }}
        if ($unsigned) {{ return 401; }}
        limit_req zone=wardround_requests burst={BURST} nodelay;
        limit_conn wardround_connections {CONNECTIONS};
        client_max_body_size {BODY_MEGABYTES}m;
        # From the list above, not from what was asked: no other path can come out.
        proxy_pass https://{_plain(self.superlink)}/v1/fleet/$1;
        proxy_http_version 1.1;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate {_quoted(self.authority)};
        # nginx compares names, not addresses.
        proxy_ssl_name localhost;
    }}

    location / {{ return 403; }}
}}
"""

    def standalone(self, folder: Path) -> str:
        """A whole configuration with its files in `folder`, for `nginx -c FILE` without root."""
        folders = "\n".join(
            f"    {kind}_temp_path {_quoted(folder / kind)};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        block = "".join(f"    {line}\n" if line else "\n" for line in self.server().splitlines())
        return f"""\
daemon off;
pid {_quoted(folder / "nginx.pid")};
error_log {_quoted(folder / "error.log")};
events {{}}
http {{
    access_log {_quoted(folder / "access.log")};
{folders}
{block}}}
"""


def nginx_command(configuration: Path) -> str:
    """How to start nginx with a standalone configuration."""
    return shlex.join(["nginx", "-e", str(configuration.parent / "error.log"), "-c", str(configuration)])


def _plain(text: str) -> str:
    if not text or set(text) - set("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:[]-*"):
        raise SettingsError(f"{text!r} is no place to listen at: give a port, or ADDRESS:PORT")
    return text


def _quoted(path: Path) -> str:
    text = str(path.absolute())
    if set(text) & set('"\\$\n'):
        raise SettingsError(f"{text} holds a character that nginx reads otherwise: choose another folder")
    return f'"{text}"'

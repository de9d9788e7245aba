"""A systemd unit that keeps a hospital joined."""

import getpass
import sysconfig
from pathlib import Path

from scenarios.deployment.hospital_file import Membership
from shared.errors import SettingsError


def unit_text(membership: Membership) -> str:
    """The unit, to be copied to /etc/systemd/system/wardround.service.

    The node may read the machine and write its state folder alone, and opens no door to the outside.
    """
    wardround = Path(sysconfig.get_path("scripts")) / "wardround"
    state = _word(membership.site.state)
    return f"""\
# Copy to /etc/systemd/system/wardround.service, then:
#   systemctl daemon-reload && systemctl enable --now wardround && journalctl -fu wardround
[Unit]
Description=Wardround at {membership.site.center}
Wants=network-online.target
After=network-online.target

[Service]
User={getpass.getuser()}
ExecStart={_word(wardround)} hospital join {_word(membership.source)}
# 143 is its answer to the SIGTERM by which systemd stops it.
SuccessExitStatus=143
TimeoutStopSec=30
# It starts its node again by itself, and ends only for what a person must mend; then trying is rare.
Restart=on-failure
RestartSec=300

# What the coordinator's code can reach here.
Environment=WARDROUND_CACHE={_word(membership.site.state / "cache")}
ReadWritePaths={state}
ReadOnlyPaths={_word(membership.site.data.folder)}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=true
NoNewPrivileges=true
ProtectKernelTunables=true
ProtectControlGroups=true
RestrictSUIDSGID=true

[Install]
WantedBy=multi-user.target
"""


def _word(path: Path) -> str:
    """A path as one word of a unit, where % and $ begin something else."""
    text = str(path.absolute())
    if set(text) & set(' "\\\n'):
        raise SettingsError(f"{text} holds a space or a sign that systemd reads otherwise: choose another path")
    return text.replace("%", "%%").replace("$", "$$")

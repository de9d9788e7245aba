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
    state = membership.site.state.absolute()
    return f"""\
# Copy to /etc/systemd/system/wardround.service, then:
#   systemctl daemon-reload && systemctl enable --now wardround && journalctl -fu wardround
[Unit]
Description=Wardround at {membership.site.center}
Wants=network-online.target
After=network-online.target

[Service]
User={getpass.getuser()}
ExecStart={_word(wardround)} hospital join {_word(membership.source.absolute())}
# 143 is its answer to the SIGTERM by which systemd stops it.
SuccessExitStatus=143
TimeoutStopSec=30
# It starts its node again by itself, and ends only for what a person must mend; then trying is rare.
Restart=on-failure
RestartSec=300

# What the coordinator's code can reach here.
Environment={_word(f"WARDROUND_CACHE={state / 'cache'}")}
ReadWritePaths={_word(state)}
ReadOnlyPaths={_word(membership.site.data.folder.absolute())}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=true
NoNewPrivileges=true
ProtectKernelTunables=true
ProtectControlGroups=true
RestrictSUIDSGID=true

# Patients' images leave the process by no other user, no core dump and no swap.
UMask=0077
LimitCORE=0
MemorySwapMax=0

[Install]
WantedBy=multi-user.target
"""


def _word(text: str | Path) -> str:
    """A path or a setting as one word of a unit, where % and $ begin something else, and a space ends a word."""
    text = str(text)
    if set(text) & set('"\\\n'):
        raise SettingsError(f"{text} holds a sign that systemd reads otherwise: choose another path")
    text = text.replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if " " in text else text

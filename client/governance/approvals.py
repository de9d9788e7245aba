"""The protocols that a hospital approved: one file each in its state folder, by their digests.

Only what stands in one of them is computed at a deployed hospital. Approval and its end are in the audit log.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from client.governance.records import AUDIT, Records
from shared.clock import Clock, stamp
from shared.errors import DamagedError, PolicyError, RecordError, SettingsError
from shared.files import private_folder, read_document, write_document
from shared.protocol.document import StudyProtocol, parse_protocol
from shared.text import counted

FOLDER = "protocols"
"""In the state folder."""

APPROVED, REVOKED = "protocol approved", "protocol revoked"
"""Messages of the audit log."""


@dataclass(frozen=True)
class Approval:
    """A protocol and since when it is approved."""

    protocol: StudyProtocol
    approved: str
    """UTC."""
    revoked: str = ""
    """Since when it is no longer; empty where it is."""


class Approvals:
    """What lies in a state folder."""

    def __init__(self, state: Path, center: str, clock: Clock) -> None:
        self._state, self._center = state, center
        self._folder = state / FOLDER
        self._log = AuditLog(state / AUDIT, clock)
        self._clock = clock

    def approve(self, protocol: StudyProtocol) -> None:
        """Keep a protocol; from now on this hospital acts by it. Raises `RecordError`."""
        self._keep(Approval(protocol, stamp(self._clock())))

    def revoke(self, begins: str) -> StudyProtocol:
        """Act no longer by the protocol whose digest begins so. Raises `SettingsError`, `RecordError`."""
        found = [one for one in self.all() if one.protocol.digest.startswith(begins) and not one.revoked]
        if len(found) != 1 or not begins:
            raise SettingsError(
                f"{counted(len(found), 'approved protocol')} begin with {begins!r}: give more of the digest, as "
                "`wardround hospital protocols` shows it"
            )
        self._keep(replace(found[0], revoked=stamp(self._clock())))
        return found[0].protocol

    def all(self) -> list[Approval]:
        """Every protocol that was ever approved, the oldest first. Raises `RecordError`."""
        found = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        return sorted(found, key=lambda one: (one.approved, one.protocol.digest))

    def find(self, digest: str) -> StudyProtocol:
        """The approved protocol of this digest. Raises `PolicyError` where there is none, `RecordError`."""
        short = digest[:8] or "(none was named)"
        path = self._folder / f"{digest}.json"
        if not digest or not path.is_file():
            raise PolicyError(
                f"this hospital has not approved protocol {short}: it gets the file from the coordinator and runs "
                "`wardround hospital approve HOSPITAL_TOML PROTOCOL`"
            )
        approval = self._read(path)
        if approval.revoked:
            raise PolicyError(f"this hospital has revoked protocol {short} on {approval.revoked[:10]}")
        return approval.protocol

    def _keep(self, approval: Approval) -> None:
        Records(self._state, self._center)  # begun before the first entry of the log, or whole
        digest, revoked = approval.protocol.digest, approval.revoked
        path = self._folder / f"{digest}.json"
        private_folder(self._folder, "folder of approved protocols")
        body = {"protocol": approval.protocol.document, "approved": approval.approved, "revoked": revoked}
        if not revoked:
            self._log.append("approved", Facts(message=APPROVED, checksums=(digest,)))
        try:
            write_document(path, body)
        except OSError as error:
            raise RecordError(
                f"{path} cannot be written ({error.strerror or error}): nothing was approved or revoked; free the "
                "disk, or let this user write the folder"
            ) from None
        if revoked:  # noted once it holds: what fails leaves the stricter of the two
            self._log.append("revoked", Facts(message=REVOKED, checksums=(digest,)))

    def _read(self, path: Path) -> Approval:
        try:
            body = read_document(path)
            protocol = parse_protocol(body["protocol"].encode(), str(path))
            if protocol.digest != path.stem:
                raise ValueError("it is another protocol than its name says")
            return Approval(protocol, str(body["approved"]), str(body["revoked"]))
        except (OSError, DamagedError, SettingsError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(
                f"the approved protocol {path} cannot be relied on ({error}): nothing is done by it; delete the file "
                "and approve the protocol again"
            ) from None

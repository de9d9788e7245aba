"""The commands `wardround hospital` about protocols: card, approve, protocols, revoke."""

from pathlib import Path
from typing import Annotated

import typer

from scenarios.cli.common import HospitalFile, read_site, say
from scenarios.run_config import default_run_config
from shared.clock import utc_now
from shared.errors import ResultsError, SettingsError
from shared.text import quoted


def add_approval_commands(hospital: typer.Typer) -> None:
    """Register the commands below."""
    for command in (card, approve, protocols, revoke):
        hospital.command()(command)


def card(
    site_file: HospitalFile,
    output: Annotated[Path | None, typer.Option(help="The file to write.  (default: CENTER.card.json)")] = None,
) -> None:
    """Write what the coordinator needs before it can propose a protocol: name, public key, number of patients.

    Makes the keys where there are none yet. The file names no patient.
    """
    from client.governance.keys import load_or_make_keys
    from client.governance.records import Records
    from client.hospital.enrolment_card import card_of
    from shared.files import write_whole

    site = read_site(site_file)
    Records(site.state, site.center)
    keys = load_or_make_keys(site.keys, site.center)
    written = card_of(site, keys.identity)
    path = output or Path(f"{site.center}.card.json")
    try:
        write_whole(path, written.document.encode())
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror}): give another --output") from None
    told = ", ".join(f"{number} with {contrasts}" for contrasts, number in written.subjects.items())
    say(f"wrote {path}: {site.center}, {written.role}, patients: {told}; send it to the coordinator")
    say(f"fingerprint, to be read out to the other hospitals:\n{keys.identity.fingerprint}")


def approve(
    site_file: HospitalFile,
    protocol: Annotated[Path, typer.Argument(help="The protocol that the coordinator proposes.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: it was read before.")] = False,
) -> None:
    """Show in plain words what a protocol asks of this hospital, and let it run once that was read.

    Nothing else is computed here. A protocol that names a key which is not pinned under [peers] is refused.
    """
    from client.hospital.approval import approve as approve_protocol
    from client.hospital.approval import read_for
    from shared.protocol.document import read_protocol

    reading = read_for(read_site(site_file), read_protocol(protocol), default_run_config())
    for line in reading.lines:
        say(line)
    if not yes and not typer.confirm("\nApprove this protocol?"):
        raise SettingsError("nothing was approved")
    approve_protocol(reading, utc_now)
    short = reading.protocol.digest[:8]
    say(f"\napproved: {short}; its end: wardround hospital revoke {quoted(site_file)} {short}")


def protocols(site_file: HospitalFile) -> None:
    """List the protocols that this hospital approved, and those that it revoked."""
    from client.governance.approvals import Approvals

    site = read_site(site_file)
    known = Approvals(site.state, site.center, utc_now).all()
    if not known:
        say(f"no protocol was approved: wardround hospital approve {quoted(site_file)} PROTOCOL")
    for one in known:
        end = f", revoked {one.revoked[:10]}" if one.revoked else ""
        say(f"{one.protocol.digest[:16]}  approved {one.approved[:10]}{end}  {one.protocol.title}".rstrip())


def revoke(
    site_file: HospitalFile,
    digest: Annotated[str, typer.Argument(help="How the protocol's digest begins.", show_default=False)],
) -> None:
    """End a protocol: from now on no message under it is answered here.

    What has left already, a model or a crop, does not come back by it.
    """
    from client.governance.approvals import Approvals

    site = read_site(site_file)
    ended = Approvals(site.state, site.center, utc_now).revoke(digest)
    say(f"{ended.digest[:16]} is revoked: no message under it is answered any more")

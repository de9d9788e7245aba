"""The commands `wardround hospital` about trust: keys, audit log, withdrawal, and what would leave."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.cli.common import HospitalFile, read_site, say
from scenarios.run_config import load_settings
from shared.clock import utc_now
from shared.errors import PolicyError, RecordError
from shared.text import printable

if TYPE_CHECKING:
    from client.governance.hash_chain import Entry
    from client.hospital.config import Site

CROPS = "would-leave.png"

Subject = Annotated[str, typer.Argument(help="As the data folder names it, such as sub-07.", show_default=False)]


def add_trust_commands(hospital: typer.Typer) -> None:
    """Register the commands below."""
    for command in (keys, audit, withdraw):
        hospital.command()(command)


def keys(site_file: HospitalFile) -> None:
    """Show this hospital's public key and fingerprint, and make the keys where there are none yet.

    Read the fingerprint out to the other hospitals over the telephone; give them the whole line in any way.
    """
    from client.governance.keys import load_keys, make_keys
    from client.governance.records import Records

    site = read_site(site_file)
    Records(site.state, site.center)
    made = not site.keys.exists()
    found = make_keys(site.keys, site.center) if made else load_keys(site.keys)
    say(f"{'made' if made else 'found'} the keys of {site.center} in {site.keys}")
    say(f"\npublic key, one line for the [peers] of the others:\n{found.identity}")
    say(f"\nfingerprint, to be read out:\n{found.identity.fingerprint}")


def audit(site_file: HospitalFile) -> None:
    """Show what was sent, received, refused and withdrawn, and verify that the log is whole.

    Exit code 1 where the log was changed or cut.
    """
    from client.governance.audit_log import AuditLog
    from client.governance.records import AUDIT, Records

    site = read_site(site_file)
    Records(site.state, site.center)
    log = AuditLog(site.state / AUDIT)
    verdict = log.verify()
    for entry in verdict.entries:
        say(printable(_line(entry)))
    for note in verdict.notes:
        say(f"note: {note}")
    if verdict.problem is not None:
        raise RecordError(f"the audit log was changed: {verdict.problem}; what stands above it is as it was written")
    head = log.head()
    say(f"{head.count} entries, whole; head {head.hash}: note it elsewhere too, and compare it next time")


def withdraw(
    site_file: HospitalFile, subject: Annotated[str, typer.Argument(help="As the data folder names it: sub-07.")]
) -> None:
    """Never use a subject again, and have its exemplars dropped from the shared memory.

    What a model has learnt from it stays in the model.
    """
    from client.hospital.withdraw import withdraw as withdraw_subject

    new = withdraw_subject(read_site(site_file), subject, utc_now)
    say(f"{subject} is withdrawn" if new else f"{subject} was withdrawn already")
    say(
        "the coordinator hears of it with the next message that this hospital answers; `wardround hospital audit` "
        "shows when it has dropped the exemplars"
    )


def rehearse_here(site_file: Path, output: Path, scenario: Path | None = None) -> None:
    """Answer each kind of message as this hospital would, into `output` instead of sending it.

    The model trains for one step. Raises `PolicyError` where an answer would be a refusal.
    """
    from client.dry_run import rehearse

    settings = load_settings(scenario, [], None).to_run_config() | {"steps": 1, "epochs": 0, "schedule": "constant"}
    told = rehearse(site_file, settings, output, utc_now)
    for name, line in told.items():
        say(f"{output / name}: {line}")
    if refused := [name for name, line in told.items() if line.startswith("refused")]:
        raise PolicyError(f"{len(refused)} of {len(told)} answers would be a refusal: see above")


def show_what_would_leave(site: "Site", output: Path | None) -> None:
    """The end of `wardround hospital check HOSPITAL_TOML`, with a picture of the very crops in `output`.

    Where the model is yet to choose, of all crops among which it does.
    """
    from client.sharing.preview import preview, views

    found = preview(site, load_settings(None, [], None), utc_now)
    say(
        f"\n{found.text}\n(by Wardround's default settings; a run may ask for fewer, or larger, crops, or have them "
        "chosen otherwise: exemplar-choice)"
    )
    if output is not None and found.released.exemplars:
        from client.qc.montage import draw_views

        draw_views(views(found.released.exemplars), output / CROPS)
        say(f"see {output / CROPS} for {'the very crops' if found.at_most is None else 'all crops that may be chosen'}")


def _line(entry: "Entry") -> str:
    facts = entry.facts
    parts = [f"{entry.sequence:>5} {entry.time} {entry.kind:<9} {facts.message}"]
    if facts.run:
        parts.append(f"run {facts.run[:8]}" + (f" stage {facts.stage + 1}" if facts.stage is not None else ""))
    if facts.centers:
        parts.append(f"{'from' if entry.kind == 'received' else 'for'} {', '.join(facts.centers)}")
    if facts.size is not None:
        parts.append(f"{facts.size} bytes")
    if facts.subjects:
        parts.append(f"{len(facts.subjects)} subjects: {' '.join(facts.subjects)}")
    if facts.reason:
        parts.append(facts.reason)
    return "; ".join(parts)

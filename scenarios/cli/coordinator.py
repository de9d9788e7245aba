"""The commands `wardround coordinator`: the SuperLink of a study over real hospitals."""

from pathlib import Path
from typing import Annotated

import typer

from scenarios.cli.common import STOPPED, say
from scenarios.deployment.certificates import Files, check_server
from scenarios.deployment.coordinator import READY, Coordinator, judge
from scenarios.deployment.nginx import Proxy, nginx_command
from scenarios.processes.supervisor import Service, flower_environment, keep_running
from shared.errors import SettingsError
from shared.text import counted, quoted

coordinator = typer.Typer(no_args_is_help=True, help="For a coordinator: let hospitals join.")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The coordinator's folder.", show_default=False)]


@coordinator.callback()
def _coordinator() -> None:
    """For a coordinator: let hospitals join."""


@coordinator.command()
def up(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The coordinator's folder.")] = Path("coordinator"),
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on the loopback address.  (default: 9092)")
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Make a new trial certificate, also for this name or address; repeatable."),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="Use this certificate (PEM) instead of a trial's.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    authority: Annotated[Path | None, typer.Option(help="The certificate of the authority that signed it.")] = None,
) -> None:
    """Run the SuperLink that hospitals join, start it again whenever it ends, and stop it on Ctrl-C.

    It listens on 127.0.0.1 alone; `proxy` lets hospitals in. Who is enrolled, and the runs, lie in FOLDER.
    """
    ours = Coordinator(folder.absolute())
    for line in ours.prepare(port, host or [], _given(certificate, key, authority)):
        say(line)
    told = False

    def hear(line: str) -> None:
        nonlocal told
        if READY in line:
            say(f"the SuperLink listens on {ours.address}, with TLS, and takes enrolled hospitals alone")
            if not told:
                say(_next_steps(ours))
            told = True

    say(f"starting the SuperLink; its log is {ours.log}")
    try:
        keep_running(Service(ours.command, flower_environment(ours.home), ours.log, hear, judge, say))
    except KeyboardInterrupt:
        say("stopped; nothing is left running. Who is enrolled stays so")
        raise typer.Exit(STOPPED) from None


@coordinator.command()
def enroll(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="The hospital's name, as in its hospital.toml.")],
    public_key: Annotated[Path, typer.Argument(metavar="PUBKEYFILE", help="The node_key.pub that it sent.")],
    card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The card that it sent; also alone, for a newer one.")
    ] = None,
) -> None:
    """Let the hospital that has this key join, under this name.

    Compare the fingerprint with the hospital by telephone: it shows the same by 'wardround hospital init'.
    """
    from scenarios.deployment import enrollment
    from scenarios.deployment.node_keys import read_public, short
    from scenarios.deployment.proposal import keep_card

    ours = Coordinator(folder.absolute())
    enrollment.check_name(name)
    shown = short(read_public(public_key))
    if card is not None:
        kept = keep_card(ours, name, card)
        say(f"kept the card of {name}, {sum(kept.subjects.values())} patients, in place of any older one")
        if any(one.name == name and one.key == shown for one in enrollment.enrolled(ours)):
            return
    node = enrollment.enroll(ours, name, public_key)
    say(f"{name} is enrolled as node {node}, with the key {shown}")


@coordinator.command()
def propose(
    folder: Folder,
    scenario: Annotated[
        Path | None, typer.Argument(help="Run-config file, such as scenarios/replay.toml.  (default: quickstart)")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("-c", metavar="KEY=VALUE", help="Change one key of the run-config; repeatable.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The protocol's file.", metavar="FILE")] = Path("protocol.json"),
    title: Annotated[str, typer.Option(help="A line that the hospitals read, in ASCII.")] = "",
    methods: Annotated[str, typer.Option(help="A run by each of these methods, separated by commas.")] = "",
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="A run with each of so many seeds, from 0.  (default: the scenario's)"),
    ] = None,
    extends: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Instead: one more center for the finished run of this folder.")
    ] = None,
    center: Annotated[str, typer.Option(help="For --extends: the hospital that joins.")] = "",
) -> None:
    """Write the protocol of a study, which each hospital approves before anything runs on its patients.

    It holds all that is to be computed, the order of the hospitals among it, and their public keys.
    """
    from scenarios.deployment import proposal
    from scenarios.run_config import load_settings
    from shared.clock import utc_now

    ours = Coordinator(folder.absolute())
    if output.exists():
        raise SettingsError(f"{output} is there already: give another --output, for hospitals may have approved it")
    if extends is not None:
        if scenario is not None or change or methods or seeds is not None or not center:
            raise SettingsError("--extends takes --center NAME, and all else from the run that it names")
        proposed = proposal.propose_extension(ours, extends, center, title, utc_now)
    else:
        several = tuple(dict.fromkeys(word.strip() for word in methods.split(",") if word.strip()))
        settings = load_settings(scenario, change or [], None)
        wanted = proposal.Wanted(settings, title, several, tuple(range(seeds)) if seeds else ())
        proposed = proposal.propose(ours, wanted, utc_now)
    try:
        output.write_text(proposed.document, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{output} cannot be written ({error.strerror}): give another --output") from None
    say(f"wrote {output}: protocol {proposed.digest[:16]}, {counted(len(proposed.runs), 'run')}")
    say(f"next: each hospital runs  wardround hospital approve HOSPITAL_TOML {quoted(output)}")
    where = f"--coordinator {quoted(folder)}"
    if extends is None:
        say(f"then:                     wardround run --protocol {quoted(output)} {where}")
    else:
        say(f"then:  wardround extend {quoted(extends)} --center {center} --protocol {quoted(output)} --output DIR")


@coordinator.command(name="list")
def list_(folder: Folder) -> None:
    """Show who is enrolled, and who is there."""
    from scenarios.deployment import enrollment

    everybody = enrollment.enrolled(Coordinator(folder.absolute()))
    if not everybody:
        say(f"nobody is enrolled: wardround coordinator enroll {quoted(folder)} NAME PUBKEYFILE")
    width = max([len(one.name) for one in everybody], default=0)
    for one in everybody:
        status = "never seen" if one.status == "registered" else one.status
        since = f" since {one.since[:19].replace('T', ' ')} UTC" if one.since else ""
        say(f"{one.name:<{width}}  {status}{since}  node {one.node}  {one.key}")


@coordinator.command()
def remove(folder: Folder, name: Annotated[str, typer.Argument(help="The hospital's name.")]) -> None:
    """Let a hospital join no more, as when its key was lost or seen by others."""
    from scenarios.deployment import enrollment

    enrollment.remove(Coordinator(folder.absolute()), name)
    say(f"{name} can no longer join; its node ends at its next message")


@coordinator.command()
def proxy(
    folder: Folder,
    listen: Annotated[str, typer.Option(metavar="[ADDRESS:]PORT", help="Where hospitals connect.")] = "443",
    certificate: Annotated[
        Path | None, typer.Option(help="The certificate (PEM chain) that hospitals see.  (default: the trial's)")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    output: Annotated[Path | None, typer.Option(help="Write it here instead of printing it.", metavar="FILE")] = None,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="A whole configuration, for an nginx that runs as this user.")
    ] = False,
) -> None:
    """Print the nginx configuration that opens the Fleet API to hospitals, and nothing else to anybody.

    Put it into /etc/nginx/conf.d, or take --standalone --output FILE and run nginx with that.
    """
    ours = Coordinator(folder.absolute())
    if (certificate is None) != (key is None):
        raise SettingsError("give --certificate and --key together, or neither")
    shown = Files(ours.tls.authority, certificate or ours.tls.certificate, key or ours.tls.key)
    check_server(shown)
    behind = Proxy(listen, shown.certificate, shown.key, ours.address, ours.tls.authority)
    if standalone and output is None:
        raise SettingsError("--standalone needs --output FILE: nginx keeps its own files beside it")
    text = behind.standalone(output.absolute().parent) if standalone and output else behind.server()
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{output} cannot be written ({error.strerror}): choose another place") from None
    start = nginx_command(output.absolute()) if standalone else "nginx -t && nginx -s reload"
    say(f"wrote {output}; start it by: {start}")


def _given(certificate: Path | None, key: Path | None, authority: Path | None) -> Files | None:
    if certificate is None and key is None and authority is None:
        return None
    if certificate is None or key is None or authority is None:
        raise SettingsError("give --certificate, --key and --authority together, or none of them for a trial's own")
    return Files(authority, certificate, key)


def _next_steps(ours: Coordinator) -> str:
    folder = quoted(ours.folder)
    return f"""
next, in another terminal:
  let hospitals reach it   wardround coordinator proxy {folder} --listen 443
  give each hospital       {ours.tls.authority}
  let a hospital join      wardround coordinator enroll {folder} NAME node_key.pub
  see who is there         wardround coordinator list {folder}
  propose a study          wardround coordinator propose {folder} SCENARIO -c centers=NAME,NAME
  run what was approved    wardround run --protocol protocol.json --coordinator {folder}
"""

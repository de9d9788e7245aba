"""The commands by which a hospital joins a study: `wardround hospital init`, `join` and `unit`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from client.data.inventory import LabelChoice
from client.data.layouts import Layout, detect, find_cases
from client.governance.records import Records
from scenarios.cli.common import ALL_CONTRASTS, STOPPED, HospitalFile, read_contrasts, say
from scenarios.cli.governance import rehearse_here
from scenarios.deployment.certificates import check_authority
from scenarios.deployment.hospital_file import Answers, Membership, Role
from scenarios.deployment.node_keys import PRIVATE, load_node_key, make_node_key, read_public, short
from scenarios.deployment.pinned_clientapp import guarded
from scenarios.deployment.supernode import Listener, command, log_file
from scenarios.deployment.systemd import unit_text
from scenarios.processes.supervisor import Service, flower_environment, keep_running
from shared.errors import LaunchError, ResultsError, SettingsError
from shared.paths import writable_folder
from shared.text import quoted
from shared.wire.code_fingerprint import code_fingerprint


def init(
    center: Annotated[str | None, typer.Option(help="The hospital's name in the study.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of images and labels.")] = None,
    layout: Annotated[Layout | None, typer.Option(help="How it is laid out.  (default: detected)")] = None,
    contrasts: Annotated[str | None, typer.Option(help="The contrasts to use, such as FLAIR,T2w.")] = None,
    labels: Annotated[
        str, typer.Option(help="Which labels, where an image has several: a pipeline, a rater.", metavar="NAME")
    ] = "",
    lesion_value: Annotated[
        float | None, typer.Option(help="Which value is lesion, in labels of several structures.", metavar="VALUE")
    ] = None,
    role: Annotated[str | None, typer.Option(help="What a model may do here: train, evaluate or both.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Folder for keys, logs and training under way.")] = None,
    coordinator: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the coordinator is.")] = None,
    root_certificate: Annotated[
        Path | None, typer.Option(help="The coordinator's root certificate (ca.crt), if it is not publicly known.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("hospital.toml"),
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: use the defaults for what is not given.")] = False,
) -> None:
    """Write the hospital's own file, and make the key by which its node is known to the coordinator.

    Asks for what is not given. Nothing is sent, and nothing that is there is overwritten.
    """
    output = output.expanduser().absolute()
    if output.exists():
        raise ResultsError(f"{output} is there already and is never overwritten: edit it, or give another --output")
    given = {"--center": center, "--data": data, "--coordinator": coordinator}
    if (yes or not sys.stdin.isatty()) and (missing := [flag for flag, value in given.items() if value is None]):
        raise SettingsError(f"{', '.join(missing)} must be given where nobody can be asked")
    ask = _Asker(quiet=yes or not sys.stdin.isatty())
    center = ask.text(center, "Name of the hospital in the study", None)
    data = Path(ask.text(data, "Folder of images and labels", None)).expanduser().absolute()
    layout = layout or (detect(data) if data.exists() else None)
    wanted = read_contrasts(ask.text(contrasts, "Contrasts to use", ALL_CONTRASTS))
    choice = LabelChoice(labels, lesion_value)
    cases = find_cases(data, wanted, layout, choice)
    role = ask.text(role, "May the model train here, or only be tested (train, evaluate, both)", "both")
    state = ask.text(state_dir, "Folder for keys and logs, for this user alone", output.parent / "state")
    address = ask.text(coordinator, "Host and port of the coordinator", None)
    root = ask.text(root_certificate, "Its root certificate, empty where it is publicly known", "")
    if root:
        check_authority(Path(root).expanduser())
        root = str(Path(root).expanduser().absolute())
    folder = writable_folder(Path(state).expanduser().absolute(), "state folder")
    folder.chmod(0o700)
    answers = Answers(center, folder, data, layout or detect(data), wanted, _role(role), address, root, choice)
    writable_folder(output.parent, "folder")
    _write_checked(output, answers)
    Records(folder, center)
    public = make_node_key(folder / "flower", center)
    subjects = len({case.subject for case in cases})
    say(f"wrote {output}: {answers.layout}, {len(cases)} images of {subjects} subjects; nothing has been sent")
    say(f"""
next:
  read and change what may leave   {output}
  check the data                   wardround hospital check {quoted(data)}
  send to the coordinator          {public}
  read to it by telephone          {short(read_public(public))}
  once it has enrolled that        wardround hospital join {quoted(output)}
""")


def join(
    hospital_toml: HospitalFile,
    dry_run: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Do not join: answer each kind of message once, and write the answers here instead of sending them.",
        ),
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="For --dry-run: the settings of the run.  (default: quickstart)")
    ] = None,
) -> None:
    """Join the study and stay: run the hospital's node, start it again when it ends, stop it on Ctrl-C.

    Ends by itself, with exit code 1, only where a new start cannot help; with --dry-run also where
    an answer would be a refusal.
    """
    if dry_run is not None:
        rehearse_here(hospital_toml, dry_run, scenario)
        return
    membership = _ready(hospital_toml)
    site = membership.site
    listener = Listener(membership, say)
    home = writable_folder(membership.flower / "home", "folder")
    say(f"connecting: {site.center} to {membership.coordinator.address}; the log is {log_file(membership)}")
    say(f"by {membership.source} this hospital: {site.policy}")
    say(f"what runs is the Wardround installed here, fingerprint {code_fingerprint()[:16]}, not what is sent")
    service = Service(
        command=lambda: command(membership),
        environment=guarded(flower_environment(home), membership.flower / "bin"),
        log=log_file(membership),
        hear=listener.hear,
        ended=listener.ended,
        say=say,
    )
    try:
        with FileLock(site.state / ".join.lock", timeout=0):
            keep_running(service)
    except Timeout:
        raise LaunchError(
            f"{site.center} is joined already, by another process that uses {site.state}: end that first"
        ) from None
    except KeyboardInterrupt:
        say("stopped; nothing is left running")
        raise typer.Exit(STOPPED) from None


def unit(hospital_toml: HospitalFile) -> None:
    """Print a systemd unit that keeps this hospital joined, also after the machine starts anew."""
    typer.echo(unit_text(_ready(hospital_toml)), nl=False)


def _ready(path: Path) -> Membership:
    """The hospital's file, with all that it names in place."""
    membership = Membership.read(path)
    writable_folder(membership.site.state, "state folder")
    load_node_key(membership.flower / PRIVATE)
    if membership.coordinator.root_certificate is not None:
        check_authority(membership.coordinator.root_certificate)
    if not membership.site.data.folder.exists():
        raise SettingsError(
            f"{membership.source} names the data folder {membership.site.data.folder}, which is not there"
        )
    return membership


class _Asker:
    """Asks a person for what flags did not give, or takes the default where nobody is there."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def text(self, given: object, question: str, default: object) -> str:
        """The value given, or the answer."""
        if given is not None:
            return str(given)
        if self._quiet:
            return str(default)
        return str(typer.prompt(question, default=None if default is None else str(default))).strip()


def _write_checked(output: Path, answers: Answers) -> None:
    """Write the file, unless it could not be read again; then nothing is left of it."""
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(answers.document())
        output.chmod(0o600)
        Membership.read(output)
    except OSError as error:
        raise ResultsError(f"{output} cannot be written ({error.strerror}): give another --output") from None
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def _role(text: str) -> Role:
    roles: tuple[Role, ...] = ("train", "evaluate", "both")
    for role in roles:
        if text == role:
            return role
    raise SettingsError(f"role = {text}: choose train, evaluate or both")

"""The launcher: values that survive the command line, honest endings, and nothing left running."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scenarios.runner.superlink as superlink_module
from scenarios.processes.output import own_words, tail
from scenarios.processes.supervisor import free_port
from scenarios.processes.tree import MARK, descendants, stop_all
from scenarios.run_config import toml_lines
from scenarios.runner.local import Launch, completed, federation_config, last_error, launch
from scenarios.runner.remote import check_known
from scenarios.runner.superlink import run_environment, run_folder, superlink, wait_for_health
from shared.errors import LaunchError
from tests.conftest import ROOT

# TOML text is Unicode without surrogates; Flower carries integers of 64 bits.
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
)


@given(st.dictionaries(texts, values))
def test_run_config_values_come_back_as_they_were(config: dict[str, str | int | float | bool]) -> None:
    back = tomllib.loads(toml_lines(config))
    assert back == config
    assert {key: type(value) for key, value in back.items()} == {k: type(v) for k, v in config.items()}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[92mINFO \x1b[0m:      Stage 1 of 8", "INFO :      Stage 1 of 8"),
        ("(ClientAppActor pid=5473) milan: step 10", "milan: step 10"),
        ("\x1b[36m(ClientAppActor pid=5473, ip=10.0.0.7)\x1b[0m   indented", "  indented"),
        ("(pid=12) \x1b[93mWARNING \x1b[0m: slow", "WARNING : slow"),
        ("(ClientAppActor pid=5473) ", ""),
        ("Dice (mean) 0.61", "Dice (mean) 0.61"),
    ],
)
def test_a_line_is_shown_in_its_author_s_words(raw: str, shown: str) -> None:
    assert own_words(raw) == shown


def test_federation_config_names_what_a_client_gets(tmp_path: Path) -> None:
    assert federation_config(Launch(tmp_path, {}, supernodes=8, cpus=2)) == (
        "num-supernodes=8 client-resources-num-cpus=2 client-resources-num-gpus=0.0"
    )
    shared = federation_config(Launch(tmp_path, {}, supernodes=8, cpus=1, cores=3))
    assert shared.endswith(" init-args-num-cpus=3")


def listing(status: str, details: str) -> str:
    return json.dumps({"success": True, "runs": [{"status": status, "status-details": details}]})


def test_completed_run_gives_its_status() -> None:
    assert completed(listing("finished:completed", "N/A"), []) == "finished:completed"


@pytest.mark.parametrize(
    ("status", "details", "heard", "reason"),
    [
        ("finished:failed", "Simulation failed with exception: milan is missing", [], "milan is missing"),
        (
            "finished:failed",
            "Simulation failed with exception: An error was encountered. Ending simulation.",
            ["ValueError: ActorPool is empty.", "RuntimeError: Simulation Runtime crashed."],
            "ActorPool is empty.",
        ),
        ("finished:stopped", "N/A", [], "stopped"),
    ],
)
def test_any_other_ending_is_an_error_with_its_reason(status: str, details: str, heard: list[str], reason: str) -> None:
    with pytest.raises(LaunchError, match=reason):
        completed(listing(status, details), heard)


@pytest.mark.parametrize("answer", ["", "{}", '{"runs": []}', "Traceback"])
def test_an_answer_without_status_is_an_error(answer: str) -> None:
    with pytest.raises(LaunchError, match="does not say how the run ended"):
        completed(answer, [])


def test_last_error_is_the_cause_not_its_wrapping() -> None:
    wrapping = "RuntimeError: Simulation Runtime crashed."
    assert last_error(["INFO : ok", "ray.exceptions.RaySystemError: disk full", wrapping]) == "disk full"
    assert last_error(["INFO : ok"]) == ""


def test_environment_keeps_what_the_caller_chose(tmp_path: Path) -> None:
    base = {"PATH": "/bin", "RAY_ADDRESS": "10.0.0.7:6379", "NO_PROXY": "example.org"}
    environment = run_environment(base, tmp_path)
    assert environment["RAY_ADDRESS"] == base["RAY_ADDRESS"]
    assert "RAY_TMPDIR" not in environment
    assert environment["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    assert environment["PATH"].endswith(":/bin")
    assert environment["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"


def test_ray_gets_the_run_s_folder_unless_it_has_one() -> None:
    assert run_environment({}, Path("/tmp/wardround-ab12cd34"))["RAY_TMPDIR"] == "/tmp/wardround-ab12cd34"
    assert run_environment({"RAY_TMPDIR": "/scratch"}, Path("/tmp/w"))["RAY_TMPDIR"] == "/scratch"


def test_a_run_s_folder_leaves_room_for_ray_s_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = run_folder({})
    assert not folder.is_relative_to(long) and not list(long.iterdir())
    folder.rmdir()
    beside = run_folder({"RAY_TMPDIR": "/scratch"})
    assert beside.parent == long, "where Ray has a folder, TMPDIR is as good as any"
    monkeypatch.setattr(superlink_module, "_SHORT", (str(tmp_path / "nowhere"),))
    with pytest.raises(LaunchError, match=r"has too long a name for Ray's sockets.*: set RAY_TMPDIR to a folder"):
        run_folder({})
    with pytest.raises(LaunchError, match=r"RAY_TMPDIR=.* is too long for Ray's sockets"):
        run_folder({"RAY_TMPDIR": str(long)})


def test_a_superlink_that_flower_does_not_know_is_named_with_those_that_it_does(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"Flower knows no SuperLink yet: write .*config.toml with"):
        check_known("hospitals", tmp_path)
    (tmp_path / "config.toml").write_text('[superlink]\ndefault = "local"\n[superlink.local]\naddress = ":local:"\n')
    check_known("local", tmp_path)
    with pytest.raises(LaunchError, match=r"Flower knows no SuperLink 'default': .* has local; give one of these"):
        check_known("default", tmp_path)
    (tmp_path / "config.toml").write_text("[superlink")
    with pytest.raises(LaunchError, match=r"config.toml, Flower's configuration, cannot be read"):
        check_known("local", tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_ray_cluster_that_does_not_answer_ends_a_run_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(LaunchError, match=rf"Ray cluster at RAY_ADDRESS={address} does not answer"), superlink(ROOT):
        pass


def test_descendants_are_found_over_generations() -> None:
    parents = {2: 1, 3: 2, 4: 3, 5: 1, 9: 8}
    assert descendants({2}, parents) == {3, 4}
    assert descendants({2, 8}, parents) == {3, 4, 9}


def test_a_superlink_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", "print('bad flag'); exit(3)"], stdout=output)
    with pytest.raises(LaunchError, match=r"exited with code 3:\nbad flag"):
        wait_for_health(process, free_port(), log, seconds=20)


def test_a_silent_superlink_is_not_waited_for_without_end(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        with pytest.raises(LaunchError, match=r"did not answer within 0\.2 s"):
            wait_for_health(process, free_port(), tmp_path / "log", seconds=0.2)
    finally:
        process.kill()
        process.wait()


def test_tail_keeps_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a\nb\nc\n")
    assert tail(log, lines=2) == "b\nc"
    assert tail(tmp_path / "none") == "(its log is empty)"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the mark is read from /proc")
@pytest.mark.parametrize("grace", [0.3, 0.0])
@pytest.mark.parametrize("marked", [True, False])
def test_processes_are_stopped_though_orphaned_and_deaf(marked: bool, grace: float, tmp_path: Path) -> None:
    # The child ignores SIGTERM and its parent is gone: only mark or session lead to it.
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    parent = f"""
        import os, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=-1)
        child.stdout.readline()
        print(child.pid, os.getsid(0))
    """
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(parent)],
        env={**os.environ, MARK: str(tmp_path) if marked else ""},
        stdout=subprocess.PIPE,
        start_new_session=True,
        check=True,
    )
    pid, session = map(int, run.stdout.split())
    assert alive(pid)
    stop_all(set(), str(tmp_path), sessions=set() if marked else {session}, grace=grace)
    assert not alive(pid)


def test_an_app_without_pyproject_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="no Flower app"):
        launch(Launch(tmp_path, {}, supernodes=1, cpus=1), print)


# The real runtime -----------------------------------------------------------------------------

PYPROJECT = """
[project]
name = "dummy"
version = "0.1.0"
description = "One message to one client"
license = { file = "LICENSE" }
dependencies = ["flwr[simulation]>=1.41"]

[tool.flwr.app]
publisher = "wardround"
fab-format-version = 1
flwr-version-target = "1.41.0"

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
word = ""
heard = ""
fail = false
"""

SERVER = """
import time
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()

@app.main()
def main(grid: Grid, context: Context) -> None:
    print("server heard", context.run_config["word"])
    if context.run_config["fail"]:
        raise RuntimeError("center 'milan' is missing")
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.1)
    record = RecordDict({"ask": ConfigRecord({"word": context.run_config["word"]})})
    list(grid.send_and_receive([Message(record, message_type="train", dst_node_id=nodes[0])]))
"""

CLIENT = """
import time
from pathlib import Path
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message: Message, context: Context) -> Message:
    print("working")
    end = time.monotonic() + 60
    while not Path(context.run_config["heard"]).exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert time.monotonic() < end, "no line arrived while the client worked"
    print("client heard", message.content["ask"]["word"])
    return Message(RecordDict({"done": ConfigRecord({})}), reply_to=message)
"""


@pytest.fixture
def dummy_app(tmp_path: Path) -> Path:
    """A Flower app in a folder whose name needs quoting."""
    app = tmp_path / "it's an app"
    files = {"pyproject.toml": PYPROJECT, "LICENSE": "", "server/app.py": SERVER, "client/app.py": CLIENT}
    # Without these, an installed package of the same name would come first.
    files |= {"server/__init__.py": "", "client/__init__.py": ""}
    for name, text in files.items():
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text(text)
    return app


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state) and not state.startswith("Z")


def left_over(app: Path) -> list[str]:
    """What still runs in the app's folder; this process does not."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == app and "State:\tZ" not in (process / "status").read_text():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.runtime
@pytest.mark.timeout(180)
def test_client_lines_arrive_while_the_client_works(dummy_app: Path, tmp_path: Path) -> None:
    word = "a 'b' \"c\", d\\e = [f] # g"
    heard = tmp_path / "heard"
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        if line == "working":
            heard.touch()  # the client works until then

    status = launch(Launch(dummy_app, {"word": word, "heard": str(heard)}, supernodes=1, cpus=1), hear)
    assert status == "finished:completed"
    assert f"server heard {word}" in lines
    assert f"client heard {word}" in lines
    assert heard.exists()
    assert left_over(dummy_app) == []


@pytest.mark.runtime
@pytest.mark.timeout(180)
def test_after_the_last_line_nothing_is_waited_for_and_nothing_is_left(dummy_app: Path) -> None:
    lines: list[str] = []
    launched = Launch(dummy_app, {"word": "hello", "heard": "/nowhere"}, supernodes=1, cpus=1)
    # The client would work for a minute.
    assert launch(launched, lines.append, lambda line: line == "working") == "finished:completed"
    assert lines[-1] == "working"
    assert left_over(dummy_app) == []


@pytest.mark.runtime
@pytest.mark.timeout(180)
def test_a_failing_server_says_why(dummy_app: Path) -> None:
    with pytest.raises(LaunchError, match="center 'milan' is missing"):
        launch(Launch(dummy_app, {"fail": True}, supernodes=1, cpus=1), print)
    assert left_over(dummy_app) == []


@pytest.fixture
def ctrl_c_raises() -> Iterator[None]:
    """KeyboardInterrupt at SIGINT, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.timeout(60)
def test_ctrl_c_leaves_nothing(dummy_app: Path, ctrl_c_raises: None) -> None:
    with pytest.raises(KeyboardInterrupt), superlink(dummy_app) as ours:  # noqa: PT012 - the block is what ends
        ours.wait()
        folder = ours.folder
        assert left_over(dummy_app) != []
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        ours.process.wait()
    assert not folder.exists()
    assert left_over(dummy_app) == []

"""Other users of a machine can read nothing that Wardround writes, whatever the machine's umask is."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict

import server.app
from client.governance.records import Records
from scenarios.cli.main import main
from shared.errors import RecordError, SettingsError
from shared.wire.headers import Question, RollCall
from shared.wire.records import pack_question, unpack_header
from tests.support.approved import Deployed
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import ask


@pytest.fixture(autouse=True)
def open_machine() -> Iterator[None]:
    """A machine where what is written is everybody's to read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_a_hospital_s_state_folder_is_its_owner_s_alone(
    deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    os.umask(0o077)
    question = deployed.question()  # what is approved is approved by the command line
    state.chmod(0o755)
    os.umask(0o022)
    unpack_header(ask(deployed, "query.roll_call", question, 7), RollCall)
    assert list(state.rglob("image.npy"))
    for path in (state, *state.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert f"state folder {state} could be read by other users (mode 755)" in capsys.readouterr().out


def test_a_state_folder_that_cannot_be_closed_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, mode: int) -> None:
        raise OSError(1, "Operation not permitted")

    tmp_path.chmod(0o750)
    monkeypatch.setattr(Path, "chmod", refused)
    with pytest.raises(RecordError, match=r"can be read by other users, and cannot be closed to them .*: chmod go-rwx"):
        Records(tmp_path, "grace")


def test_a_simulated_hospital_leaves_its_researcher_s_umask(grid: FakeGrid) -> None:
    ask(grid, "query.roll_call", pack_question(Question()), 100)
    assert umask() == 0o022


def test_the_command_line_writes_for_its_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["wardround", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert umask() == 0o077


def test_so_does_the_coordinator(run_config: dict[str, Any]) -> None:
    config = run_config | {"method": "none"}
    with pytest.raises(SettingsError):
        server.app.main(FakeGrid(server.app.app, config, {}), Context(1, 0, {}, RecordDict(), config))  # type: ignore[arg-type]
    assert umask() == 0o077

"""`wardround hospital init` and `unit` as a person and as a script call them."""

import shutil
import stat
from pathlib import Path

import pytest
from click.testing import Result
from filelock import FileLock
from typer.testing import CliRunner

from scenarios.cli import join as join_cli
from scenarios.cli.main import cli
from scenarios.deployment.certificates import Files, make_trial
from scenarios.deployment.hospital_file import Membership
from shared.errors import WardroundError
from tests.support.datasets import write_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", ["sub-1", "sub-2"], voxel=3.0)


def init(folder: Path, data: Path, *more: str, keyboard: str = "") -> Result:
    """`wardround hospital init`, with what no flag may be missing."""
    words = ["--center", "milan", "--data", str(data), "--coordinator", "coordinator.example:443"]
    words += ["--state-dir", str(folder / "state"), "--output", str(folder / "hospital.toml"), *more]
    return CliRunner().invoke(cli, ["hospital", "init", *words], input=keyboard)


def test_it_writes_one_file_and_one_key(tmp_path: Path, data: Path) -> None:
    result = init(tmp_path, data)
    assert result.exit_code == 0, result.exception
    membership = Membership.read(tmp_path / "hospital.toml")
    assert (membership.site.data.layout, membership.site.data.contrasts) == ("bids", ("FLAIR", "T2w"))
    assert stat.S_IMODE((tmp_path / "hospital.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert str(tmp_path / "state" / "flower" / "node_key.pub") in result.stdout
    assert "read to it by telephone          SHA256:" in result.stdout
    assert "2 images of 2 subjects; nothing has been sent" in result.stdout


def test_it_writes_which_labels_are_meant(tmp_path: Path, data: Path) -> None:
    shutil.copytree(data / "derivatives" / "labels", data / "derivatives" / "auto")
    assert "choose by --labels NAME" in str(init(tmp_path, data).exception)
    assert init(tmp_path, data, "--labels", "auto", "--lesion-value", "2").exit_code == 0
    assert Membership.read(tmp_path / "hospital.toml").site.data.labels == "auto"


def test_nothing_is_overwritten(tmp_path: Path, data: Path) -> None:
    init(tmp_path, data)
    before = (tmp_path / "hospital.toml").read_bytes(), (tmp_path / "state" / "flower" / "node_key").read_bytes()
    assert "never overwritten" in str(init(tmp_path, data).exception)
    (tmp_path / "hospital.toml").unlink()
    assert init(tmp_path, data).exit_code == 0
    after = (tmp_path / "hospital.toml").read_bytes(), (tmp_path / "state" / "flower" / "node_key").read_bytes()
    assert after == before


def test_without_a_terminal_what_is_missing_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["hospital", "init", "--output", str(tmp_path / "h.toml"), "--data", "x"])
    assert str(result.exception) == "--center, --coordinator must be given where nobody can be asked"


def test_a_person_is_asked_for_what_is_missing(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    class Python:
        stdin = Terminal

    monkeypatch.setattr(join_cli, "sys", Python)
    file = tmp_path / "hospital.toml"
    lines = ["milan", str(data), "FLAIR", "evaluate", str(tmp_path / "s"), "coordinator.example:443", ""]
    result = CliRunner().invoke(cli, ["hospital", "init", "--output", str(file)], input="\n".join(lines) + "\n")
    assert result.exit_code == 0, result.exception
    membership = Membership.read(file)
    assert (membership.site.data.contrasts, membership.site.policy.role) == (("FLAIR",), "evaluate")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--data", "/nowhere"], "data folder /nowhere does not exist"),
        (["--contrasts", "T1w"], "contrasts = T1w: choose from"),
        (["--role", "watch"], "choose train, evaluate or both"),
        (["--coordinator", "https://x.example"], "write HOST:PORT"),
        (["--center", "ab cd"], "write a name of letters"),
        (["--root-certificate", "/nowhere/ca.crt"], "cannot be read"),
        (["--layout", "nnunet"], "nnU-Net"),
    ],
)
def test_a_wrong_answer_leaves_no_file_behind(tmp_path: Path, data: Path, words: list[str], reason: str) -> None:
    result = init(tmp_path, data, *words)
    assert isinstance(result.exception, WardroundError) and reason in str(result.exception)
    assert not (tmp_path / "hospital.toml").exists()


def test_join_and_unit_look_before_they_start(tmp_path: Path, data: Path) -> None:
    files = Files(tmp_path / "ca.crt", tmp_path / "s.pem", tmp_path / "s.key")
    make_trial(files, tmp_path / "a.key", [])
    init(tmp_path, data, "--root-certificate", str(files.authority))
    words = ["hospital", "unit", str(tmp_path / "hospital.toml")]
    assert "[Service]" in CliRunner().invoke(cli, words).stdout
    files.authority.unlink()
    for command in ("unit", "join"):
        result = CliRunner().invoke(cli, ["hospital", command, words[-1]])
        assert isinstance(result.exception, WardroundError) and "ca.crt cannot be read" in str(result.exception)


def test_a_hospital_joins_once(tmp_path: Path, data: Path) -> None:
    init(tmp_path, data)
    with FileLock(tmp_path / "state" / ".join.lock"):
        result = CliRunner().invoke(cli, ["hospital", "join", str(tmp_path / "hospital.toml")])
    assert isinstance(result.exception, WardroundError) and "is joined already" in str(result.exception)

"""A joined hospital runs its own code: Flower's names lead to it, and to nothing else of a coordinator's."""

import os
import shutil
import subprocess
from pathlib import Path

import flwr.supercore.constant as flower
import pytest
from flwr.supernode.runtime import run_clientapp

import client.app
from scenarios.deployment import pinned_clientapp
from scenarios.deployment.pinned_clientapp import REFUSED, RUNS, check_flower, guarded
from shared.errors import LaunchError


def test_flower_finds_our_commands_before_its_own(tmp_path: Path) -> None:
    environment = guarded({**os.environ}, tmp_path / "bin")
    for name in (RUNS, *REFUSED):
        assert shutil.which(name, path=environment["PATH"]) == str(tmp_path / "bin" / name)


def test_a_folder_that_flower_would_pass_over_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"programs cannot be run from .* not mounted noexec"):
        guarded({**os.environ}, tmp_path / "state:of:milan" / "bin")


def test_every_command_by_which_flower_starts_code_is_ours(tmp_path: Path) -> None:
    guarded({}, tmp_path / "bin")
    assert {path.name for path in (tmp_path / "bin").iterdir()} == set(flower.TASK_TYPE_TO_COMMAND.values())


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_hospital_does_not_run_is_refused(tmp_path: Path, name: str) -> None:
    guarded({}, tmp_path / "bin")
    ended = subprocess.run([tmp_path / "bin" / name, "--token", "x"], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == f"{name} was asked for, which no hospital runs: refused\n"


def test_the_client_app_takes_flower_s_options(tmp_path: Path) -> None:
    guarded({}, tmp_path / "bin")
    told = subprocess.run([tmp_path / "bin" / RUNS, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--runtime-api-address" in told and told.startswith("usage: flwr-clientapp")


def test_what_is_loaded_is_the_installed_app_whatever_the_run_names() -> None:
    load = pinned_clientapp._replaced()["get_load_client_app_fn"](default_app_ref="", app_path=None, multi_app=True)
    assert load("somebody/else", "9.9.9", "0" * 64) is client.app.app


def test_a_coordinator_s_code_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    pinned_clientapp._replaced()["install_from_fab"](b"no archive at all", skip_prompt=True)
    assert not any(tmp_path.iterdir())
    with pytest.raises(LaunchError, match="asks for packages to be installed"):
        pinned_clientapp._replaced()["install_app_dependencies"](tmp_path)


def test_a_flower_that_starts_code_in_another_way_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_flower()
    monkeypatch.delattr(run_clientapp, "install_from_fab")
    monkeypatch.setattr(flower, "TASK_TYPE_TO_COMMAND", {**flower.TASK_TYPE_TO_COMMAND, "new": "flwr-new"})
    with pytest.raises(LaunchError, match=r"run a coordinator's code \(flwr-new, install_from_fab\): install flwr"):
        guarded({}, tmp_path / "bin")

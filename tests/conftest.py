"""What all tests share: a quiet Flower, one thread, a cache of their own, and a small run-config."""

import os
import signal
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis
from hypothesis.configuration import set_hypothesis_home_dir

from shared.config.settings import Settings
from shared.paths import MODEL

ROOT = Path(__file__).resolve().parent.parent

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

# The networks here are too small to be shared out, and runs are compared to the last bit, also with those of processes
# that tests start. Read by torch when it is first imported.
os.environ["OMP_NUM_THREADS"] = "1"

# Beside the code, from whatever folder the tests are started.
set_hypothesis_home_dir(ROOT / ".hypothesis")
# How slow a machine is says nothing about the code.
UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
hypothesis.register_profile("dev", max_examples=20, **UNTIMED)
hypothesis.register_profile("ci", max_examples=100, **UNTIMED)
hypothesis.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

OUTSIDE = ROOT.parent / "shared"
"""Material that is not part of the project; tests that use it skip where it is missing."""

Configured = Callable[..., Settings]
"""Settings with a few keys changed."""


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that starts empty, so that no test passes for what an earlier run left.

    Simulated hospitals, which are written once and never changed, are made for all processes of these tests together.
    """
    folder = tmp_path_factory.mktemp("cache")
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = tmp_path_factory.getbasetemp().parent / "hospitals"
        shared.mkdir(exist_ok=True)
        (folder / "hospitals").symlink_to(shared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WARDROUND_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def undisturbed(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of `watched.SMOKE`, run in simulation without any fault; it makes the hospitals, too."""
    from tests.support.watched import SMOKE, WARDROUND, Watched

    folder = tmp_path_factory.mktemp("undisturbed")
    run = Watched(WARDROUND, "run", *SMOKE, "--cpus", "1", "--output", folder / "run", log=folder / "log")
    assert run.end() == 0, run.tail()
    return folder / "run"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Lets what a test starts hear Ctrl-C, which tests in the background ignore, and their children with them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run_config() -> dict[str, Any]:
    """The run-config of the smoke scenario, complete."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        config: dict[str, Any] = tomllib.load(file)["tool"]["flwr"]["app"]["config"]
    with (ROOT / "scenarios" / "smoke.toml").open("rb") as file:
        return config | tomllib.load(file)


@pytest.fixture
def untrained(tmp_path: Path, run_config: dict[str, Any]) -> Path:
    """The folder `run` of a finished run, with an untrained model."""
    from shared.model.model_file import model_bytes
    from shared.model.network import initial_weights

    settings, folder = Settings.from_run_config(run_config), tmp_path / "run"
    folder.mkdir()
    (folder / MODEL).write_bytes(model_bytes(initial_weights(settings.network, 0), settings))
    return folder


@pytest.fixture
def configured(run_config: dict[str, Any]) -> Configured:
    """The smoke scenario with a tiny network, and what a test changes."""

    def change(**changes: Any) -> Settings:
        tiny = {"features": 2, "batch-size": 2, "steps": 4}
        return Settings.from_run_config(run_config | tiny | {k.replace("_", "-"): v for k, v in changes.items()})

    return change


@pytest.fixture
def real_hospitals() -> Path:
    """Folder with two centers of real patients; skips where it is missing."""
    folder = OUTSIDE / "real-hospitals"
    if not folder.is_dir():
        pytest.skip("the real hospitals are not here")
    return folder


@pytest.fixture
def published_matrices() -> Path:
    """The authors' published Dice matrices; skips where they are missing."""
    path = OUTSIDE / "published" / "dice_matrices.json"
    if not path.is_file():
        pytest.skip("the published matrices are not here")
    return path

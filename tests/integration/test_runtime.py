"""Whole runs over the real Flower runtime, as a user starts them: the smoke scenario by default, and more by marker."""

import os
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest
import torch

from scenarios.runner.superlink import CONNECTION, superlink
from shared.model.network import load_model
from shared.model.weights import model_digest
from shared.results import read_results
from tests.conftest import ROOT
from tests.support.datasets import write_dataset

pytestmark = pytest.mark.timeout(240)

WARDROUND = Path(sysconfig.get_path("scripts")) / "wardround"
SMOKE = ROOT / "scenarios" / "smoke.toml"
ROUGH = ["spacing=4", "features=4", "steps=4", "batch-size=4", "patch-size=16", "exemplar-mm=64"]


def wardround_run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([WARDROUND, "run", *words], capture_output=True, text=True)


def changes(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("-c", pair)]


def processes_that_name(word: str) -> list[str]:
    """Command lines of living processes whose command line or environment holds `word`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if word.encode() in text and int(process.name) != os.getpid():
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The smoke scenario, run once through the command line into a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("runs") / "smoke run"
    return wardround_run(SMOKE, "--output", folder), folder


def test_the_run_ends_with_the_matrix(smoke: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    process, folder = smoke
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    results = read_results(folder)
    assert set(results.order) == {"milan", "ucsf", "amu"}
    assert len(results.R) == 3
    assert all(0 <= cell <= 1 for row in results.R for cell in row)
    for stage, center in zip(results.stages, results.order, strict=True):
        assert stage.center == center
        assert stage.steps == 8
        assert 0 < stage.compute_seconds < stage.training_seconds
    contributed = [stage.memory_exemplars for stage in results.stages]
    assert contributed == sorted(set(contributed)), "each center adds to the memory"
    assert (folder / "matrix.csv").read_text().startswith("trained_at,")


def test_the_terminal_tells_the_whole_story(smoke: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    process, folder = smoke
    assert "stage 1/3: training at milan" in process.stdout
    assert "milan: step 8/8, loss " in process.stdout
    assert "ACC" in process.stdout
    assert "BWT" in process.stdout
    assert str(folder / "results.json") in process.stdout
    assert "INFO" not in process.stdout
    assert "Traceback" not in process.stdout


def test_the_saved_model_loads(smoke: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    network = load_model(smoke[1] / "model.safetensors")
    assert network.settings.features == 4


@pytest.mark.runtime
@pytest.mark.parametrize("method", ["lwf", "ewc", "fedavg"])
def test_every_further_method_ends_with_its_matrix(tmp_path: Path, method: str) -> None:
    small = ["centers=milan,ucsf", "phantom-scale=0.02", "phantom-minimum=3", "rounds=2"]
    scenario = ROOT / "scenarios" / f"{method}.toml"
    process = wardround_run(scenario, *changes(*small, *ROUGH), "--output", tmp_path / "out")
    assert process.returncode == 0, process.stderr
    assert process.stderr == "" and "Traceback" not in process.stdout
    results = read_results(tmp_path / "out")
    assert results.method == method
    assert len(results.R) == (1 if method == "fedavg" else 2)
    assert all(0 <= cell <= 1 for row in results.R for cell in row)
    assert sum(stage.steps for stage in results.stages) == 2 * 4
    assert load_model(tmp_path / "out" / "model.safetensors").settings.features == 4


@pytest.mark.runtime
def test_evaluators_change_no_bit_of_a_run(
    tmp_path: Path, smoke: tuple[subprocess.CompletedProcess[str], Path]
) -> None:
    process = wardround_run(SMOKE, *changes("evaluators=milan-2"), "--output", tmp_path / "out")
    assert process.returncode == 0, process.stderr
    results, plain = read_results(tmp_path / "out"), read_results(smoke[1])
    assert results.R == plain.R and results.not_learnt == plain.not_learnt
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (smoke[1] / "model.safetensors").read_bytes()
    assert len(results.R_evaluators) == 3 and all(row[0] is not None for row in results.R_evaluators)
    assert "NEVER TRAINED AT milan-2: mean Dice after the last stage" in process.stdout
    assert "tested only, never trained on: milan-2" in process.stdout


@pytest.mark.runtime
def test_a_run_begins_with_the_model_that_it_was_given(
    tmp_path: Path, smoke: tuple[subprocess.CompletedProcess[str], Path]
) -> None:
    """With a learning rate of next to nothing the first stage ends, and is tested, as the model that it began with."""
    still = ["learning-rate=1e-12", "muon-learning-rate=1e-12", "weight-decay=0", "schedule=constant", "seed=3"]
    process = wardround_run(SMOKE, *changes(f"start={smoke[1]}", *still), "--output", tmp_path / "out")
    assert process.returncode == 0, process.stderr
    given, results = load_model(smoke[1] / "model.safetensors"), read_results(tmp_path / "out")
    assert results.settings["start-digest"] == model_digest(dict(given.state_dict()))
    first = load_model(tmp_path / "out" / "journal" / "stage-000" / "model.safetensors").state_dict()
    assert all(torch.allclose(first[name], value, atol=1e-6) for name, value in given.state_dict().items())


@pytest.mark.runtime
def test_a_failing_run_fails(tmp_path: Path) -> None:
    """One usable subject at one center: found by the hospital, told by the server, seen in the exit code."""
    data = tmp_path / "data"
    for first, center in enumerate(("a", "b")):
        write_dataset(data / center, ["sub-0", "sub-1"], ("FLAIR",), first=2 * first)
    (data / "b" / "sub-1" / "anat" / "sub-1_FLAIR.nii.gz").write_bytes(b"no image")
    process = wardround_run(*changes(f"data-dir={data}", "centers=a,b"), "--output", tmp_path / "out")
    assert process.returncode == 1
    assert "center b has no subject to test on (it has 1 usable subject; 1 was passed over)" in process.stderr
    assert "b passes over 1 FLAIR image: it cannot be read" in process.stdout
    assert "Traceback" not in process.stdout + process.stderr


@pytest.mark.runtime
def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    words = [*changes("steps=5000", "centers=milan,ucsf"), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        [WARDROUND, "run", SMOKE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests themselves run in the background, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "step " in line:
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    hint = f"; go on with: wardround resume {tmp_path / 'out'}"
    assert error == f"wardround: stopped; nothing is left running{hint}\n"
    deadline = time.monotonic() + 10
    while left := processes_that_name(str(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.runtime
def test_real_patients_of_two_hospitals(real_hospitals: Path, tmp_path: Path) -> None:
    """Real files: negative voxels, thick slices, int16, two label names."""
    words = changes(f"data-dir={real_hospitals}", "centers=ljubljana,tabriz", *ROUGH)
    process = wardround_run(*words, "--output", tmp_path / "out")
    assert process.returncode == 0, process.stderr
    results = read_results(tmp_path / "out")
    assert sorted(results.order) == ["ljubljana", "tabriz"]
    assert len(results.R) == 2
    tested = {(score.center, score.contrast) for score in results.test_scores}
    assert tested == {("ljubljana", "FLAIR"), ("ljubljana", "T2w"), ("tabriz", "FLAIR")}
    assert all(not stage.set_aside for stage in results.stages)


@pytest.mark.runtime
def test_bare_flwr_run(tmp_path: Path, smoke: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """`flwr run .`, as a user of Flower types it: Flower's two default nodes give the matrix of three."""
    out = tmp_path / "bare"
    scenario = tmp_path / "smoke.toml"
    scenario.write_text(SMOKE.read_text() + f"output-dir = '{out}'\n")
    flwr = Path(sysconfig.get_path("scripts")) / "flwr"
    run = [str(flwr), "run", ".", CONNECTION, "--stream", "--run-config", str(scenario)]
    with superlink(ROOT) as ours:
        ours.wait()
        process = subprocess.run(run, cwd=ROOT, env=ours.environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    bare, first = read_results(out), read_results(smoke[1])
    assert bare.R == first.R
    assert bare.test_scores == first.test_scores

"""Nothing is lost: a simulation is killed, part by part, and every time goes on to the same end.

Each test is one run. It is killed at four moments (in the first training, in the first tests,
between two stages, while the journal is written), resumed after each, and must end with the
results of a run that nobody disturbed, to the last bit of R. The signals and processes are real.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from shared.results import read_results
from tests.support.watched import SMOKE, WARDROUND, Watched, left_after

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


CLIENT, SERVER, SUPERLINK, LAUNCHER = "ray::ClientAppActor", "flwr-simulation", "flower-superlink", "wardround"
TARGETS = {
    "ClientApp": (CLIENT,),
    "ServerApp with its simulation": (SERVER,),
    "SuperLink": (SUPERLINK,),
    "launcher": (f"{WARDROUND} ",),
    "everything": ("",),
}
COSTS = re.compile(r"(_seconds|sent_bytes|received_bytes|^history|^output-dir|^resume)$")


def comparable(value: Any) -> Any:
    """Results without what two runs cannot share: times, messages, folder, and the history of interruptions."""
    if isinstance(value, dict):
        return {key: comparable(part) for key, part in value.items() if not COSTS.search(key)}
    return [comparable(part) for part in value] if isinstance(value, list | tuple) else value


def being_written(folder: Path) -> bool:
    """Whether a stage lies half written in the journal."""
    return any(path.name.startswith(".new-") and path.is_dir() for path in (folder / "journal").iterdir())


ALONE = ("ServerApp with its simulation", "SuperLink", "launcher")
"""The first two are killed alone in a deployment, too (test_faults_deployed.py), the launcher with all the others."""


@pytest.mark.parametrize(
    "target", [pytest.param(target, marks=[pytest.mark.long] if target in ALONE else []) for target in TARGETS]
)
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(
    target: str, undisturbed: Path, tmp_path: Path
) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    names = TARGETS[target]

    def go_on() -> Watched:
        return Watched(WARDROUND, "resume", folder, log=log)

    run = Watched(WARDROUND, "run", *SMOKE, "--cpus", "1", "--output", folder, log=log)
    run.hear("milan: step 60/120")
    survive(run, names)
    trained_first = steps_of(run.lines, "milan")

    run = go_on()
    run.until(lambda: (folder / "journal" / "stage-000").is_dir(), "the first model is tested", nap=0.005)
    survive(run, names)
    # A hospital's lines come up to a second late, so that none may have come of a training that was nearly done.
    assert all(step > trained_first[0] for step in steps_of(run.lines, "milan")), "it went on from a checkpoint"

    run = go_on()
    run.hear("stage 2/3: training at")
    survive(run, names)
    assert not steps_of(run.lines, "milan"), "a stage in the journal is not trained again"

    run = go_on()
    run.until(lambda: being_written(folder), "a stage is being written", nap=0.0005)
    survive(run, names)

    run = go_on()
    assert run.end() == 0, run.tail()
    results, expected = read_results(folder), read_results(undisturbed)
    assert comparable(results.model_dump()) == comparable(expected.model_dump())
    assert results.R == expected.R
    interruptions = results.history.interruptions
    assert interruptions[0].at == "stage 1/3: training at milan"
    assert len(interruptions) == len(results.history.attempts) - 1 == 4


def survive(run: Watched, names: tuple[str, ...]) -> None:
    """Kill a part of the run; its command must fail, say how to go on, and leave nothing running."""
    kin = run.family("")
    run.kill(*names)
    killed_itself = run.process.pid in run.family(*names) or "" in names or names == TARGETS["launcher"]
    code = run.end()
    assert code != 0, run.tail()
    if not killed_itself:
        assert "wardround resume" in run.tail()
        assert "Traceback" not in "\n".join(line for line in run.lines if line.startswith("wardround"))
    assert not left_after(kin)


def steps_of(lines: list[str], center: str) -> list[int]:
    """The steps that a center reported."""
    return [int(match[1]) for line in lines if (match := re.match(rf"{center}: step (\d+)/", line))]

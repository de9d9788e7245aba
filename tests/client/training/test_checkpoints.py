"""What a hospital keeps of a visit: training goes on where it stopped, and a finished one is answered from disk."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from client.training.checkpoints import KEPT_DAYS, VisitState, forget_visit, visit_state
from client.training.stage import HOLDS
from client.training.trainer import Plan, Progress, Trained, plan_stage, train
from shared.config.settings import Settings
from shared.files import read_document, write_document
from shared.replay.contribution import PlainContribution
from shared.wire.headers import EvaluateTask, Retention, TrainTask
from shared.wire.messages import TrainReply, TrainRequest
from tests.client.training.test_trainer import CPU, same, sources, weights
from tests.conftest import ROOT, Configured
from tests.support.journals import crop, figures_of

RUN, OTHER_RUN = "0" * 32, "1" * 32
STEPS = 5
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"schedule": "constant", "steps": STEPS},
    "one-cycle": {"schedule": "one-cycle", "steps": STEPS},
    "step": {"schedule": "step", "steps": 0, "epochs": STEPS, "decay_epochs": 2},
}


class Killed(BaseException):
    """The hospital's process ends, here and now."""


@dataclass
class UpTo:
    """Checkpoints that are kept every so many steps, by a process that dies after a step."""

    state: VisitState
    dies_after: int
    every: int = 1
    step: int = 0

    def load(self) -> dict[str, Any] | None:
        loaded = self.state.load()
        self.step = len(loaded["losses"]) if loaded else 0
        return loaded

    def due(self) -> bool:
        self.step += 1
        return self.step % self.every == 0

    def save(self, state: dict[str, Any]) -> None:
        self.state.save(state)

    def report(self, progress: Progress) -> None:
        if progress.step == self.dies_after:
            raise Killed


def request_of(settings: Settings, stage: int = 0, run: str = RUN, center: str = "amu") -> TrainRequest:
    task = TrainTask(run=run, stage=stage, center=center, contribute=True)
    return TrainRequest(task, weights(settings), ())


def plan_of(settings: Settings, memory: int) -> Plan:
    return plan_stage(sources(2), [sources(memory), sources(1)] if memory else [], settings)


def interrupted(folder: Path, settings: Settings, plan: Plan, dies_after: int, every: int = 1) -> None:
    request = request_of(settings)
    with visit_state(folder, request, 0.0) as state:
        checkpoints = UpTo(state, dies_after, every)
        with pytest.raises(Killed):
            train(request.weights, plan, settings, 3, CPU, checkpoints.report, checkpoints)


def gone_on(folder: Path, settings: Settings, plan: Plan) -> tuple[Trained, list[int]]:
    """The training to its end, and the steps that were taken for it."""
    request = request_of(settings)
    heard: list[int] = []
    with visit_state(folder, request, 1e9) as state:
        trained = train(request.weights, plan, settings, 3, CPU, lambda p: heard.append(p.step), state)
    return trained, heard


# A training that was interrupted


@pytest.mark.parametrize("memory", [0, 2])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_training_interrupted_at_any_step_ends_with_the_same_weights_bit_for_bit(
    tmp_path: Path,
    configured: Configured,
    schedule: str,
    memory: int,
) -> None:
    settings = configured(**SCHEDULES[schedule])
    plan = plan_of(settings, memory)
    whole = train(weights(settings), plan, settings, 3, CPU)
    for step in range(1, STEPS):
        interrupted(tmp_path / str(step), settings, plan, dies_after=step)
        trained, steps = gone_on(tmp_path / str(step), settings, plan)
        assert steps == list(range(step + 1, STEPS + 1)), "no step is taken twice"
        assert same(trained.weights, whole.weights)
        assert (trained.steps, trained.final_loss) == (whole.steps, whole.final_loss)


@pytest.mark.parametrize("retention", ["distillation", "consolidation"])
def test_a_training_that_is_held_goes_on_held_by_the_model_that_came(
    tmp_path: Path, configured: Configured, retention: Retention
) -> None:
    """And not by what it had become when it was interrupted."""
    settings = configured(**SCHEDULES["one-cycle"], ewc_weight=0.1)
    request = request_of(settings)
    request = replace(request, importance={name: torch.ones_like(value) for name, value in request.weights.items()})
    plan = replace(plan_of(settings, 0), penalty=HOLDS[retention](request, settings, CPU))
    whole = train(weights(settings), plan, settings, 3, CPU)
    assert not same(whole.weights, train(weights(settings), plan_of(settings, 0), settings, 3, CPU).weights)
    for step in range(1, STEPS):
        interrupted(tmp_path / str(step), settings, plan, dies_after=step)
        plan = replace(plan, penalty=HOLDS[retention](request, settings, CPU))
        trained, _ = gone_on(tmp_path / str(step), settings, plan)
        assert same(trained.weights, whole.weights) and trained.final_loss == whole.final_loss


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_steps_after_the_last_checkpoint_are_taken_again(
    tmp_path: Path,
    configured: Configured,
    step: int,
) -> None:
    settings = configured(**SCHEDULES["one-cycle"])
    plan = plan_of(settings, 2)
    interrupted(tmp_path, settings, plan, dies_after=step, every=2)
    trained, steps = gone_on(tmp_path, settings, plan)
    kept = min(step - step % 2, STEPS - 1)
    assert steps == list(range(kept + 1, STEPS + 1))
    assert same(trained.weights, train(weights(settings), plan, settings, 3, CPU).weights)


def test_a_training_that_is_interrupted_after_every_step_comes_to_its_end(
    tmp_path: Path, configured: Configured
) -> None:
    settings = configured(**SCHEDULES["one-cycle"])
    plan = plan_of(settings, 2)
    for step in range(1, STEPS):
        interrupted(tmp_path, settings, plan, dies_after=step)
    trained, steps = gone_on(tmp_path, settings, plan)
    assert steps == [STEPS]
    assert same(trained.weights, train(weights(settings), plan, settings, 3, CPU).weights)


def test_the_time_before_the_interruption_counts(tmp_path: Path, configured: Configured) -> None:
    settings = configured(**SCHEDULES["constant"])
    plan = plan_of(settings, 0)
    interrupted(tmp_path, settings, plan, dies_after=4)
    (path,) = tmp_path.rglob("step-*.pt")
    before = torch.load(path, weights_only=True)
    trained, _ = gone_on(tmp_path, settings, plan)
    assert trained.seconds > before["seconds"] and trained.compute_seconds > before["computing"]


def test_one_checkpoint_is_kept_and_none_is_due_at_once(tmp_path: Path, configured: Configured) -> None:
    settings = configured(**SCHEDULES["constant"])
    plan = plan_of(settings, 0)
    interrupted(tmp_path, settings, plan, dies_after=4)
    assert [path.name for path in tmp_path.rglob("step-*")] == ["step-000004.pt"]
    with visit_state(tmp_path, request_of(settings), 60.0) as state:
        assert not state.due()
    with visit_state(tmp_path, request_of(settings), 0.0) as state:
        assert state.due()


# A checkpoint that cannot be used


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.rglob(pattern)
    return path


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a bit of the state": lambda folder: flip(only(folder, "step-*.pt")),
    "a truncated state": lambda folder: os.truncate(only(folder, "step-*.pt"), 100),
    "a state of nothing": lambda folder: only(folder, "step-*.pt").write_bytes(b""),
    "a bit of the document": lambda folder: flip(only(folder, "checkpoint.json")),
    "a truncated document": lambda folder: os.truncate(only(folder, "checkpoint.json"), 50),
    "an empty document": lambda folder: only(folder, "checkpoint.json").write_bytes(b""),
    "a document of another kind": lambda folder: write_document(only(folder, "checkpoint.json"), []),
    "a document without a file": lambda folder: write_document(only(folder, "checkpoint.json"), {"request": ""}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_training_starts_over(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    settings = configured(**SCHEDULES["one-cycle"])
    plan = plan_of(settings, 2)
    interrupted(tmp_path, settings, plan, dies_after=3)
    DAMAGES[damage](tmp_path)
    trained, steps = gone_on(tmp_path, settings, plan)
    assert steps == list(range(1, STEPS + 1))
    assert same(trained.weights, train(weights(settings), plan, settings, 3, CPU).weights)
    told = capsys.readouterr().out
    assert "amu: a checkpoint is not used" in told and "training from the start" in told


def test_without_its_state_a_checkpoint_is_none(tmp_path: Path, configured: Configured) -> None:
    settings = configured(**SCHEDULES["constant"])
    plan = plan_of(settings, 0)
    interrupted(tmp_path, settings, plan, dies_after=3)
    only(tmp_path, "step-*.pt").unlink()
    assert gone_on(tmp_path, settings, plan)[1] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("what", ["weights", "task", "memory"])
def test_a_checkpoint_of_another_request_is_not_used(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
    what: str,
) -> None:
    settings = configured(**SCHEDULES["constant"])
    interrupted(tmp_path, settings, plan_of(settings, 0), dies_after=3)
    request = request_of(settings)
    other = {
        "weights": replace(request, weights=request.weights | {"head.bias": torch.tensor([1.0])}),
        "task": replace(request, task=request.task.model_copy(update={"budget": 5})),
        "memory": replace(request, memory=(PlainContribution((crop("ucsf"),)),)),
    }[what]
    with visit_state(tmp_path, other, 0.0) as state:
        assert state.load() is None
    assert "it belongs to another request" in capsys.readouterr().out


def test_a_visit_that_never_began_has_nothing_to_go_on_from_and_says_nothing(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with visit_state(tmp_path, request_of(configured()), 0.0) as state:
        assert state.load() is None and state.finished() is None
    assert capsys.readouterr().out == ""


# A disk that refuses


def test_training_goes_on_without_checkpoints_where_the_disk_refuses(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = configured(**SCHEDULES["one-cycle"])
    plan, request = plan_of(settings, 2), request_of(settings)
    with visit_state(tmp_path, request, 0.0) as state:
        state.folder.rmdir()
        state.folder.write_text("a file where a folder was")
        trained = train(request.weights, plan, settings, 3, CPU, checkpoints=state)
        state.finish(TrainReply(trained.weights, (), figures_of()), settings.network)
    assert same(trained.weights, train(weights(settings), plan, settings, 3, CPU).weights)
    told = capsys.readouterr().out
    assert "amu: a checkpoint cannot be kept in" in told and "going on without" in told
    assert "amu: a reply cannot be kept in" in told
    assert told.count("a checkpoint cannot be kept") <= STEPS


def test_a_checkpoint_that_could_not_be_written_leaves_the_one_before(tmp_path: Path, configured: Configured) -> None:
    settings = configured(**SCHEDULES["constant"])
    plan, request = plan_of(settings, 0), request_of(settings)
    interrupted(tmp_path, settings, plan, dies_after=2)
    with visit_state(tmp_path, request, 0.0) as state:
        (state.folder / "step-000003.pt").mkdir()  # which no file can replace
        loaded = state.load()
        assert loaded is not None
        state.save(loaded | {"losses": [0.5] * 3})
        (state.folder / "step-000003.pt").rmdir()
        again = state.load()
        assert again is not None and len(again["losses"]) == 2
        assert not list(state.folder.glob(".new-*"))


# A reply that was kept


def reply_of(settings: Settings) -> TrainReply:
    return TrainReply({n: v + 1 for n, v in weights(settings).items()}, PlainContribution((crop("amu"),)), figures_of())


def test_a_finished_training_is_answered_as_it_was_and_needs_no_checkpoint(
    tmp_path: Path, configured: Configured
) -> None:
    settings = configured(**SCHEDULES["constant"])
    interrupted(tmp_path, settings, plan_of(settings, 0), dies_after=3)
    sent = reply_of(settings)
    with visit_state(tmp_path, request_of(settings), 0.0) as state:
        state.finish(sent, settings.network)
    assert not list(tmp_path.rglob("step-*")) and not list(tmp_path.rglob("checkpoint.json"))
    with visit_state(tmp_path, request_of(settings), 0.0) as state:
        kept = state.finished()
    assert kept is not None
    assert same(kept.weights, sent.weights) and kept.figures == sent.figures
    assert kept.contribution is not None and sent.contribution is not None
    assert kept.contribution.document == sent.contribution.document
    assert {name: payload.tobytes() for name, payload in kept.contribution.payloads.items()} == {
        name: payload.tobytes() for name, payload in sent.contribution.payloads.items()
    }


@pytest.mark.parametrize("name", ["visit.json", "model.safetensors", "exemplars.safetensors"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.unlink()], ids=["bit", "missing"])
def test_a_damaged_reply_is_named_and_the_training_is_done_again(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
    name: str,
    damage: Callable[[Path], None],
) -> None:
    settings = configured()
    with visit_state(tmp_path, request_of(settings), 0.0) as state:
        state.finish(reply_of(settings), settings.network)
        damage(state.folder / "reply" / name)
        assert state.finished() is None
        told = capsys.readouterr().out
        assert "the reply that was kept is not used" in told and name in told and "training again" in told
        state.finish(reply_of(settings), settings.network)
        assert state.finished() is not None


def test_a_reply_to_another_request_is_not_sent(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = configured()
    with visit_state(tmp_path, request_of(settings), 0.0) as state:
        state.finish(reply_of(settings), settings.network)
    other = replace(request_of(settings), memory=(PlainContribution((crop("ucsf"),)),))
    with visit_state(tmp_path, other, 0.0) as state:
        assert state.finished() is None
    assert "it answers another request" in capsys.readouterr().out


# What is no longer needed


def kept_in(folder: Path) -> set[str]:
    return {str(path.parent.relative_to(folder / "visits")) for path in folder.rglob("reply")}


def test_a_visit_is_forgotten_when_its_model_comes_back_and_no_other(tmp_path: Path, configured: Configured) -> None:
    settings = configured()
    visits = [(RUN, "amu", 0), (RUN, "amu", 1), (RUN, "amu", 2), (RUN, "ucsf", 0), (OTHER_RUN, "amu", 0)]
    for run, center, stage in visits:
        with visit_state(tmp_path, request_of(settings, stage, run, center), 0.0) as state:
            state.finish(reply_of(settings), settings.network)
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=1, center="amu"), "amu")
    assert kept_in(tmp_path) == {f"{RUN}/amu-002", f"{RUN}/ucsf-000", f"{OTHER_RUN}/amu-000"}
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=9, center="amu"), "amu")
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=9, center="ucsf"), "ucsf")
    assert kept_in(tmp_path) == {f"{OTHER_RUN}/amu-000"}
    assert not (tmp_path / "visits" / RUN).exists(), "nothing is left of the run"


def test_a_visit_is_forgotten_when_a_later_round_is_to_be_trained(tmp_path: Path, configured: Configured) -> None:
    settings = configured()
    for stage in (0, 1, 2):
        with visit_state(tmp_path, request_of(settings, stage), 0.0) as state:
            state.finish(reply_of(settings), settings.network)
    forget_visit(tmp_path, request_of(settings, 2).task, "amu")
    assert kept_in(tmp_path) == {f"{RUN}/amu-002"}, "the round that is asked for may be answered from disk"


def test_a_center_whose_name_begins_another_s_forgets_its_own(tmp_path: Path, configured: Configured) -> None:
    settings = configured()
    for center in ("amu", "amu-2", "amu-000"):
        with visit_state(tmp_path, request_of(settings, 0, RUN, center), 0.0) as state:
            state.finish(reply_of(settings), settings.network)
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=5, center="amu"), "amu")
    assert kept_in(tmp_path) == {f"{RUN}/amu-2-000", f"{RUN}/amu-000-000"}


def test_a_run_that_was_forsaken_is_forgotten(tmp_path: Path, configured: Configured) -> None:
    settings = configured()
    now = time.time()
    for run, days in ((RUN, KEPT_DAYS + 1), (OTHER_RUN, KEPT_DAYS - 1)):
        with visit_state(tmp_path, request_of(settings, 0, run), 0.0) as state:
            state.finish(reply_of(settings), settings.network)
        os.utime(tmp_path / "visits" / run, (now - days * 86400,) * 2)
    forget_visit(tmp_path, EvaluateTask(run="2" * 32, stage=0, center="amu"), "amu")
    assert kept_in(tmp_path) == {f"{OTHER_RUN}/amu-000"}


def test_a_hospital_that_kept_nothing_has_nothing_to_forget(tmp_path: Path) -> None:
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=0, center="amu"), "amu")
    assert list(tmp_path.iterdir()) == []


# Two at once

HOLD = """
import sys
from pathlib import Path
from client.training.checkpoints import visit_state
from shared.config.settings import Settings
from scenarios.run_config import load_settings
from tests.client.training.test_checkpoints import reply_of, request_of

settings = load_settings(Path("scenarios/smoke.toml"), ["features=2", "batch-size=2", "steps=4"], None)
with visit_state(Path(sys.argv[1]), request_of(settings), 0.0) as state:
    print("held", flush=True)
    sys.stdin.read()
    state.finish(reply_of(settings), settings.network)
"""


def test_a_second_process_waits_for_the_first_and_takes_its_reply(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As when a node is lost and comes back while its old process still trains."""
    settings = configured()
    replies: list[TrainReply | None] = []

    def second() -> None:
        with visit_state(tmp_path, request_of(settings), 0.0) as state:
            replies.append(state.finished())

    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdin and first.stdout
    with first:
        assert first.stdout.readline() == "held\n"
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and not replies
        first.stdin.close()
        waiting.join(60)
    assert not waiting.is_alive()
    (reply,) = replies
    assert reply is not None and same(reply.weights, reply_of(settings).weights)
    assert "amu: stage 1 is being trained here already: waiting" in capsys.readouterr().out


def test_a_document_names_the_state_by_its_checksum(tmp_path: Path, configured: Configured) -> None:
    settings = configured(**SCHEDULES["constant"])
    interrupted(tmp_path, settings, plan_of(settings, 0), dies_after=2)
    about = read_document(only(tmp_path, "checkpoint.json"))
    assert set(about) == {"file", "sha256", "request"} and about["file"] == "step-000002.pt"

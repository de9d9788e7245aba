"""Checkpoints: a training that was interrupted goes on where it stopped, bit for bit."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from client.sharing.kept_replies import keeping_visit
from client.training.methods.base import Method
from client.training.methods.registry import begin_method
from client.training.trainer import train
from shared.files import read_document, write_document
from shared.replay.contribution import PlainContribution
from shared.wire.messages import TrainReply
from tests.conftest import Configured
from tests.support.journals import crop, figures_of
from tests.support.training import (
    CPU,
    SCHEDULES,
    STEPS,
    flip,
    gone_on,
    interrupted,
    only,
    plan_of,
    request_of,
    same,
    weights,
)

# A training that was interrupted


@pytest.mark.parametrize(
    ("schedule", "memory"),
    [
        # Each schedule once by default; what is drawn from a memory hangs on the schedule in nothing.
        pytest.param(name, memory, marks=[] if (memory > 0) == (name == "one-cycle") else pytest.mark.slow)
        for name in SCHEDULES
        for memory in (0, 2)
    ],
)
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


@pytest.mark.parametrize("method", ["lwf", "ewc"])
def test_a_training_that_is_held_goes_on_held_by_the_model_that_came(
    tmp_path: Path, configured: Configured, method: str
) -> None:
    """And not by what it had become when it was interrupted."""
    settings = configured(**SCHEDULES["one-cycle"], ewc_weight=0.1, method=method)
    request = request_of(settings, stage=1)
    ones = {name: torch.ones_like(value) for name, value in request.weights.items()}
    request = replace(request, state={"importance": ones})

    def hold() -> Method:
        return begin_method(request, settings, CPU)

    plan = plan_of(settings, 0)
    whole = train(weights(settings), plan, settings, 3, CPU, method=hold())
    assert not same(whole.weights, train(weights(settings), plan, settings, 3, CPU).weights)
    for step in range(1, STEPS):
        interrupted(tmp_path / str(step), settings, plan, dies_after=step, method=hold())
        trained, _ = gone_on(tmp_path / str(step), settings, plan, hold())
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
    with keeping_visit(tmp_path, request_of(settings), 60.0) as visit:
        assert not visit.checkpoints.due()
    with keeping_visit(tmp_path, request_of(settings), 0.0) as visit:
        assert visit.checkpoints.due()


# A checkpoint that cannot be used

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
    with keeping_visit(tmp_path, other, 0.0) as visit:
        assert visit.checkpoints.load() is None
    assert "it belongs to another request" in capsys.readouterr().out


def test_a_visit_that_never_began_has_nothing_to_go_on_from_and_says_nothing(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with keeping_visit(tmp_path, request_of(configured()), 0.0) as visit:
        assert visit.checkpoints.load() is None and visit.finished() is None
    assert capsys.readouterr().out == ""


# A disk that refuses


def test_training_goes_on_without_checkpoints_where_the_disk_refuses(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = configured(**SCHEDULES["one-cycle"])
    plan, request = plan_of(settings, 2), request_of(settings)
    with keeping_visit(tmp_path, request, 0.0) as visit:
        visit.folder.rmdir()
        visit.folder.write_text("a file where a folder was")
        trained = train(request.weights, plan, settings, 3, CPU, checkpoints=visit.checkpoints)
        visit.finish(TrainReply(trained.weights, (), figures_of()), settings.network)
    assert same(trained.weights, train(weights(settings), plan, settings, 3, CPU).weights)
    told = capsys.readouterr().out
    assert "amu: a checkpoint cannot be kept in" in told and "going on without" in told
    assert "amu: a reply cannot be kept in" in told
    assert told.count("a checkpoint cannot be kept") <= STEPS


def test_a_checkpoint_that_could_not_be_written_leaves_the_one_before(tmp_path: Path, configured: Configured) -> None:
    settings = configured(**SCHEDULES["constant"])
    plan, request = plan_of(settings, 0), request_of(settings)
    interrupted(tmp_path, settings, plan, dies_after=2)
    with keeping_visit(tmp_path, request, 0.0) as visit:
        (visit.folder / "step-000003.pt").mkdir()  # which no file can replace
        loaded = visit.checkpoints.load()
        assert loaded is not None
        visit.checkpoints.save(loaded | {"losses": [0.5] * 3})
        (visit.folder / "step-000003.pt").rmdir()
        again = visit.checkpoints.load()
        assert again is not None and len(again["losses"]) == 2
        assert not list(visit.folder.glob(".new-*"))


def test_a_document_names_the_state_by_its_checksum(tmp_path: Path, configured: Configured) -> None:
    settings = configured(**SCHEDULES["constant"])
    interrupted(tmp_path, settings, plan_of(settings, 0), dies_after=2)
    about = read_document(only(tmp_path, "checkpoint.json"))
    assert set(about) == {"file", "sha256", "request"} and about["file"] == "step-000002.pt"

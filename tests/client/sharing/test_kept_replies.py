"""Replies that a hospital keeps: a finished training is answered from disk until it is needed no longer."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pytest

from client.sharing.kept_replies import KEPT_DAYS, forget_visit, keeping_visit
from shared.replay.contribution import PlainContribution
from shared.wire.headers import EvaluateTask
from shared.wire.messages import TrainReply
from tests.conftest import Configured
from tests.support.forks import Fork
from tests.support.journals import crop
from tests.support.training import (
    OTHER_RUN,
    RUN,
    SCHEDULES,
    flip,
    interrupted,
    plan_of,
    reply_of,
    request_of,
    same,
)


def test_a_finished_training_is_answered_as_it_was_and_needs_no_checkpoint(
    tmp_path: Path, configured: Configured
) -> None:
    settings = configured(**SCHEDULES["constant"])
    interrupted(tmp_path, settings, plan_of(settings, 0), dies_after=3)
    sent = reply_of(settings)
    with keeping_visit(tmp_path, request_of(settings), 0.0) as visit:
        visit.finish(sent, settings.network)
    assert not list(tmp_path.rglob("step-*")) and not list(tmp_path.rglob("checkpoint.json"))
    with keeping_visit(tmp_path, request_of(settings), 0.0) as visit:
        kept = visit.finished()
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
    with keeping_visit(tmp_path, request_of(settings), 0.0) as visit:
        visit.finish(reply_of(settings), settings.network)
        damage(visit.folder / "reply" / name)
        assert visit.finished() is None
        told = capsys.readouterr().out
        assert "the reply that was kept is not used" in told and name in told and "training again" in told
        visit.finish(reply_of(settings), settings.network)
        assert visit.finished() is not None


def test_a_reply_to_another_request_is_not_sent(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = configured()
    with keeping_visit(tmp_path, request_of(settings), 0.0) as visit:
        visit.finish(reply_of(settings), settings.network)
    other = replace(request_of(settings), memory=(PlainContribution((crop("ucsf"),)),))
    with keeping_visit(tmp_path, other, 0.0) as visit:
        assert visit.finished() is None
    assert "it answers another request" in capsys.readouterr().out


# What is no longer needed


def kept_in(folder: Path) -> set[str]:
    return {str(path.parent.relative_to(folder / "visits")) for path in folder.rglob("reply")}


def test_a_visit_is_forgotten_when_its_model_comes_back_and_no_other(tmp_path: Path, configured: Configured) -> None:
    settings = configured()
    visits = [(RUN, "amu", 0), (RUN, "amu", 1), (RUN, "amu", 2), (RUN, "ucsf", 0), (OTHER_RUN, "amu", 0)]
    for run, center, stage in visits:
        with keeping_visit(tmp_path, request_of(settings, stage, run, center), 0.0) as visit:
            visit.finish(reply_of(settings), settings.network)
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=1, center="amu"), "amu")
    assert kept_in(tmp_path) == {f"{RUN}/amu-002", f"{RUN}/ucsf-000", f"{OTHER_RUN}/amu-000"}
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=9, center="amu"), "amu")
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=9, center="ucsf"), "ucsf")
    assert kept_in(tmp_path) == {f"{OTHER_RUN}/amu-000"}
    assert not (tmp_path / "visits" / RUN).exists(), "nothing is left of the run"


def test_a_visit_is_forgotten_when_a_later_round_is_to_be_trained(tmp_path: Path, configured: Configured) -> None:
    settings = configured()
    for stage in (0, 1, 2):
        with keeping_visit(tmp_path, request_of(settings, stage), 0.0) as visit:
            visit.finish(reply_of(settings), settings.network)
    forget_visit(tmp_path, request_of(settings, 2).task, "amu")
    assert kept_in(tmp_path) == {f"{RUN}/amu-002"}, "the round that is asked for may be answered from disk"


def test_a_center_whose_name_begins_another_s_forgets_its_own(tmp_path: Path, configured: Configured) -> None:
    settings = configured()
    for center in ("amu", "amu-2", "amu-000"):
        with keeping_visit(tmp_path, request_of(settings, 0, RUN, center), 0.0) as visit:
            visit.finish(reply_of(settings), settings.network)
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=5, center="amu"), "amu")
    assert kept_in(tmp_path) == {f"{RUN}/amu-2-000", f"{RUN}/amu-000-000"}


def test_a_run_that_was_forsaken_is_forgotten(tmp_path: Path, configured: Configured) -> None:
    settings = configured()
    now = time.time()
    for run, days in ((RUN, KEPT_DAYS + 1), (OTHER_RUN, KEPT_DAYS - 1)):
        with keeping_visit(tmp_path, request_of(settings, 0, run), 0.0) as visit:
            visit.finish(reply_of(settings), settings.network)
        os.utime(tmp_path / "visits" / run, (now - days * 86400,) * 2)
    forget_visit(tmp_path, EvaluateTask(run="2" * 32, stage=0, center="amu"), "amu")
    assert kept_in(tmp_path) == {f"{OTHER_RUN}/amu-000"}


def test_a_hospital_that_kept_nothing_has_nothing_to_forget(tmp_path: Path) -> None:
    forget_visit(tmp_path, EvaluateTask(run=RUN, stage=0, center="amu"), "amu")
    assert list(tmp_path.iterdir()) == []


# Two at once


def test_a_second_process_waits_for_the_first_and_takes_its_reply(
    tmp_path: Path,
    configured: Configured,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As when a node is lost and comes back while its old process still trains."""
    settings = configured()
    replies: list[TrainReply | None] = []

    held, release = os.pipe()

    def hold(log: TextIO) -> None:
        os.close(release)
        with keeping_visit(tmp_path, request_of(settings), 0.0) as visit:
            print("held", file=log)
            os.read(held, 1)
            visit.finish(reply_of(settings), settings.network)

    def second() -> None:
        with keeping_visit(tmp_path, request_of(settings), 0.0) as visit:
            replies.append(visit.finished())

    first = Fork(hold)
    assert first.log.readline() == "held\n"
    waiting = threading.Thread(target=second)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive() and not replies
    os.close(release)
    assert first.end() == (0, [])
    waiting.join(60)
    assert not waiting.is_alive()
    (reply,) = replies
    assert reply is not None and same(reply.weights, reply_of(settings).weights)
    assert "amu: stage 1 is being trained here already: waiting" in capsys.readouterr().out

"""What a hospital decides while it trains or tests holds for what leaves right after."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import client.handlers
from shared.wire.headers import TestFigures
from shared.wire.messages import (
    TrainReply,
    unpack_train_reply,
)
from shared.wire.records import Refused, unpack_header
from tests.support.hospital_messages import ask
from tests.support.joined import NODES, SUBJECTS, Study

Meanwhile = Callable[[Callable[[], None]], None]


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Have something happen once, while the hospital trains or tests."""

    def during(happens: Callable[[], None]) -> None:
        waiting = [happens]
        for name in ("train_stage", "evaluate"):
            computes = getattr(client.handlers, name)

            def interrupted(*args: Any, computes: Callable[..., Any] = computes) -> Any:
                result = computes(*args)
                if waiting:
                    waiting.pop()()
                return result

            monkeypatch.setattr(client.handlers, name, interrupted)

    return during


def train(study: Study) -> TrainReply:
    """Grace's reply in a new run."""
    return unpack_train_reply(ask(study.wire(), "train", study.training(uuid4().hex), NODES["grace"]))


def evaluate(study: Study) -> TestFigures:
    """Grace's scores in a new run."""
    return unpack_header(ask(study.wire(), "evaluate", study.test(uuid4().hex), NODES["grace"]), TestFigures)


def sent(study: Study) -> list[str]:
    return [entry.facts.message for entry in study.audit("grace") if entry.kind == "sent"]


def shared(reply: TrainReply) -> set[str]:
    return set(reply.contribution.subjects) if reply.contribution else set()


def called(study: Study, *names: str) -> set[str]:
    """What leaves in the run that grace was asked for last calls these subjects."""
    run = next(entry.facts.run for entry in reversed(study.audit("grace")) if entry.facts.run)
    return study.called("grace", run, study.known("grace", *names))


# A stricter policy


def test_what_is_asked_of_a_policy_that_stays_leaves(study: Study) -> None:
    assert len(shared(train(study))) == 3 and sent(study) == ["trained model", "exemplars"]


@pytest.mark.parametrize(
    "stricter",
    [
        {"share_exemplars": False},
        {"centers": ["mercy"]},
        {"megabytes": 0.001},
        {"subjects": 1},
        {"expiry_days": 3},
        {"consent_column": "share"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_crop_leaves_that_the_policy_has_come_to_forbid(
    study: Study, meanwhile: Meanwhile, stricter: dict[str, Any]
) -> None:
    table = study.root / "grace" / "images" / "participants.tsv"
    table.write_text("participant_id\tshare\n" + "".join(f"sub-grace{name}\tno\n" for name in SUBJECTS))
    meanwhile(lambda: study.write_site("grace", **stricter))
    assert not shared(train(study)) and sent(study) == ["trained model"]


def test_no_crop_leaves_for_a_key_that_is_no_longer_pinned(study: Study, meanwhile: Meanwhile) -> None:
    meanwhile(lambda: study.write_site("grace", pins={"mercy": ""}))
    assert not shared(train(study)) and sent(study) == ["trained model"]


def test_no_crop_leaves_of_a_subject_that_is_named_under_never_meanwhile(study: Study, meanwhile: Meanwhile) -> None:
    named = [f"sub-grace{name}" for name in SUBJECTS[:3]]
    meanwhile(lambda: study.write_site("grace", never=named))
    before = shared(train(study))
    assert len(before) <= 2 and not before & called(study, *SUBJECTS[:3])
    assert before <= called(study, *SUBJECTS)


def test_no_model_leaves_a_hospital_that_trains_no_more(study: Study, meanwhile: Meanwhile) -> None:
    meanwhile(lambda: study.write_site("grace", role="evaluate"))
    with pytest.raises(Refused, match="has the role evaluate, and it was asked to train"):
        train(study)
    assert sent(study) == []
    assert study.audit("grace")[-1].kind == "refused"


def test_a_kept_reply_is_asked_the_same(study: Study) -> None:
    content = study.training()
    first = unpack_train_reply(ask(study.wire(), "train", content, NODES["grace"]))
    assert first.contribution is not None
    study.write_site("grace", role="evaluate")
    with pytest.raises(Refused, match="has the role evaluate"):
        unpack_train_reply(ask(study.wire(), "train", content, NODES["grace"]))


# A withdrawal


def test_neither_crop_nor_model_of_a_subject_withdrawn_meanwhile_leaves(
    study: Study, meanwhile: Meanwhile, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its stage begins anew without it, and the coordinator hears of it with the reply."""
    whole = train(study)
    chosen = [name for name in SUBJECTS if called(study, name) <= shared(whole)]
    assert shared(whole) == called(study, *chosen)
    meanwhile(lambda: study.withdraw("grace", chosen[0]))
    reply = train(study)
    assert shared(reply) == called(study, *chosen[1:])
    assert reply.figures.withdrawn == (), "no crop of it has left in this run"
    assert (whole.figures.subjects, reply.figures.subjects) == (3, 2)
    assert "begins anew" in capsys.readouterr().out
    (entry,) = study.audited("grace", "voided", "stage begun anew")
    assert set(entry.facts.subjects) == study.known("grace", chosen[0])


def test_a_subject_withdrawn_while_it_is_tested_is_in_no_score(study: Study, meanwhile: Meanwhile) -> None:
    whole = {case.subject for case in evaluate(study).cases}
    tested = [name for name in SUBJECTS if called(study, name) <= whole]
    assert whole == called(study, *tested)
    meanwhile(lambda: study.withdraw("grace", tested[0]))
    figures = evaluate(study)
    assert {case.subject for case in figures.cases} == called(study, *tested[1:])
    assert figures.withdrawn == ()


def test_scores_of_each_image_leave_only_where_the_policy_still_says_so(study: Study, meanwhile: Meanwhile) -> None:
    meanwhile(lambda: study.write_site("grace", report_subject_scores=False, least_test_subjects=2))
    figures = evaluate(study)
    assert figures.cases == () and figures.mean is not None
    assert sent(study) == ["mean test scores"]


def test_no_score_leaves_a_hospital_that_tests_no_more(study: Study, meanwhile: Meanwhile) -> None:
    meanwhile(lambda: study.write_site("grace", role="train"))
    with pytest.raises(Refused, match="has the role train, and it was asked to evaluate"):
        evaluate(study)
    assert sent(study) == []

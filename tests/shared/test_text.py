"""What another party says is shown so that it can neither move a terminal nor begin a line of its own."""

from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from server.exchange import Failure, exchange
from server.preflight import check_terms
from shared.errors import MessageError
from shared.log import say
from shared.text import printable, printable_in, printable_lines
from shared.wire.headers import CenterCard, PassedOverCard, RollCall, TestFigures, TrainTask
from shared.wire.records import Refused, pack_header, pack_refusal, unpack_header
from tests.conftest import Configured
from tests.support.fakes import FakeGrid

ODD = {
    "escape": "\x1b[2J\x1b[31mred",
    "link": "\x1b]8;;http://evil\x1b\\a link\x1b]8;;\x07",
    "carriage return": "good\rbad!",
    "line": "one\n[wardround] forged",
    "next line": "one\x85two\u2028three\u2029four\x0bfive",
    "direction": "abc\u202edcba\u2066x\u2069",
    "eight bits": "\x9b31m\x9d0;title\x9c",
    "half a sign": "\ud800",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_no_sign_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() and len(shown.splitlines()) == 1
    shown.encode()  # which half a sign could not be


@pytest.mark.parametrize("text", ["", "center milan: 12 patients, 3 %", "Universitätsklinikum Köln", "東京 − × –"])
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


@given(st.text())
def test_any_text_is_one_line_and_stays_as_it_is_from_then_on(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() and printable(shown) == shown
    assert all(line.isprintable() for line in printable_lines(text).split("\n"))


def test_all_texts_of_a_value_are_made_printable_and_nothing_else_is_changed() -> None:
    assert printable_in({"a\n": [1, "b\x1b", {"c": ("d\r", None, 0.5)}]}) == {
        "a\\n": [1, "b\\x1b", {"c": ("d\\r", None, 0.5)}]
    }


def test_a_line_that_is_said_has_no_sign_but_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    say("our own two\nlines \x1b[2J")
    say("")
    assert capsys.readouterr().out == "[wardround] our own two\n[wardround] lines \\x1b[2J\n"


# Where another party's words come in


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_a_refusal_is_one_printable_line(text: str) -> None:
    records = RecordDict({"refusal": ConfigRecord({"reason": text.encode("utf-8", "replace").decode()})})
    with pytest.raises(Refused) as caught:
        unpack_header(records, RollCall)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", [text for name, text in ODD.items() if name != "half a sign"])
def test_no_word_of_a_header_moves_a_terminal(text: str) -> None:
    card = CenterCard.model_construct(
        center=text,
        training_subjects=1,
        test_subjects=1,
        contrasts=(text,),
        fingerprint=text,
        policy=text,
        untested=text,
        passed_over=(PassedOverCard.model_construct(contrast=text, reason=text, count=1),),
    )
    call = RollCall.model_construct(cards=(card,), simulated=False, code=text)
    (heard,) = unpack_header(pack_header(call), RollCall).cards
    words = [heard.center, *heard.contrasts, heard.policy, heard.untested, heard.passed_over[0].reason]
    assert all(word.isprintable() for word in words) and heard.policy == printable(text)
    figures = TestFigures.model_construct(center=text, mean=None, cases=(), set_aside={text: 1}, seconds=1.0)
    with pytest.raises(MessageError) as caught:  # neither cases nor their mean
        unpack_header(pack_header(figures), TestFigures)
    assert str(caught.value).isprintable()


def test_a_policy_forges_no_line_of_the_coordinator(configured: Configured, capsys: pytest.CaptureFixture[str]) -> None:
    card = CenterCard(
        center="grace",
        training_subjects=1,
        test_subjects=1,
        contrasts=("FLAIR",),
        fingerprint="0",
        policy="all\n[wardround] grace: shares nothing\x1b[A",
    )
    call = pack_header(RollCall(cards=(card,), simulated=False, code=""))
    (heard,) = unpack_header(call, RollCall).cards
    check_terms(configured(), {"grace": heard}, (), simulated=False, identities={})
    (line,) = capsys.readouterr().out.rstrip("\n").split("\n")
    assert line.isprintable() and line.startswith("[wardround] grace: all\\n")


def test_a_task_forges_no_line_of_the_hospital() -> None:
    task = TrainTask(run="0" * 32, stage=0, center="milan\n[wardround] milan: all is well", contribute=False)
    assert unpack_header(pack_header(task), TrainTask).center == "milan\\n[wardround] milan: all is well"


def test_what_a_node_reports_is_one_printable_line() -> None:
    grid = FakeGrid(lambda message, context: message, {}, {7: {}})  # type: ignore[arg-type]
    grid.errors = {(7, "train", 0): Error(2, "Traceback\nValueError: \x1b[2Jgone")}
    failures: list[Failure] = []
    messages: list[Any] = [Message(pack_refusal(""), 7, "train")]
    assert list(exchange(grid, messages, ["grace"], 1.0, on_failure=failures.append)) == []
    assert failures[0].reason.isprintable() and "ValueError: \\x1b[2Jgone" in failures[0].reason

"""The chain: whatever is done to a log, the first bad line is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from client.governance.hash_chain import Entry, Facts, Head, examine, parse


def written(count: int) -> tuple[list[bytes], Head]:
    """The lines of a log, without their ends, and its head."""
    head, lines = Head(), []
    for i in range(count):
        entry = Entry.after(head, "2030-05-01T12:00:00Z", "sent", Facts(message="train reply", size=i))
        head = head.moved(entry)
        lines.append(entry.line.rstrip(b"\n"))
    return lines, head


LINES, HEAD = written(6)


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def forged(line: bytes, **changes: object) -> bytes:
    """The line with other content and a hash that fits it."""
    entry = parse(line)
    assert entry is not None
    changed = entry.model_copy(update=changes)
    return changed.model_copy(update={"hash": changed.digest}).line.rstrip(b"\n")


def test_an_untouched_log_is_sound() -> None:
    verdict = examine(joined(LINES), HEAD)
    assert verdict.sound
    assert [entry.facts.size for entry in verdict.entries] == list(range(6))
    assert verdict.notes == ()
    assert examine(b"", Head()).sound


def test_an_entry_is_written_as_documented() -> None:
    """The first line, byte for byte but its hash: a change of format would break logs that exist."""
    zeros = "0" * 64
    assert LINES[0].decode() == (
        '{"facts":{"centers":[],"checksums":[],"message":"train reply","reason":"","run":null,"size":0,"stage":null,'
        f'"subjects":[]}},"hash":"{HASH}","kind":"sent","previous":"{zeros}","sequence":1,"time":"2030-05-01T12:00:00Z"}}'
    )


HASH = "5aded6abe1dc7a93f931ff57b39be3f4631479e51ce8297310cbbdc9ba71ce65"


@pytest.mark.parametrize("at", range(6))
def test_a_changed_line_is_named(at: int) -> None:
    lines = LINES.copy()
    lines[at] = lines[at].replace(b'"size":%d' % at, b'"size":99')
    verdict = examine(joined(lines), HEAD)
    assert verdict.problem == f"line {at + 1} (entry {at + 1}) was changed: its content and its hash disagree"
    assert len(verdict.entries) == at


@pytest.mark.parametrize("at", range(5))
def test_a_line_changed_with_its_hash_is_named_by_the_next(at: int) -> None:
    lines = LINES.copy()
    lines[at] = forged(lines[at], kind="refused")
    assert f"line {at + 2} does not follow from line {at + 1}" in str(examine(joined(lines), HEAD).problem)


def test_the_last_line_changed_with_its_hash_is_named_by_the_head() -> None:
    lines = [*LINES[:-1], forged(LINES[-1], kind="refused")]
    assert "line 6 is not the one that the head file remembers" in str(examine(joined(lines), HEAD).problem)


@pytest.mark.parametrize("at", range(5))
def test_a_removed_line_is_named(at: int) -> None:
    lines = LINES[:at] + LINES[at + 1 :]
    problem = f"line {at + 1} holds entry {at + 2}: entries {at + 1} to {at + 1} were removed"
    assert examine(joined(lines), HEAD).problem == problem


def test_several_removed_lines_are_named() -> None:
    assert "line 2 holds entry 5: entries 2 to 4 were removed" in str(
        examine(joined(LINES[:1] + LINES[4:]), HEAD).problem
    )


def test_reordered_and_repeated_lines_are_named() -> None:
    swapped = [*LINES[:2], LINES[3], LINES[2], *LINES[4:]]
    assert "line 3 holds entry 4, and entry 3 comes later" in str(examine(joined(swapped), HEAD).problem)
    repeated = [*LINES[:3], LINES[2], *LINES[3:]]
    assert "line 4 holds entry 3 again" in str(examine(joined(repeated), HEAD).problem)


@pytest.mark.parametrize("kept", range(6))
def test_a_log_cut_at_its_end_is_noticed_by_its_head(kept: int) -> None:
    problem = str(examine(joined(LINES[:kept]), HEAD).problem)
    assert f"entries {kept + 1} to 6 were cut off at the end" in problem


def test_a_line_cut_in_the_middle_of_the_log_is_named() -> None:
    lines = [LINES[0], LINES[1][:40], *LINES[2:]]
    assert "line 2 is no entry" in str(examine(joined(lines), HEAD).problem)


def test_a_last_line_cut_by_somebody_is_no_torn_line() -> None:
    assert "cut off at the end" in str(examine(joined(LINES)[:-1], HEAD).problem)


def test_a_torn_line_is_reported_and_no_sign_of_a_change() -> None:
    verdict = examine(joined(LINES) + b'{"facts":{"cen', HEAD)
    assert verdict.sound
    assert "torn: 14 bytes" in verdict.notes[0]


def test_a_whole_line_that_the_head_does_not_know_is_reported() -> None:
    lines, _ = written(7)
    verdict = examine(joined(lines), HEAD)
    assert verdict.sound
    assert "entry 7 is whole" in verdict.notes[0]


def test_more_lines_than_an_interruption_leaves_are_a_problem() -> None:
    lines, _ = written(8)
    assert "line 8 and what follows" in str(examine(joined(lines), HEAD).problem)
    assert "not known to the head file" in str(examine(joined(LINES), Head()).problem)


def test_a_head_with_another_length_is_a_problem() -> None:
    wrong = HEAD.model_copy(update={"size": HEAD.size + 1})
    assert "one of the two was replaced" in str(examine(joined(LINES), wrong).problem)


@given(st.data())
def test_any_bit_flipped_in_a_log_is_noticed(data: st.DataObject) -> None:
    log = bytearray(joined(LINES))
    log[data.draw(st.integers(0, len(log) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not examine(bytes(log), HEAD).sound


@given(st.data())
def test_any_bytes_taken_out_of_a_log_are_noticed(data: st.DataObject) -> None:
    log = joined(LINES)
    start = data.draw(st.integers(0, len(log) - 1))
    end = data.draw(st.integers(start + 1, len(log)))
    assert not examine(log[:start] + log[end:], HEAD).sound


@pytest.mark.parametrize("subject", ["sub-07", "Jane Doe", ""])
def test_facts_hold_no_subject_s_name(subject: str) -> None:
    with pytest.raises(ValidationError):
        Facts(message="train reply", subjects=(subject,))


@given(st.text(st.characters(), max_size=1200))
def test_any_reason_can_be_written_and_read(reason: str) -> None:
    entry = Entry.after(Head(), "2030-05-01T12:00:00Z", "refused", Facts(message="train task", reason=reason))
    assert parse(entry.line) == entry
    assert examine(entry.line, Head().moved(entry)).sound


def test_an_entry_in_another_spelling_is_a_changed_line() -> None:
    lines = [LINES[0].replace(b":", b": ", 1), *LINES[1:]]
    assert parse(lines[0]) == parse(LINES[0])
    assert "line 1 (entry 1) was changed" in str(examine(joined(lines), HEAD).problem)

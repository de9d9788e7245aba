"""Canonical bytes: one spelling a value, and types that let no name through."""

import pytest
from pydantic import ValidationError

from shared.trust.canonical_json import CenterName, Pseudonym, RunId, Sha256, Stage, Statement, canonical


class Sample(Statement):
    zeta: int = 1
    alpha: str = "x"


class Words(Statement):
    center: CenterName = "milan"
    subject: Pseudonym = "0123456789abcdef"
    run: RunId = "run-1"
    checksum: Sha256 = "0" * 64
    stage: Stage = 0


def test_keys_are_sorted_and_nothing_is_between() -> None:
    assert canonical(Sample()) == b'{"alpha":"x","zeta":1}'


def test_other_alphabets_are_escaped() -> None:
    assert canonical(Sample(alpha="\u00e9")) == b'{"alpha":"\\u00e9","zeta":1}'


def test_reading_and_writing_again_gives_the_same_bytes() -> None:
    written = canonical(Words())
    assert canonical(Words.model_validate_json(written)) == written


@pytest.mark.parametrize("text", ['{"zeta":1.0}', '{"zeta":"1"}', '{"zeta":true}', '{"alpha":1}', '{"beta":1}'])
def test_nothing_is_coerced_and_nothing_unknown_is_read(text: str) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate_json(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "sub-07"},
        {"subject": "0123456789abcde"},
        {"subject": "0123456789ABCDEF"},
        {"subject": "0123456789abcdef\n"},
        {"center": ""},
        {"center": "m\u00fcnchen"},
        {"center": "-milan"},
        {"center": "milan\n"},
        {"center": "../milan"},
        {"run": "a b"},
        {"checksum": "0" * 63},
        {"stage": -1},
    ],
)
def test_a_word_that_could_be_a_name_a_path_or_two_spellings_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Words.model_validate(Words().model_dump() | changes)

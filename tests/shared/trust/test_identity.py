"""Identities: their line, their fingerprint, and keys that do not belong together."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import TrustError
from shared.trust.identity import Identity, Keys, parse_fingerprint

MILAN = Keys.generate("milan")


def test_a_line_and_back() -> None:
    line = str(MILAN.identity)
    assert line.startswith("wardround-key-v1 milan ")
    assert Identity.parse(line) == MILAN.identity
    assert Identity.parse(f"  {line}\n") == MILAN.identity


def test_a_fingerprint_is_eight_groups_of_four() -> None:
    groups = MILAN.identity.fingerprint.split("-")
    assert [len(group) for group in groups] == [4] * 8
    assert parse_fingerprint(MILAN.identity.fingerprint) == MILAN.identity.fingerprint


def test_a_fingerprint_never_changes() -> None:
    """A known identity, so that a change of the format is noticed before pins stop to hold."""
    sealing = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")  # RFC 7748, 6.1
    signing = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032, 7.1
    assert Identity("milan", sealing, signing).fingerprint == "TKWB-ZVQ4-VY6B-IM27-5NEN-2DY6-OLTR-NGMJ"


@given(st.sampled_from([str.lower, str.upper, str.title]), st.sampled_from([" ", "-", "", "  "]))
def test_how_a_fingerprint_was_typed_does_not_matter(case: type[str], between: str) -> None:
    typed = case(MILAN.identity.fingerprint.replace("-", between))
    assert parse_fingerprint(typed) == MILAN.identity.fingerprint


@pytest.mark.parametrize("typed", ["", "ABCD", "ABCD-" * 7 + "ABC0", "ABCD-" * 8 + "ABCD"])
def test_what_is_no_fingerprint_is_said_to_be_none(typed: str) -> None:
    with pytest.raises(TrustError, match="8 groups of 4"):
        parse_fingerprint(typed)


def test_name_and_both_keys_count_in_the_fingerprint() -> None:
    other = Keys.generate("milan").identity
    mine = MILAN.identity
    variants = [
        mine,
        Identity("milano", mine.sealing, mine.signing),
        Identity("milan", other.sealing, mine.signing),
        Identity("milan", mine.sealing, other.signing),
    ]
    assert len({variant.fingerprint for variant in variants}) == 4


@given(st.data())
def test_a_line_with_any_letter_changed_is_refused_or_is_another_identity(data: st.DataObject) -> None:
    line = str(MILAN.identity)
    at = data.draw(st.integers(0, len(line) - 1))
    letter = data.draw(st.sampled_from("ABCDwxyz0189+/=- ").filter(lambda c: c != line[at]))
    try:
        changed = Identity.parse(line[:at] + letter + line[at + 1 :])
    except TrustError:
        return
    assert changed.fingerprint != MILAN.identity.fingerprint


def test_a_key_has_one_spelling_alone() -> None:
    line = str(MILAN.identity)
    assert line.endswith("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    same_bytes = line[:-3] + alphabet[alphabet.index(line[-3]) ^ 1] + "=="
    assert base64.b64decode(same_bytes.split()[2]) == base64.b64decode(line.split()[2])
    with pytest.raises(TrustError, match="mistyped or cut"):
        Identity.parse(same_bytes)


@pytest.mark.parametrize("line", ["", "milan", "wardround-key-v2 milan AAAA", "wardround-key-v1 milan A A"])
def test_what_is_no_public_key_is_said_to_be_none(line: str) -> None:
    with pytest.raises(TrustError, match="wardround-key-v1 CENTER BASE64"):
        Identity.parse(line)


@pytest.mark.parametrize("text", ["!!!!", "AAAA", ""])
def test_a_cut_line_is_refused(text: str) -> None:
    with pytest.raises(TrustError):
        Identity.parse(f"wardround-key-v1 milan {text}")


@pytest.mark.parametrize("center", ["", "m\u00fcnchen", "a/b", "milan\n", "x" * 65])
def test_a_name_that_is_no_center_s_is_refused(center: str) -> None:
    with pytest.raises(TrustError, match="no center name"):
        Keys.generate(center)


def test_a_sealing_key_that_shares_no_secret_is_refused() -> None:
    with pytest.raises(TrustError, match="no usable key"):
        Identity("milan", bytes(32), MILAN.identity.signing)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(TrustError, match="32 bytes"):
        Identity("milan", MILAN.identity.sealing, b"short")


def test_private_keys_of_another_identity_are_refused() -> None:
    with pytest.raises(TrustError, match="do not belong"):
        Keys(MILAN.identity, MILAN.sealing, Ed25519PrivateKey.generate())


def test_a_private_key_is_not_printed() -> None:
    assert "PrivateKey" not in repr(MILAN)

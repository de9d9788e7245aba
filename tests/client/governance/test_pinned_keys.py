"""Pinned peers: known, unknown and swapped keys."""

import pytest

from client.governance.pinned_keys import Peers
from shared.errors import TrustError
from shared.trust.identity import Keys

MILAN, KARO = Keys.generate("milan").identity, Keys.generate("karo").identity


def test_a_pin_is_a_fingerprint_or_a_whole_key() -> None:
    peers = Peers.of({"milan": MILAN.fingerprint.lower(), "karo": str(KARO)}, "hospital.toml")
    peers.check(MILAN)
    peers.check(KARO)
    assert peers.identity("karo") == KARO
    with pytest.raises(TrustError, match="no whole public key of milan"):
        peers.identity("milan")


def test_an_unknown_center_is_refused_with_what_to_do() -> None:
    peers = Peers.of({"karo": KARO.fingerprint}, "peers.toml")
    with pytest.raises(TrustError, match=r"no key of milan is pinned in peers\.toml") as caught:
        peers.check(MILAN)
    assert f'add milan = "{MILAN.fingerprint}"' in str(caught.value)


def test_a_swapped_key_is_refused_with_both_fingerprints() -> None:
    other = Keys.generate("milan").identity
    with pytest.raises(TrustError, match="key of milan was swapped") as caught:
        Peers.of({"milan": str(MILAN)}, "peers.toml").check(other)
    assert MILAN.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)


def test_the_key_of_one_center_under_the_name_of_another_is_refused() -> None:
    with pytest.raises(TrustError, match="is the key of karo"):
        Peers.of({"milan": str(KARO)}, "peers.toml")


@pytest.mark.parametrize(
    ("pin", "said"),
    [(3, "not text"), ("ABC", "8 groups of 4"), ("wardround-key-v1 milan ABC", "mistyped or cut")],
)
def test_a_pin_that_cannot_be_used_says_where(pin: object, said: str) -> None:
    with pytest.raises(TrustError, match=said) as caught:
        Peers.of({"milan": pin}, "hospital.toml")
    assert "hospital.toml" in str(caught.value)

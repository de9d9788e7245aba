"""Pinned peers: known, unknown and swapped keys."""

from pathlib import Path

import pytest

from client.peers import Peers
from shared.errors import TrustError
from shared.identity import Keys

MILAN, KARO = Keys.generate("milan").identity, Keys.generate("karo").identity


def written(folder: Path, text: str) -> Path:
    path = folder / "peers.toml"
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_a_pin_is_a_fingerprint_or_a_whole_key(tmp_path: Path) -> None:
    pins = f'[peers]\nmilan = "{MILAN.fingerprint.lower()}"\nkaro = "{KARO}"\n'
    peers = Peers.read(written(tmp_path, pins))
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
    ("text", "said"),
    [
        ("", "no \\[peers\\] section"),
        ("peers = 3", "no \\[peers\\] section"),
        ("[peers", "not TOML"),
        ("[peers]\nmilan = 3", "not text"),
        ('[peers]\nmilan = "ABC"', "8 groups of 4"),
        ('[peers]\nmilan = "wardround-key-v1 milan ABC"', "mistyped or cut"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TrustError, match=said) as caught:
        Peers.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="cannot be read"):
        Peers.read(tmp_path / "peers.toml")


def test_a_file_that_everybody_can_write_pins_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, f'[peers]\nmilan = "{MILAN}"\n')
    path.chmod(0o666)
    with pytest.raises(TrustError, match="chmod o-w"):
        Peers.read(path)

"""Key files: made once, never overwritten, and refused where others can read them."""

import os
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from client.governance.keys import PUBLIC, SEALING, SIGNING, load_keys, make_keys
from shared.errors import TrustError
from shared.trust.identity import Identity


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keys"


def test_keys_are_read_back_as_they_were_made(folder: Path) -> None:
    made = make_keys(folder, "milan")
    loaded = load_keys(folder)
    assert loaded.identity == made.identity
    assert loaded.center == "milan"
    made.identity.signing_key.verify(loaded.signing.sign(b"x"), b"x")


def test_files_and_folder_are_for_the_owner_alone_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        make_keys(folder, "milan")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir()} == dict.fromkeys(
        (SEALING, SIGNING, PUBLIC), 0o600
    )


def test_the_public_file_holds_the_line_and_no_secret(folder: Path) -> None:
    keys = make_keys(folder, "milan")
    assert Identity.parse((folder / PUBLIC).read_text()) == keys.identity
    assert keys.sealing.private_bytes_raw() not in (folder / PUBLIC).read_bytes()


def test_keys_are_never_overwritten(folder: Path) -> None:
    first = make_keys(folder, "milan")
    with pytest.raises(TrustError, match="never overwritten"):
        make_keys(folder, "milan")
    assert load_keys(folder).identity == first.identity
    assert [p.name for p in folder.parent.iterdir()] == ["keys"]


def test_a_folder_that_holds_something_else_is_left_alone(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("years")
    with pytest.raises(TrustError, match="already holds something"):
        make_keys(folder, "milan")
    assert [p.name for p in folder.iterdir()] == ["thesis.txt"]


def test_of_two_makers_at_once_one_wins(folder: Path) -> None:
    outcomes: list[str] = []

    def make() -> None:
        try:
            outcomes.append(make_keys(folder, "milan").identity.fingerprint)
        except TrustError:
            outcomes.append("refused")

    makers = [threading.Thread(target=make) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert outcomes.count("refused") == 7
    assert load_keys(folder).identity.fingerprint in outcomes


def test_a_failure_leaves_nothing_half_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrustError, match="No space left"):
        make_keys(folder, "milan")
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("name", [SEALING, SIGNING, PUBLIC])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_open_to_others_is_refused_with_the_mend(folder: Path, name: str, mode: int) -> None:
    make_keys(folder, "milan")
    (folder / name).chmod(mode)
    with pytest.raises(TrustError, match=f"chmod 600 .*{name}"):
        load_keys(folder)
    (folder / name).chmod(0o600)
    load_keys(folder)


def test_a_folder_open_to_others_is_refused_with_the_mend(folder: Path) -> None:
    make_keys(folder, "milan")
    folder.chmod(0o755)
    with pytest.raises(TrustError, match="chmod 700"):
        load_keys(folder)


def test_missing_keys_are_said_to_be_missing(folder: Path) -> None:
    with pytest.raises(TrustError, match="make keys first"):
        load_keys(folder)
    make_keys(folder, "milan")
    (folder / SIGNING).unlink()
    with pytest.raises(TrustError, match=r"signing\.pem cannot be read"):
        load_keys(folder)


def test_keys_of_two_hospitals_in_one_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    make_keys(folder, "milan")
    make_keys(tmp_path / "other", "milan")
    (tmp_path / "other" / SEALING).rename(folder / SEALING)
    with pytest.raises(TrustError, match="do not belong"):
        load_keys(folder)


def test_swapped_files_are_refused(folder: Path) -> None:
    make_keys(folder, "milan")
    (folder / SEALING).rename(folder / "x")
    (folder / SIGNING).rename(folder / SEALING)
    (folder / "x").rename(folder / SIGNING)
    with pytest.raises(TrustError, match="another kind"):
        load_keys(folder)


def test_damaged_or_encrypted_keys_are_refused(folder: Path) -> None:
    make_keys(folder, "milan")
    (folder / SEALING).write_bytes(b"not a key")
    with pytest.raises(TrustError, match="no plain private key"):
        load_keys(folder)
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (folder / SEALING).write_bytes(locked)
    with pytest.raises(TrustError, match="no plain private key"):
        load_keys(folder)


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrustError, match="cannot be written"):
        make_keys(tmp_path / "file" / "keys", "milan")

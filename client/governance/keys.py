"""A hospital's key files: made once at the hospital, readable by their owner alone.

A key folder (mode 0700) holds `sealing.pem` and `signing.pem`, private keys as PKCS #8
(RFC 5958), and `public.txt`, the line to give to the other hospitals; all of mode 0600. The
private keys have no passphrase, as a client must start unattended: whoever reads the files
is the hospital, so they belong on an encrypted disk and in no backup that others can read.
"""

import os
import tempfile
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.errors import TrustError
from shared.files import PRIVATE_FILE, PRIVATE_FOLDER, sync
from shared.text import quoted
from shared.trust.identity import Identity, Keys

SEALING, SIGNING, PUBLIC = "sealing.pem", "signing.pem", "public.txt"
OTHERS = 0o077
"""Mode bits of everybody but the owner."""


def make_keys(folder: Path, center: str) -> Keys:
    """Make new keys for `center` in `folder`, which must be new or empty.

    The folder appears whole or not at all. Raises `TrustError` where it holds something
    already, as an overwritten key makes unreadable what was sealed for it.
    """
    keys = Keys.generate(center)
    files = {
        SEALING: _pem(keys.sealing),
        SIGNING: _pem(keys.signing),
        PUBLIC: f"{keys.identity}\n".encode(),
    }
    try:
        folder.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as draft:
            made = Path(draft) / "keys"
            made.mkdir(mode=PRIVATE_FOLDER)
            for name, content in files.items():
                _write(made / name, content)
            sync(made)
            # Renaming fails on a folder that holds something, so two makers cannot both win.
            made.rename(folder)
            sync(folder.parent)
    except OSError as error:
        if folder.is_dir() and any(folder.iterdir()):
            raise TrustError(
                f"key folder {folder} already holds something, and keys are never overwritten: use these "
                "keys, or choose a new folder and tell the other hospitals the new fingerprint"
            ) from None
        raise TrustError(
            f"keys cannot be written to {folder} ({error.strerror}): choose a folder that this user may write"
        ) from None
    return keys


def load_or_make_keys(folder: Path, center: str) -> Keys:
    """The keys in `folder`, made where there are none yet. Raises as `load_keys` and `make_keys`."""
    return load_keys(folder) if folder.exists() else make_keys(folder, center)


def load_keys(folder: Path) -> Keys:
    """The keys in `folder`. Raises `TrustError` where they are missing, damaged or open to others."""
    if not folder.is_dir():
        raise TrustError(f"key folder {folder} does not exist: make keys first")
    mode = folder.stat().st_mode
    if mode & OTHERS:
        raise TrustError(
            f"key folder {folder} is open to other users (mode {mode & 0o777:o}): chmod 700 {quoted(folder)}"
        )
    identity = Identity.parse(_read(folder / PUBLIC).decode(errors="replace"))
    sealing, signing = _private(folder / SEALING), _private(folder / SIGNING)
    if not isinstance(sealing, X25519PrivateKey) or not isinstance(signing, Ed25519PrivateKey):
        raise TrustError(
            f"{SEALING} or {SIGNING} in {folder} holds a key of another kind: restore the folder from a backup"
        )
    return Keys(identity, sealing, signing)


def _pem(key: X25519PrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """Write a new file that nobody else could read at any moment."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, PRIVATE_FILE)
        file.write(content)
        file.flush()
        os.fsync(handle)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & OTHERS:
                raise TrustError(
                    f"key file {path} is readable by other users (mode {mode & 0o777:o}): chmod 600 {quoted(path)}, "
                    "and make new keys where somebody may have read it"
                )
            return file.read()
    except OSError as error:
        raise TrustError(
            f"key file {path} cannot be read ({error.strerror}): restore the key folder from a backup"
        ) from None


def _private(path: Path) -> object:
    content = _read(path)
    try:
        return cast(object, load_pem_private_key(content, password=None))
    except (ValueError, TypeError):
        # TypeError: the key is encrypted.
        raise TrustError(
            f"key file {path} holds no plain private key (PKCS #8, PEM): restore the key folder from a backup"
        ) from None

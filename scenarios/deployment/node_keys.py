"""The key pair by which a hospital's node shows who it is to the SuperLink.

ECDSA on P-384 in OpenSSH's format, which is what Flower reads. It lets a node in, and nothing
else: exemplars are sealed and signed with the hospital's other keys (client/governance/keys.py).
"""

import base64
import hashlib
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from shared.errors import TrustError
from shared.files import private_folder, write_whole
from shared.text import quoted

PRIVATE, PUBLIC = "node_key", "node_key.pub"
OTHERS = 0o077


def make_node_key(folder: Path, center: str) -> Path:
    """Make the pair in `folder`, unless it is there; returns the public key's file."""
    private_folder(folder, "key folder")
    private, public = folder / PRIVATE, folder / PUBLIC
    try:
        if not private.exists():
            key = ec.generate_private_key(ec.SECP384R1())
            write_whole(private, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), private=True)
        key = load_node_key(private)
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        public.write_text(f"{line} {center}\n", encoding="ascii")
        public.chmod(0o644)
    except OSError as error:
        raise TrustError(
            f"the node's key cannot be written to {folder} ({error.strerror}): let this user write the folder"
        ) from None
    return public


def load_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A node's private key. Raises `TrustError` where it is missing, of another kind, or open to others."""
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise TrustError(
            f"the node's key {path} cannot be read ({error.strerror}): restore it from a backup, or make a new one "
            "by 'wardround hospital init' with this state folder and another --output, and have it enrolled"
        ) from None
    if mode & OTHERS:
        raise TrustError(
            f"the node's key {path} is open to other users (mode {mode & 0o777:o}): chmod 600 {quoted(path)}"
        )
    try:
        key = load_ssh_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"the node's key {path} is no ECDSA key in OpenSSH's format: Flower takes no other")
    return key


def read_public(path: Path) -> bytes:
    """A public key file as the bytes that Flower registers. Raises `TrustError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrustError(f"public key {path} cannot be read ({error.strerror}): give the file that was sent") from None
    if b"PRIVATE KEY" in content:
        raise TrustError(
            f"{path} is a private key, which must never leave the hospital: ask for {PUBLIC}, and have the hospital "
            "make a new pair"
        )
    try:
        key = load_ssh_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in ("secp256r1", "secp384r1", "secp521r1"):
        raise TrustError(
            f"{path} is no ECDSA public key in OpenSSH's format: ask the hospital for the file {PUBLIC} that "
            "'wardround hospital init' made"
        )
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def short(public_key: bytes) -> str:
    """A short name of a public key as Flower registers it: OpenSSH's SHA256 fingerprint."""
    key = load_pem_public_key(public_key)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    blob = base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")

"""Who a hospital is to the others: a name and two public keys, and a fingerprint to read out.

One key pair receives (X25519, RFC 7748, for HPKE), the other signs (Ed25519, RFC 8032). The
coordinator passes identities on, and could swap one; what it cannot do is to make another
identity with the same fingerprint, which the hospitals compare by telephone.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from shared.errors import TrustError
from shared.trust.canonical_json import CENTER_PATTERN, Statement, canonical

LABEL = "wardround-key-v1"
"""Begins an identity's text, and separates its hash from any other."""

KEY_BYTES = 32
FINGERPRINT_BYTES = 20
"""160 bits: 32 letters of base32 (RFC 4648), in 8 groups of 4."""


@dataclass(frozen=True)
class Identity:
    """A center's name with its public keys, each 32 raw bytes."""

    center: str
    sealing: bytes
    """X25519: others seal for it."""
    signing: bytes
    """Ed25519: others check its signatures."""

    def __post_init__(self) -> None:
        if not re.fullmatch(CENTER_PATTERN.strip("^$"), self.center):
            raise TrustError(
                f"{self.center[:64]!r} is no center name: use 1 to 64 letters a-z, digits, - and _, a letter first"
            )
        if len(self.sealing) != KEY_BYTES or len(self.signing) != KEY_BYTES:
            raise TrustError(f"a public key of {self.center} does not have {KEY_BYTES} bytes: ask for its key anew")
        try:
            # A point of low order would give every message the same, known secret.
            X25519PrivateKey.generate().exchange(self.sealing_key)
            # Not every 32 bytes are a point on Ed25519's curve.
            _ = self.signing_key
        except ValueError:
            raise TrustError(f"a public key of {self.center} is no usable key: ask for its key anew") from None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `wardround-key-v1 CENTER BASE64`. Raises `TrustError`."""
        words = text.split()
        if len(words) != 3 or words[0] != LABEL:
            raise TrustError(f"{text[:40]!r} is no public key: it must be one line `{LABEL} CENTER BASE64`")
        try:
            raw = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            raw = b""
        # Base64 leaves bits unused at its end; only one spelling of a key is accepted.
        if len(raw) != 2 * KEY_BYTES or base64.b64encode(raw).decode() != words[2]:
            raise TrustError(f"the public key of {words[1][:64]} was mistyped or cut: copy its whole line again")
        return cls(words[1], raw[:KEY_BYTES], raw[KEY_BYTES:])

    def __str__(self) -> str:
        """The line that `parse` reads."""
        return f"{LABEL} {self.center} {base64.b64encode(self.sealing + self.signing).decode()}"

    @property
    def fingerprint(self) -> str:
        """160 bits of SHA-256 over name and keys, as `ABCD-EFGH-...` in 8 groups of 4."""
        hashed = f"{LABEL}\0{self.center}\0".encode() + self.sealing + self.signing
        letters = base64.b32encode(hashlib.sha256(hashed).digest()[:FINGERPRINT_BYTES]).decode()
        return _grouped(letters)

    @property
    def sealing_key(self) -> X25519PublicKey:
        """The public key that others seal for."""
        return X25519PublicKey.from_public_bytes(self.sealing)

    @property
    def signing_key(self) -> Ed25519PublicKey:
        """The public key that checks this center's signatures."""
        return Ed25519PublicKey.from_public_bytes(self.signing)

    def signed(self, domain: bytes, statement: Statement, signature: str) -> bool:
        """Whether a signature (hexadecimal) of `Keys.sign` is this center's."""
        try:
            self.signing_key.verify(bytes.fromhex(signature), domain + canonical(statement))
        except InvalidSignature:
            return False
        return True


Pin = Callable[[Identity], None]
"""Raises `TrustError` where an identity is not the one that this hospital has pinned."""


@dataclass(frozen=True)
class Keys:
    """A center's private keys in memory, with the identity that goes with them."""

    identity: Identity
    sealing: X25519PrivateKey = field(repr=False)
    signing: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        public = (self.sealing.public_key().public_bytes_raw(), self.signing.public_key().public_bytes_raw())
        if public != (self.identity.sealing, self.identity.signing):
            raise TrustError(
                f"the private keys of {self.identity.center} do not belong to its public key: "
                "restore the whole key folder from a backup, or make new keys in a new one"
            )

    @classmethod
    def of(cls, center: str, sealing: X25519PrivateKey, signing: Ed25519PrivateKey) -> Self:
        """Keys with the identity that follows from them."""
        public = (sealing.public_key().public_bytes_raw(), signing.public_key().public_bytes_raw())
        return cls(Identity(center, *public), sealing, signing)

    @classmethod
    def generate(cls, center: str) -> Self:
        """New keys, which nothing keeps: a simulation throws them away."""
        return cls.of(center, X25519PrivateKey.generate(), Ed25519PrivateKey.generate())

    def sign(self, domain: bytes, statement: Statement) -> str:
        """The signature of a statement, in hexadecimal; `domain` says of which kind, so that it is none on another."""
        return self.signing.sign(domain + canonical(statement)).hex()

    @property
    def center(self) -> str:
        """Whose keys they are."""
        return self.identity.center


def parse_fingerprint(text: str) -> str:
    """A fingerprint as it is compared, however it was typed: case, spaces and dashes do not count.

    Raises `TrustError`.
    """
    letters = re.sub(r"[\s-]", "", text).upper()
    if not re.fullmatch(r"[A-Z2-7]{32}", letters):
        raise TrustError(
            f"{text[:60]!r} is no fingerprint: it has 8 groups of 4 of the letters A-Z and digits 2-7 "
            "(no 0, 1, 8 or 9: they may be O, I, B or G)"
        )
    return _grouped(letters)


def _grouped(letters: str) -> str:
    return "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))

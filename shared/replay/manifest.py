"""What a sealed contribution says of itself, signed by its sender and readable by the courier.

The manifest lists the exemplars, each by the SHA-256 and size of its sealed payload and its
subject's pseudonym, and says for which visit, for whom and until when they are. Signed is
`wardround-manifest-v1`, a zero byte, and the canonical JSON (`shared.trust.canonical_json`) of the
claims, with Ed25519 (RFC 8032).

The signature covers the list, not the payloads. So a payload can be taken out, which the
courier must do when a subject is withdrawn, and the gap shows; none can be added or changed.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from shared.errors import SealError, TrustError
from shared.trust.canonical_json import CenterName, Pseudonym, RunId, Sha256, Stage, Statement
from shared.trust.identity import Identity, Keys

DOMAIN = b"wardround-manifest-v1\0"
"""Before what is signed, so that a signature on anything else is none on a manifest."""

Payload = NDArray[np.uint8]

HEADER_BYTES = 512
"""An exemplar's provenance under the seal, padded to one length."""
WRAPPED_KEY_BYTES = 80
"""A content key of 32 bytes under HPKE: 32 encapsulated, 16 of tag."""
NONCE_BYTES = 12
TAG_BYTES = 16


def overhead(recipients: int) -> int:
    """Bytes that sealing for so many recipients, the sender among them, adds to an exemplar."""
    return recipients * WRAPPED_KEY_BYTES + NONCE_BYTES + HEADER_BYTES + TAG_BYTES


class Visit(Statement):
    """A stage of a run at a center: where a contribution comes from."""

    run: RunId
    """The study's own name of the run; it stays when the run is resumed."""
    stage: Stage
    center: CenterName

    def __str__(self) -> str:
        return f"{self.center} at stage {self.stage} of run {self.run}"


class Recipient(Statement):
    """A center that may open, and the fingerprint of the key that it needs."""

    center: CenterName
    fingerprint: Annotated[str, Field(pattern=r"^[A-Z2-7]{4}(-[A-Z2-7]{4}){7}$")]


class Entry(Statement):
    """One sealed exemplar, as anybody may know it."""

    subject: Pseudonym
    """In clear, so that a withdrawn subject can be dropped without a key."""
    checksum: Sha256
    """Of the sealed payload."""
    size: int = Field(gt=0, lt=2**31)
    """Bytes of the sealed payload."""


class Claims(Statement):
    """What the sender signs."""

    format: Literal[1] = 1
    visit: Visit
    sender: str = Field(max_length=256)
    """The sender's public key, as one line."""
    recipients: tuple[Recipient, ...] = Field(min_length=1, max_length=256)
    """In the order of the wrapped keys in each payload; the sender is one of them."""
    expires: int = Field(gt=0, lt=253_402_300_800)
    """Seconds since 1970, UTC; before the year 10000, the last that Python's dates know."""
    entries: tuple[Entry, ...] = Field(max_length=10_000)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            identity = Identity.parse(self.sender)
        except TrustError as error:
            raise ValueError(str(error)) from None
        if str(identity) != self.sender or identity.center != self.visit.center:
            raise ValueError(f"the key of {identity.center} cannot sign for {self.visit.center}")
        centers = [recipient.center for recipient in self.recipients]
        if len(set(centers)) < len(centers):
            raise ValueError("a recipient is named twice")
        checksums = {entry.checksum for entry in self.entries}
        if len(checksums) < len(self.entries):
            raise ValueError("an exemplar is listed twice")
        if any(entry.size <= overhead(len(centers)) for entry in self.entries):
            raise ValueError("an exemplar is too small to hold its keys")
        return self

    @property
    def identity(self) -> Identity:
        """Who signs."""
        return Identity.parse(self.sender)

    @property
    def expiry(self) -> datetime:
        """From when on nobody opens it."""
        return datetime.fromtimestamp(self.expires, UTC)


class Manifest(Statement):
    """Claims with their signature."""

    claims: Claims
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    @classmethod
    def sign(cls, claims: Claims, keys: Keys) -> Self:
        """The claims, signed."""
        return cls(claims=claims, signature=keys.sign(DOMAIN, claims))


@dataclass(frozen=True, eq=False)
class SealedContribution:
    """A manifest and the payloads that are there, each uint8 of shape (bytes,), by their checksum."""

    manifest: Manifest
    payloads: Mapping[str, Payload]

    @property
    def visit(self) -> Visit:
        """Where it says that it comes from."""
        return self.manifest.claims.visit

    @property
    def center(self) -> str:
        """Whose it says that it is."""
        return self.visit.center

    @property
    def document(self) -> Manifest:
        """What is written down of it."""
        return self.manifest

    @property
    def recipients(self) -> tuple[str, ...]:
        """The centers that it says can open it; its sender is one."""
        return tuple(recipient.center for recipient in self.manifest.claims.recipients)

    @property
    def present(self) -> tuple[Entry, ...]:
        """The exemplars whose payloads are here."""
        return tuple(e for e in self.manifest.claims.entries if e.checksum in self.payloads)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Pseudonym of each exemplar that is here."""
        return tuple(entry.subject for entry in self.present)

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return sum(payload.nbytes for payload in self.payloads.values())

    @property
    def exemplar_bytes(self) -> int:
        """Bytes of the exemplars that are here, before they were sealed: what a budget counts."""
        return sum(entry.size - overhead(len(self.recipients)) for entry in self.present)

    def may_reach(self, center: str, now: datetime) -> bool:
        """Whether `center` can do something with it: open what another one sent, as long as it may."""
        return center in self.recipients and center != self.center and now < self.manifest.claims.expiry

    def without(self, subjects: Collection[str]) -> Self:
        """The contribution without the exemplars of these pseudonyms; its signature still holds."""
        kept = {e.checksum for e in self.present if e.subject not in subjects}
        return replace(self, payloads={c: p for c, p in self.payloads.items() if c in kept})


def verify(sealed: SealedContribution, visit: Visit, now: datetime) -> None:
    """Check all that needs no key: signature, visit, date, and each payload against the list.

    Whose key signed is for the caller to compare. Raises `SealError`.
    """
    claims, origin = sealed.manifest.claims, f"the contribution of {sealed.visit.center}"
    if not claims.identity.signed(DOMAIN, claims, sealed.manifest.signature):
        raise SealError(f"{origin} was changed on its way (its signature does not hold): send it again")
    for what, said, wanted in (
        ("center", claims.visit.center, visit.center),
        ("run", claims.visit.run, visit.run),
        ("stage", claims.visit.stage, visit.stage),
    ):
        if said != wanted:
            raise SealError(
                f"{origin} is for {what} {said}, not {wanted}: it was replayed or mixed up, and is refused; "
                f"the coordinator must send what {visit} gave"
            )
    if now >= claims.expiry:
        raise SealError(
            f"{origin} expired on {claims.expiry:%Y-%m-%d %H:%M} UTC: {claims.visit.center} may seal it anew "
            "with a later date, or this machine's clock is wrong"
        )
    _check_payloads(sealed, origin)


def _check_payloads(sealed: SealedContribution, origin: str) -> None:
    listed = {entry.checksum: entry for entry in sealed.manifest.claims.entries}
    for checksum, payload in sealed.payloads.items():
        if checksum not in listed:
            raise SealError(f"{origin} holds a payload that its sender did not list: it was added, and is refused")
        if payload.dtype != np.uint8 or payload.ndim != 1:
            raise SealError(f"{origin} holds a payload that is no row of bytes: send it again")
        if payload.size != listed[checksum].size or hashlib.sha256(payload.tobytes()).hexdigest() != checksum:
            raise SealError(
                f"exemplar {checksum[:12]} in {origin} was changed on its way (its checksum differs): send it again"
            )

"""Sealing exemplars for the centers that may train on them, and opening them there.

Each exemplar has a random content key of its own (AES-256-GCM, NIST SP 800-38D). That key is
sealed for each recipient by HPKE (RFC 9180, base mode: X25519, HKDF-SHA256, AES-256-GCM). A
payload is, in this order: the wrapped keys, 80 bytes each, in the manifest's order; a nonce
of 12 bytes; and the ciphertext of the provenance (JSON, padded with spaces to 512 bytes) and
the exemplar's own bytes, with its tag.

Both layers are bound to where the exemplar stands: visit, signer, recipients, date, index and
pseudonym. A payload that another hospital signs as its own does not open.

The sender is always a recipient of its own. A hospital that joins later cannot open what was
sealed before: nobody but a recipient has the keys, and the coordinator is none. A sender that opens
its own contribution can seal it for the newcomer, by its own policy of that day.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pydantic import ValidationError

from shared.errors import SealError
from shared.replay.exemplar import Exemplar, Provenance
from shared.replay.manifest import (
    HEADER_BYTES,
    NONCE_BYTES,
    WRAPPED_KEY_BYTES,
    Claims,
    Entry,
    Manifest,
    Payload,
    Recipient,
    SealedContribution,
    Visit,
    verify,
)
from shared.replay.memory import ReplayMemory
from shared.trust.canonical_json import Statement, canonical
from shared.trust.identity import Identity, Keys, Pin

CONTENT_KEY_BYTES = 32
DOMAIN = b"wardround-exemplar-v1\0"
_suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True)
class Terms:
    """On which terms a contribution leaves."""

    visit: Visit
    recipients: tuple[Identity, ...]
    """Besides the sender."""
    expires: datetime
    """With a time zone; whole seconds count."""


class Place(Statement):
    """Where an exemplar stands; encrypted with it, so that it opens nowhere else."""

    visit: Visit
    sender: str
    recipients: tuple[Recipient, ...]
    expires: int
    index: int
    subject: str


def seal(exemplars: Sequence[Exemplar], keys: Keys, pin: Pin, terms: Terms) -> SealedContribution:
    """Encrypt the sender's own exemplars for the recipients and sign the list.

    Raises `TrustError` where a recipient's key is not the pinned one, and `SealError` where
    an exemplar is not the sender's, is there twice or names its subject, or nobody is to receive.
    """
    center = keys.center
    if terms.visit.center != center:
        raise SealError(f"{center} cannot seal for the visit to {terms.visit}: use that center's own keys")
    others = tuple(identity for identity in terms.recipients if identity != keys.identity)
    if not others:
        raise SealError(f"no other center may open what {center} would seal: name recipients, or send nothing")
    for identity in others:
        pin(identity)
    foreign = {e.provenance.center for e in exemplars} - {center}
    if foreign:
        raise SealError(f"{center} cannot seal exemplars of {', '.join(sorted(foreign))}: send its own alone")
    if len({e.provenance.checksum for e in exemplars}) < len(exemplars):
        raise SealError(f"{center} would seal an exemplar twice: choose each once")
    if terms.expires.tzinfo is None:
        raise ValueError("an expiry needs a time zone")
    recipients = tuple(Recipient(center=i.center, fingerprint=i.fingerprint) for i in (*others, keys.identity))
    sender, expires = str(keys.identity), int(terms.expires.timestamp())
    entries, payloads = [], {}
    for index, exemplar in enumerate(exemplars):
        place = Place(
            visit=terms.visit,
            sender=sender,
            recipients=recipients,
            expires=expires,
            index=index,
            subject=exemplar.provenance.subject,
        )
        sealed = _encrypt(exemplar, (*others, keys.identity), DOMAIN + canonical(place))
        checksum = hashlib.sha256(sealed).hexdigest()
        try:
            entries.append(Entry(subject=place.subject, checksum=checksum, size=len(sealed)))
        except ValidationError:
            raise SealError(
                f"{center} would seal an exemplar under {place.subject!r}, which may be a subject's name: "
                "use a pseudonym of 16 to 64 hexadecimal digits"
            ) from None
        payloads[checksum] = np.frombuffer(sealed, dtype=np.uint8)
    try:
        claims = Claims(
            visit=terms.visit, sender=sender, recipients=recipients, expires=expires, entries=tuple(entries)
        )
    except ValidationError as error:
        raise SealError(f"{center} cannot seal this: {error.errors()[0]['msg']}") from None
    return SealedContribution(Manifest.sign(claims, keys), payloads)


def unseal(sealed: SealedContribution, keys: Keys, pin: Pin, visit: Visit, now: datetime) -> tuple[Exemplar, ...]:
    """Check everything and decrypt the exemplars that were not dropped on the way.

    `visit` is where the contribution must come from, by this hospital's own knowledge of the
    course. Raises `TrustError` where the signer's key is not the pinned one, and `SealError`
    with its reason for all else.
    """
    identity = sealed.manifest.claims.identity
    if identity != keys.identity:
        pin(identity)
    verify(sealed, visit, now)
    opened = _decrypt_all(sealed, keys)
    if len({e.provenance.checksum for e in opened}) < len(opened):
        raise SealError(f"the contribution of {visit.center} holds one exemplar twice: refused")
    return opened


def unseal_memory(
    contributions: Iterable[SealedContribution], keys: Keys, pin: Pin, visits: Sequence[Visit], now: datetime
) -> ReplayMemory:
    """Open the contributions of all earlier visits, each sender's once.

    Raises as `unseal` does, and `SealError` where a sender was not visited or comes twice, or
    where one exemplar comes from two.
    """
    expected = {visit.center: visit for visit in visits}
    memory, seen = ReplayMemory(), set[str]()
    for sealed in contributions:
        center = sealed.visit.center
        if center not in expected:
            raise SealError(
                f"the memory holds a contribution of {center}, which was not visited in this run or came "
                "before: refused, the coordinator must send each earlier center's once"
            )
        exemplars = unseal(sealed, keys, pin, expected.pop(center), now)
        checksums = {e.provenance.checksum for e in exemplars}
        if checksums & seen:
            raise SealError(f"an exemplar of {center} was already another center's: it was replayed, and is refused")
        seen |= checksums
        memory = memory.with_contribution(center, exemplars)
    return memory


def _encrypt(exemplar: Exemplar, recipients: Sequence[Identity], place: bytes) -> bytes:
    header = exemplar.provenance.model_dump_json().encode()
    if len(header) > HEADER_BYTES:
        raise SealError(f"an exemplar's provenance has {len(header)} bytes: shorten its contrast's name")
    key, nonce = AESGCM.generate_key(8 * CONTENT_KEY_BYTES), os.urandom(NONCE_BYTES)
    plain = header.ljust(HEADER_BYTES) + exemplar.payload.tobytes()
    wrapped = [_suite.encrypt(key, i.sealing_key, info=_wrapping(i.fingerprint, place)) for i in recipients]
    return b"".join([*wrapped, nonce, AESGCM(key).encrypt(nonce, plain, place)])


def _wrapping(fingerprint: str, place: bytes) -> bytes:
    return fingerprint.encode() + b"\0" + place


def _decrypt_all(sealed: SealedContribution, keys: Keys) -> tuple[Exemplar, ...]:
    claims = sealed.manifest.claims
    origin = f"the contribution of {claims.visit.center}"
    if keys.center not in sealed.recipients:
        raise SealError(
            f"{origin} is for {', '.join(sealed.recipients)}, not for {keys.center}: the coordinator sent it to the "
            f"wrong center, or {claims.visit.center} must allow {keys.center} and seal it anew"
        )
    position = sealed.recipients.index(keys.center)
    if (meant := claims.recipients[position].fingerprint) != keys.identity.fingerprint:
        raise SealError(
            f"{origin} is sealed for a key of {keys.center} with fingerprint {meant}, but this hospital's is "
            f"{keys.identity.fingerprint}: the key was swapped or is an old one; call {claims.visit.center}"
        )
    return tuple(
        _decrypt(sealed.payloads[entry.checksum], entry, index, claims, position, keys)
        for index, entry in enumerate(claims.entries)
        if entry.checksum in sealed.payloads
    )


def _decrypt(payload: Payload, entry: Entry, index: int, claims: Claims, position: int, keys: Keys) -> Exemplar:
    where = f"exemplar {entry.checksum[:12]} in the contribution of {claims.visit.center}"
    place = DOMAIN + canonical(
        Place(
            visit=claims.visit,
            sender=claims.sender,
            recipients=claims.recipients,
            expires=claims.expires,
            index=index,
            subject=entry.subject,
        )
    )
    raw = payload.tobytes()
    start = len(claims.recipients) * WRAPPED_KEY_BYTES
    wrapped = raw[position * WRAPPED_KEY_BYTES : (position + 1) * WRAPPED_KEY_BYTES]
    nonce, ciphertext = raw[start : start + NONCE_BYTES], raw[start + NONCE_BYTES :]
    try:
        key = _suite.decrypt(wrapped, keys.sealing, info=_wrapping(keys.identity.fingerprint, place))
        plain = AESGCM(key).decrypt(nonce, ciphertext, place)
    except (InvalidTag, ValueError):
        # ValueError: what was wrapped is no key.
        raise SealError(
            f"{where} does not open: it was made for another place, or wrongly; {claims.visit.center} must seal it anew"
        ) from None
    try:
        provenance = Provenance.model_validate_json(plain[:HEADER_BYTES])
    except ValidationError:
        raise SealError(f"{where} does not say what it is: {claims.visit.center} must seal it anew") from None
    body = plain[HEADER_BYTES:]
    said = (provenance.center, provenance.subject, provenance.checksum)
    if said != (claims.visit.center, entry.subject, hashlib.sha256(body).hexdigest()):
        raise SealError(f"{where} is not what the list says: {claims.visit.center} must seal it anew")
    return Exemplar(provenance, np.frombuffer(body, dtype=np.uint8))

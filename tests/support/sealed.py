"""What the tests of sealing share: three hospitals that know each other, and exemplars."""

from datetime import UTC, datetime, timedelta

import numpy as np

from client.governance.pinned_keys import Peers
from shared.replay.exemplar import Exemplar
from shared.replay.manifest import Claims, Manifest, SealedContribution, Visit
from shared.replay.sealing import Terms, seal
from shared.trust.identity import Keys

NOW = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)
MILAN, KARO, UCSF = (Keys.generate(center) for center in ("milan", "karo", "ucsf"))
VISIT = Visit(run="run-1", stage=2, center="milan")
PSEUDONYMS = ("00000000000000aa", "00000000000000bb", "00000000000000cc")
PIN = Peers.of({k.center: str(k.identity) for k in (MILAN, KARO, UCSF)}, "peers.toml").check
TERMS = Terms(VISIT, (KARO.identity,), NOW + timedelta(days=30))


def exemplar(index: int = 0, *, subject: str = PSEUDONYMS[0], center: str = "milan") -> Exemplar:
    """A small crop; each index gives another."""
    image = np.random.default_rng(index).normal(size=(2, 3, 4)).astype(np.float32)
    return Exemplar.encode(image, image.clip(0, 1), center=center, subject=subject, contrast="FLAIR", spacing=2.0)


EXEMPLARS = tuple(exemplar(i, subject=name) for i, name in enumerate(PSEUDONYMS))


def contribution(terms: Terms = TERMS) -> SealedContribution:
    """Milan's three exemplars, sealed for Karo."""
    return seal(EXEMPLARS, MILAN, PIN, terms)


def resigned(sealed: SealedContribution, keys: Keys, **changes: object) -> SealedContribution:
    """The contribution with other claims, which `keys` has signed anew."""
    claims = Claims.model_validate(sealed.manifest.claims.model_dump() | changes)
    return SealedContribution(Manifest.sign(claims, keys), sealed.payloads)


def same(left: tuple[Exemplar, ...], right: tuple[Exemplar, ...]) -> bool:
    """Whether exemplars are equal, provenance and bytes."""
    return [(e.provenance, e.payload.tobytes()) for e in left] == [(e.provenance, e.payload.tobytes()) for e in right]


def dropped(sealed: SealedContribution) -> tuple[str, ...]:
    """Pseudonyms of the exemplars that were taken out on the way."""
    return tuple(entry.subject for entry in sealed.manifest.claims.entries if entry.checksum not in sealed.payloads)
